//! One network device, several applications behind a switch: each answers at its own address, one that speaks in another's
//! name is not heard, and one that dies takes nobody with it.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use weir_runner::guest::{Guest, Setup};
use weir_runner::peer::{PAYLOAD_MAX_BYTES, Peer};
use weir_runner::report::Status;

use super::{Case, VIRTIO};

pub(super) const CASES: &[(&str, Case)] = &[
    ("switch::two_applications_answer_behind_one_device", two_answer),
    ("switch::one_crashes_and_the_other_loses_nothing", one_crashes),
    ("switch::spoofed_sources_do_not_get_out", spoofed),
    ("switch::a_limit_holds_its_port_and_no_other", limited),
];

const LIMIT: Duration = Duration::from_secs(20);

/// Booted, with two peers on the wire of its one device.
fn boot(manifest: &'static str) -> Result<(Guest, [Peer; 2])> {
    let peers = [Peer::of_pair(0)?, Peer::of_pair(1)?];
    let mut setup = Setup::new(manifest).machine(VIRTIO).cpus(2).network("hubport,hubid=0".into());
    for (number, peer) in peers.iter().enumerate() {
        let own = peer.netdev();
        let (kind, rest) = own.split_once(',').unwrap_or((&own, ""));
        let (own, port) =
            (format!("{kind},id=d{number},{rest}"), format!("hubport,id=h{number},hubid=0,netdev=d{number}"));
        setup = setup.with(&["-netdev", &own, "-netdev", &port]);
    }
    let (mut guest, _) = setup.boot()?;
    guest.status_when("a switch and two applications behind it", LIMIT, all_run)?;
    Ok((guest, peers))
}

fn all_run(status: &Status) -> bool {
    ["switch", "left", "right"].into_iter().all(|name| status.app(name).is_some_and(|app| app.ready))
}

fn echo(guest: &Guest, peer: &mut Peer, count: usize) -> Result<()> {
    let size = |number| number % (PAYLOAD_MAX_BYTES + 1);
    peer.echo(count, size).map_err(|error| guest.failure(&format!("{error:#}")))
}

fn two_answer() -> Result<()> {
    let (mut guest, [mut left, mut right]) = boot("switch")?;
    let [one, two] = [left.find_guest()?, right.find_guest()?];
    guest.check(one.0 == [2, 0x57, 0, 0, 0, 1] && two.0 == [2, 0x57, 0, 0, 0, 2], &format!("{one} {two}"))?;
    echo(&guest, &mut left, PAYLOAD_MAX_BYTES + 1)?;
    echo(&guest, &mut right, PAYLOAD_MAX_BYTES + 1)?;
    let traffic = thread::spawn(move || left.echo(2000, |number| 64 + number % 1000));
    echo(&guest, &mut right, 2000)?;
    let joined = traffic.join().map_err(|_| anyhow!("the traffic panicked"))?;
    joined.map_err(|error| guest.failure(&format!("{error:#}")))?;
    let status = guest.status()?;
    guest.check(status.faults == 0, &format!("caught outside: {status:?}"))?;
    guest.check(!guest.has_said("closed until"), "somebody broke the protocol")?;
    guest.power_off()
}

/// The right one crashes after 300 answers and comes again.
fn one_crashes() -> Result<()> {
    let (mut guest, [mut left, mut right]) = boot("switch-crash")?;
    echo(&guest, &mut right, 100)?;
    let traffic = thread::spawn(move || left.echo(4000, |number| number % (PAYLOAD_MAX_BYTES + 1)));
    let lost = right.echo(400, |_| 64);
    guest.check(lost.is_err(), "the right application did not crash")?;
    guest.status_until("its next life", |status| {
        status.app("right").is_some_and(|app| app.restarts > 0) && all_run(status)
    })?;
    echo(&guest, &mut right, 100)?;
    let joined = traffic.join().map_err(|_| anyhow!("the traffic panicked"))?;
    joined.map_err(|error| guest.failure(&format!("the left one: {error:#}")))?;
    let status = guest.status()?;
    let is_undisturbed = ["left", "switch"]
        .into_iter()
        .all(|name| status.app(name).is_some_and(|app| app.restarts == 0 && app.device_errors == 0));
    guest.check(is_undisturbed, &format!("{status:?}"))?;
    guest.type_line("poweroff")
}

/// The right one answers in another name than its own, the left one's among them: nothing of it is heard.
fn spoofed() -> Result<()> {
    let (mut guest, [mut left, right]) = boot("switch-spoof")?;
    echo(&guest, &mut left, 200)?;
    for _ in 0..10 {
        right.provoke()?;
    }
    guest.console_row(&["port", "right:", "10", "frames", "from", "it,"], LIMIT)?;
    guest.console_row(&["10", "spoofed,"], LIMIT)?;
    let heard = right.next_frame(Duration::from_millis(300))?;
    let is_its_answer = |frame: &Vec<u8>| frame.starts_with(&[2, 0, 0, 0, 0, 0]) && frame.len() < 60;
    guest.check(!heard.as_ref().is_some_and(is_its_answer), &format!("it was heard: {heard:?}"))?;
    echo(&guest, &mut left, 200)?;
    guest.power_off()
}

/// The left one may send a hundred frames per second.
fn limited() -> Result<()> {
    let (guest, [mut left, mut right]) = boot("switch-limit")?;
    left.find_guest()?;
    let asked = Instant::now();
    let traffic = thread::spawn(move || left.echo(300, |_| 64));
    echo(&guest, &mut right, 300)?;
    let unlimited = asked.elapsed();
    let joined = traffic.join().map_err(|_| anyhow!("the traffic panicked"))?;
    joined.map_err(|error| guest.failure(&format!("{error:#}")))?;
    let took = asked.elapsed();
    // A burst of 16 may be overdrawn, and a hundredth of a second's is saved up.
    guest.check(took > Duration::from_millis(2500), &format!("300 frames in {took:?}"))?;
    guest.check(unlimited < took, &format!("the other took as long: {unlimited:?}"))?;
    guest.power_off()
}
