//! The owner of a device is killed at full traffic, a thousand times in all, and nobody else notices.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use weir_runner::guest::{Guest, Setup};
use weir_runner::peer::{Flood, Peer};

use crate::cases::Case;

/// As many kills on each machine.
const TIMES: u64 = 125;

pub(super) const CASES: [(&str, Case); 8] = [
    ("attack::killed_125_times_on_vtd_legacy", || killed("q35-vtd")),
    ("attack::killed_125_times_on_vtd_legacy_39", || killed("q35-vtd-39")),
    ("attack::killed_125_times_on_vtd_legacy_caching", || killed("q35-vtd-caching")),
    ("attack::killed_125_times_on_scalable_first", || killed("q35-scalable-first")),
    ("attack::killed_125_times_on_scalable_first_caching", || killed("q35-scalable-first-caching")),
    ("attack::killed_125_times_on_scalable_second", || killed("q35-scalable-second")),
    ("attack::killed_125_times_on_amdvi", || killed("q35-amdvi")),
    ("attack::killed_125_times_on_amdvi_x2apic", || killed("q35-amdvi-x2apic")),
];

/// Datagrams the victim answers in each life.
const ANSWERS: u64 = 20;
/// How long that may take.
const LIMIT: Duration = Duration::from_secs(20);
const LOOK: Duration = Duration::from_micros(200);
/// Datagrams that the steady application answers at a time, each of which must come back.
const ECHOED: usize = 50;

fn killed(machine: &'static str) -> Result<()> {
    let (steady, mut victim) = (Peer::new()?, Peer::new()?);
    let setup = Setup::new("kills").machine(machine).cpus(3);
    let (mut guest, _) = setup.network(steady.netdev()).network(victim.netdev()).boot()?;
    guest.status_until("both data paths", |status| {
        ["steady", "victim"].iter().all(|name| status.app(name).is_some_and(|app| app.ready))
    })?;
    let steady = Steady::begin(steady);
    victim.find_guest().map_err(|error| guest.failure(&format!("{error:#}")))?;
    let flood = victim.flood()?;
    let mut frames = None;
    for number in 0..TIMES {
        answers(&guest, &flood)?;
        guest.type_line("kill victim")?;
        let status = guest.status_until("the kill", |status| {
            status.app("victim").is_some_and(|app| app.state == "killed" && app.restarts == number)
        })?;
        let before = *frames.get_or_insert(status.frames_free);
        let what = format!("{before} free frames became {} in {number} kills", status.frames_free);
        guest.check(status.frames_free == before, &what)?;
        guest.check(status.faults == 0, &format!("the device was caught outside: {status:?}"))?;
        guest.type_line("restart victim")?;
    }
    answers(&guest, &flood)?;
    let echoed = steady.stop().map_err(|error| guest.failure(&format!("{error:#}")))?;
    guest.check(echoed > TIMES, &format!("the other application only answered {echoed} datagrams"))?;
    let status = guest.status()?;
    let is_steady = status.app("steady").is_some_and(|app| app.restarts == 0 && app.device_errors == 0);
    guest.check(is_steady, &format!("{status:?}"))?;
    println!("killed {TIMES} times; the other application answered all of {echoed} datagrams meanwhile");
    guest.type_line("poweroff")
}

/// Waits until the victim's present life has answered.
fn answers(guest: &Guest, flood: &Flood) -> Result<()> {
    let (first, deadline) = (flood.answered(), Instant::now() + LIMIT);
    while flood.answered() < first + ANSWERS {
        guest.check(Instant::now() < deadline, &format!("{} answers", flood.answered() - first))?;
        thread::sleep(LOOK);
    }
    Ok(())
}

/// Datagrams to the other application, without end; one that is lost or changed is an error.
struct Steady {
    is_over: Arc<AtomicBool>,
    thread: JoinHandle<Result<u64>>,
}

impl Steady {
    fn begin(mut peer: Peer) -> Steady {
        let is_over = Arc::new(AtomicBool::new(false));
        let over = Arc::clone(&is_over);
        let thread = thread::spawn(move || {
            let mut echoed = 0;
            while !over.load(Ordering::Relaxed) {
                peer.echo(ECHOED, |number| 64 + number)?;
                echoed += ECHOED as u64;
            }
            Ok(echoed)
        });
        Steady { is_over, thread }
    }

    /// How many came back: all that were sent.
    fn stop(self) -> Result<u64> {
        self.is_over.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| anyhow!("the other peer panicked"))?
    }
}
