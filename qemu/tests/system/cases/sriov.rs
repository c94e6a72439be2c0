//! One network device, several owners, no software between: virtual functions, each in an application of its own.

use std::thread;
use std::time::Duration;

use anyhow::{Result, anyhow};
use weir_runner::guest::{Guest, Setup};
use weir_runner::peer::{PAYLOAD_MAX_BYTES, Peer};
use weir_runner::report::Status;

use super::{Case, IGB, link};

pub(super) const CASES: &[(&str, Case)] = &[
    ("sriov::one_owner_crashes_and_the_other_loses_nothing", || one_crashes(IGB)),
    ("sriov::one_owner_crashes_and_the_other_loses_nothing_amdvi", || one_crashes("q35-amdvi-igb")),
    ("sriov::the_physical_owner_ends_and_all_come_again", || all_come_again(IGB)),
    ("sriov::the_cable_is_everybodys", the_cable_is_everybodys),
    ("sriov::a_slot_switched_off_takes_all_of_them", a_slot_takes_all),
];

/// How long the guest's next sign may take.
const LIMIT: Duration = Duration::from_secs(20);

/// A machine whose one network device is on a wire with two peers.
fn setup(machine: &'static str, peers: [&Peer; 2]) -> Setup {
    let mut setup = Setup::new("virtual").machine(machine).cpus(2).network("hubport,hubid=0".into());
    for (number, peer) in peers.into_iter().enumerate() {
        let (kind, rest) = ("dgram", peer.netdev());
        let rest = rest.strip_prefix("dgram,").unwrap_or_default().to_owned();
        let (own, port) =
            (format!("{kind},id=d{number},{rest}"), format!("hubport,id=h{number},hubid=0,netdev=d{number}"));
        setup = setup.with(&["-netdev", &own, "-netdev", &port]);
    }
    setup
}

/// Booted, with how things are once all run.
fn boot(machine: &'static str) -> Result<(Guest, [Peer; 2], Status)> {
    let peers = [Peer::of_pair(0)?, Peer::of_pair(1)?];
    let (mut guest, _) = setup(machine, [&peers[0], &peers[1]]).boot()?;
    let status = guest.status_when("two data paths on virtual functions", LIMIT, all_run)?;
    Ok((guest, peers, status))
}

/// How often an application was started again: by the time all run, that it had to wait for its device counts as once.
fn restarts(status: &Status, name: &str) -> u64 {
    status.app(name).map_or(0, |app| app.restarts)
}

fn all_run(status: &Status) -> bool {
    ["uplink", "steady", "other"].into_iter().all(|name| status.app(name).is_some_and(|app| app.ready))
}

fn echo(guest: &Guest, peer: &mut Peer, count: usize) -> Result<()> {
    let size = |number| number % (PAYLOAD_MAX_BYTES + 1);
    peer.echo(count, size).map_err(|error| guest.failure(&format!("{error:#}")))
}

/// While one application crashes and comes back, every frame of the other's arrives, of every size.
fn one_crashes(machine: &'static str) -> Result<()> {
    let (mut guest, [mut steady, mut other], before) = boot(machine)?;
    echo(&guest, &mut other, 100)?;
    let traffic = thread::spawn(move || -> Result<Peer> {
        steady.echo(6000, |number| number % (PAYLOAD_MAX_BYTES + 1))?;
        Ok(steady)
    });
    // It crashes after 300 answers, in the midst of these.
    let lost = other.echo(400, |_| 64);
    guest.check(lost.is_err(), "the other application did not crash")?;
    guest.status_until("its next life", |status| {
        restarts(status, "other") > restarts(&before, "other") && all_run(status)
    })?;
    echo(&guest, &mut other, 100)?;
    let joined = traffic.join().map_err(|_| anyhow!("the traffic panicked"))?;
    joined.map_err(|error| guest.failure(&format!("the steady one: {error:#}")))?;
    let status = guest.status()?;
    let app = status.app("steady").ok_or_else(|| guest.failure("no application steady"))?;
    let is_undisturbed = app.restarts == restarts(&before, "steady") && app.device_errors == 0;
    guest.check(is_undisturbed, &format!("{app:?}"))?;
    guest.check(status.faults == 0, &format!("caught outside: {status:?}"))?;
    guest.type_line("poweroff")
}

/// The owner of the physical function is killed: its virtual functions go first, and come again with its next life.
fn all_come_again(machine: &'static str) -> Result<()> {
    let (mut guest, [mut steady, mut other], before) = boot(machine)?;
    echo(&guest, &mut steady, 200)?;
    guest.type_line("kill uplink")?;
    guest.console_line("the virtual functions of 0000:01:00.0 left, 2 of them in use", LIMIT)?;
    guest.status_when("three next lives", 2 * LIMIT, |status| {
        let is_again = |name| restarts(status, name) > restarts(&before, name);
        all_run(status) && ["uplink", "steady", "other"].into_iter().all(is_again)
    })?;
    echo(&guest, &mut steady, 200)?;
    echo(&guest, &mut other, 200)?;
    let status = guest.status()?;
    guest.check(!guest.has_said("crashed"), "an owner crashed instead of finding its device gone")?;
    guest.check(status.faults == 0, &format!("caught outside: {status:?}"))?;
    guest.type_line("poweroff")
}

/// The owner of a virtual function sees the cable pulled out, and serves again when it is back.
fn the_cable_is_everybodys() -> Result<()> {
    let (mut guest, [mut steady, mut other], before) = boot(IGB)?;
    link::pull_and_plug(&mut guest, &mut steady, "steady")?;
    echo(&guest, &mut other, 100)?;
    let status = guest.status()?;
    guest.check(restarts(&status, "steady") == restarts(&before, "steady"), &format!("{status:?}"))?;
    guest.type_line("poweroff")
}

/// The card leaves its slot with all its functions.
fn a_slot_takes_all() -> Result<()> {
    let peers = [Peer::of_pair(0)?, Peer::of_pair(1)?];
    let (mut guest, _) = setup(IGB, [&peers[0], &peers[1]]).driving_slots().boot()?;
    guest.status_when("two data paths on virtual functions", LIMIT, all_run)?;
    let [mut steady, _other] = peers;
    echo(&guest, &mut steady, 200)?;
    guest.type_line("eject 1")?;
    guest.console_line("slot 1 is empty", LIMIT)?;
    let status = guest.status_until("the end of all owners", |status| {
        status.apps.iter().all(|app| app.state != "running")
    })?;
    guest.check(!guest.has_said("crashed"), "an owner crashed instead of finding its device gone")?;
    guest.check(status.faults == 0, &format!("caught outside: {status:?}"))?;
    guest.type_line("poweroff")
}
