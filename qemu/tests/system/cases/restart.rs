//! Applications that end in the midst of their work: nobody else notices, nothing stays behind, they come back.

use std::cell::Cell;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::{Case, E1000E, IGB, VIRTIO};
use weir_runner::guest::{Guest, Setup};
use weir_runner::peer::{Flood, Peer};
use weir_runner::report::Status;

pub(super) const CASES: &[(&str, Case)] = &[
    ("restart::crash_loop_next_to_traffic", || crash_loop_next_to_traffic(VIRTIO)),
    ("restart::twenty_crashes_lose_no_frame", || twenty_crashes_lose_no_frame(VIRTIO)),
    ("restart::twenty_crashes_lose_no_frame_e1000e", || twenty_crashes_lose_no_frame(E1000E)),
    ("restart::twenty_crashes_lose_no_frame_igb", || twenty_crashes_lose_no_frame(IGB)),
    ("restart::killed_at_full_traffic_and_back", || killed_at_full_traffic_and_back(VIRTIO)),
    ("restart::killed_at_full_traffic_and_back_e1000e", || killed_at_full_traffic_and_back(E1000E)),
    ("restart::killed_at_full_traffic_and_back_igb", || killed_at_full_traffic_and_back(IGB)),
];

/// Lives that the crashing application must have ended.
const CRASHES: u64 = 5;

pub(super) fn crash_loop_next_to_traffic(machine: &'static str) -> Result<()> {
    let (mut steady, crasher) = (Peer::new()?, Peer::new()?);
    let setup =
        Setup::new("crash-loop").machine(machine).cpus(4).network(steady.netdev()).network(crasher.netdev());
    let (mut guest, _) = setup.boot()?;
    let deadline = Instant::now() + Duration::from_secs(90);
    let mut echoed = 0;
    loop {
        steady.echo(500, |number| 64 + number).map_err(|error| guest.failure(&format!("{error:#}")))?;
        echoed += 500;
        guest.counted("steady", |app| app.rx_packets >= echoed)?;
        let status = guest.status()?;
        let (Some(steady), Some(crasher)) = (status.app("steady"), status.app("crasher")) else {
            return Err(guest.failure("the report lacks an application"));
        };
        guest.check(
            steady.restarts == 0 && steady.state == "running",
            &format!("steady suffered: {steady:?}"),
        )?;
        if crasher.restarts >= CRASHES {
            break;
        }
        guest.check(Instant::now() < deadline, &format!("only {} restarts", crasher.restarts))?;
    }
    guest.check(guest.has_said("crasher: "), "no backtrace of the crashed application was printed")?;
    // An application that is still being restarted is no failure of the system.
    guest.type_line("poweroff")
}

/// Restarts whose frames are counted.
const RESTARTS: u64 = 20;
/// How long the supervisor's or the application's next sign may take.
const LIMIT: Duration = Duration::from_secs(10);

fn is_ready(status: &Status) -> bool {
    status.app("echo").is_some_and(|app| app.ready)
}

/// Time after which a frame counts as lost: a link comes up half a second after a reset, and what arrives earlier may
/// go the way of frames on a wire that is not plugged in.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// The application panics at its first answer, with its device, its core and its rings in use.
pub(super) fn twenty_crashes_lose_no_frame(machine: &'static str) -> Result<()> {
    let peer = Peer::new()?;
    let (mut guest, _) = Setup::new("crash-once").machine(machine).network(peer.netdev()).boot()?;
    let mut frames = None;
    for restarts in 0..=RESTARTS {
        // A frame that was sent twice may end this life before it was seen alive.
        guest.status_until("life", |status| is_ready(status) || has_crashed(status, restarts))?;
        let status = provoke_crash(&mut guest, &peer, restarts)?;
        let before = *frames.get_or_insert(status.frames_free);
        let what = format!("{before} free frames became {} in {restarts} restarts", status.frames_free);
        guest.check(status.frames_free == before, &what)?;
        guest.type_line("restart echo")?;
    }
    guest.type_line("poweroff")
}

fn has_crashed(status: &Status, restarts: u64) -> bool {
    status.app("echo").is_some_and(|app| app.state == "exited" && app.code != 0 && app.restarts == restarts)
}

/// Asks until the life after `restarts` others has crashed at the question. Whether the answer gets out before is
/// of no interest; ARP is answered, too.
fn provoke_crash(guest: &mut Guest, peer: &Peer, restarts: u64) -> Result<Status> {
    let next = Cell::new(Instant::now());
    let refused = Cell::new(None);
    let status = guest.status_until("a crash", |status| {
        let is_over = has_crashed(status, restarts);
        if !is_over && Instant::now() >= next.get() {
            next.set(Instant::now() + ASK_AGAIN);
            refused.set(peer.provoke().err());
        }
        is_over
    });
    refused.into_inner().map_or(status, Err)
}

/// Killed while packets fly both ways, its device is free at once: the next life has it and answers.
pub(super) fn killed_at_full_traffic_and_back(machine: &'static str) -> Result<()> {
    let mut peer = Peer::new()?;
    let (mut guest, _) = Setup::new("echo").machine(machine).network(peer.netdev()).boot()?;
    guest.status_until("ready", is_ready)?;
    peer.find_guest().map_err(|error| guest.failure(&format!("{error:#}")))?;
    let flood = peer.flood()?;
    answers(&guest, &flood, 1000)?;
    guest.type_line("kill echo")?;
    guest.console_line("killed echo", LIMIT)?;
    guest.status_until("killed", |status| status.app("echo").is_some_and(|app| app.state == "killed"))?;
    guest.type_line("restart echo")?;
    let start = Instant::now();
    guest.status_until("back", is_ready)?;
    answers(&guest, &flood, 1000)?;
    guest.check(start.elapsed() < LIMIT, &format!("it took {:?} to answer again", start.elapsed()))?;
    let mut peer = flood.stop().map_err(|error| guest.failure(&format!("{error:#}")))?;
    peer.echo(500, |number| 64 + number).map_err(|error| guest.failure(&format!("{error:#}")))?;
    let status = guest.status()?;
    guest.check(status.faults == 0, &format!("the device was caught outside: {status:?}"))?;
    guest.power_off()
}

/// Waits for `count` more answers.
fn answers(guest: &Guest, flood: &Flood, count: u64) -> Result<()> {
    let (first, deadline) = (flood.answered(), Instant::now() + LIMIT);
    while flood.answered() < first + count {
        guest.check(Instant::now() < deadline, &format!("{} answers", flood.answered() - first))?;
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}
