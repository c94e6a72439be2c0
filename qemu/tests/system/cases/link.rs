//! The cable, pulled out and put in again under an application that serves.

use std::time::Duration;

use anyhow::Result;

use super::{Case, E1000E, IGB};
use weir_runner::guest::{Guest, Setup};
use weir_runner::peer::Peer;

pub(super) const CASES: &[(&str, Case)] =
    &[("link::down_and_up_e1000e", || down_and_up(E1000E)), ("link::down_and_up_igb", || down_and_up(IGB))];

/// How long the guest's next sign may take.
const LIMIT: Duration = Duration::from_secs(20);
/// How long an answer is waited for that must not come.
const SILENCE: Duration = Duration::from_millis(300);

fn down_and_up(machine: &'static str) -> Result<()> {
    let mut peer = Peer::new()?;
    let (mut guest, _) = Setup::new("echo").machine(machine).network(peer.netdev()).boot()?;
    guest.status_until("a running data path", |status| status.app("echo").is_some_and(|app| app.ready))?;
    pull_and_plug(&mut guest, &mut peer, "echo")?;
    let status = guest.status()?;
    let is_well = status.app("echo").is_some_and(|app| app.restarts == 0 && app.device_errors == 0);
    guest.check(is_well && status.faults == 0, &format!("{status:?}"))?;
    guest.power_off()
}

/// Nothing passes without the cable, the application `owner` is told, and everything passes with it again, three times.
pub(super) fn pull_and_plug(guest: &mut Guest, peer: &mut Peer, owner: &str) -> Result<()> {
    for _ in 0..3 {
        serve(guest, peer)?;
        guest.set_link(0, false)?;
        guest.console_line(&format!("{owner}: nic: the link is down"), LIMIT)?;
        let is_back = peer.echo_one(1, SILENCE)?;
        guest.check(!is_back, "a frame came without a cable")?;
        guest.set_link(0, true)?;
        guest.console_line(&format!("{owner}: nic: the link is up"), LIMIT)?;
    }
    serve(guest, peer)
}

fn serve(guest: &Guest, peer: &mut Peer) -> Result<()> {
    peer.echo(200, |number| 64 + number).map_err(|error| guest.failure(&format!("{error:#}")))
}
