//! One application in three processes, which pass buffers of one pool to each other: each frame compared with what should
//! have become of it, and any of the three killed under load.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use weir_runner::audit::proof;
use weir_runner::guest::{Guest, Setup};
use weir_runner::peer::{FRAME_MIN_BYTES, Peer};
use weir_runner::report::Status;

use super::forward::{SIZES, swapped};
use super::{Case, IGB, VIRTIO};

pub(super) const CASES: &[(&str, Case)] = &[
    ("pipeline::frames_pass_and_nobody_enters_the_kernel", || no_kernel_entry(VIRTIO)),
    ("pipeline::frames_pass_and_nobody_enters_the_kernel_igb", || no_kernel_entry(IGB)),
    ("pipeline::frames_pass_and_nobody_enters_the_kernel_scalable_first", || {
        no_kernel_entry("q35-scalable-first")
    }),
    ("pipeline::sleeping_stages_ring_each_other", sleeping),
    ("pipeline::the_middle_is_killed_under_load", || killed_under_load("work", 5)),
    ("pipeline::the_last_is_killed_under_load", || killed_under_load("transmit", 3)),
    ("pipeline::the_first_is_killed_under_load", || killed_under_load("receive", 3)),
    ("pipeline::shared_memory_is_named_and_nothing_else_is_shared", audited),
];

const STAGES: [&str; 3] = ["receive", "work", "transmit"];
const LIMIT: Duration = Duration::from_secs(30);
/// Frames on their way at once: fewer than any ring on the way takes.
const WINDOW: usize = 16;
/// Every so many frames one that the rule drops is sent, too.
const DROPPED_EVERY: usize = 10;
/// The port of those, as the manifests say.
const DROPPED_PORT: u16 = 9999;

fn are_ready(status: &Status) -> bool {
    STAGES.iter().all(|name| status.app(name).is_some_and(|app| app.ready))
}

/// Booted, with who sends to the first stage and who hears the last.
fn boot(machine: &'static str, manifest: &'static str, cpus: u32) -> Result<(Guest, Peer, Peer)> {
    let (left, right) = (Peer::of_pair(0)?, Peer::of_pair(1)?);
    let setup =
        Setup::new(manifest).machine(machine).cpus(cpus).network(left.netdev()).network(right.netdev());
    let (mut guest, _) = setup.boot()?;
    guest.status_until("three stages that know each other", are_ready)?;
    Ok((guest, left, right))
}

/// Sends every size of a frame through, and checks each; those that the rule drops never come.
fn pass_all(guest: &Guest, left: &Peer, right: &Peer) -> Result<usize> {
    let frame = |number| left.datagram(number, FRAME_MIN_BYTES + number);
    let (mut sent, mut dropped) = (0, 0);
    for number in 0..SIZES {
        while sent < SIZES && sent < number + WINDOW {
            left.send(&frame(sent))?;
            if sent.is_multiple_of(DROPPED_EVERY) {
                let mut unwanted = frame(sent);
                unwanted[36..38].copy_from_slice(&DROPPED_PORT.to_be_bytes());
                left.send(&unwanted)?;
                dropped += 1;
            }
            sent += 1;
        }
        let came = right.next_frame(LIMIT).map_err(|error| guest.failure(&format!("{error:#}")))?;
        guest.check(came == Some(swapped(frame(number))), &format!("frame {number}: {came:?}"))?;
    }
    let silence = right.next_frame(Duration::from_millis(300))?;
    guest.check(silence.is_none(), &format!("one too many: {silence:?}"))?;
    Ok(dropped)
}

/// Kernel entries of each stage's data path.
fn entries(status: &Status) -> Vec<u64> {
    STAGES.iter().filter_map(|name| status.app(name)).map(|app| app.data_path_kernel_entries).collect()
}

fn no_kernel_entry(machine: &'static str) -> Result<()> {
    let (mut guest, left, right) = boot(machine, "pipeline", 4)?;
    let before = entries(&guest.status()?);
    let dropped = pass_all(&guest, &left, &right)? as u64;
    let sent = SIZES as u64;
    let work = guest.counted("work", |app| app.rx_packets >= sent + dropped)?;
    guest.check((work.tx_packets, work.dropped) == (sent, dropped), &format!("{work:?}"))?;
    let status = guest.status()?;
    guest.check(entries(&status) == before, &format!("{before:?} entries became {:?}", entries(&status)))?;
    guest.check(status.faults == 0, &format!("caught outside: {status:?}"))?;
    guest.power_off()
}

/// On shared cores each stage sleeps, and is woken by the one before it.
fn sleeping() -> Result<()> {
    let (mut guest, left, right) = boot(VIRTIO, "pipeline-sleep", 2)?;
    for number in 0..40 {
        // One at a time, with pauses of all lengths: all stages fall asleep, and some are about to.
        let frame = left.datagram(number, FRAME_MIN_BYTES);
        left.send(&frame)?;
        let asked = Instant::now();
        let came = right.next_frame(LIMIT).map_err(|error| guest.failure(&format!("{error:#}")))?;
        guest.check(came == Some(swapped(frame)), &format!("frame {number}: {came:?}"))?;
        // A stage that was not rung sleeps on for half a second.
        let took = asked.elapsed();
        guest.check(took < Duration::from_millis(400), &format!("frame {number} took {took:?}"))?;
        thread::sleep(Duration::from_millis(number as u64 % 8));
    }
    pass_all(&guest, &left, &right)?;
    let status = guest.status_until("sleeps", |status| {
        STAGES.iter().all(|name| status.app(name).is_some_and(|app| app.sleep_kernel_entries > 0))
    })?;
    guest.check(status.faults == 0, &format!("caught outside: {status:?}"))?;
    guest.power_off()
}

/// As many frames as the guest takes, until it is stopped.
struct Load {
    is_over: Arc<AtomicBool>,
    thread: JoinHandle<Result<Peer>>,
}

impl Load {
    fn begin(peer: Peer) -> Load {
        let is_over = Arc::new(AtomicBool::new(false));
        let over = Arc::clone(&is_over);
        let thread = thread::spawn(move || {
            let frame = peer.datagram(0, 256);
            while !over.load(Ordering::Relaxed) {
                for _ in 0..WINDOW {
                    peer.send(&frame)?;
                }
                thread::sleep(Duration::from_micros(200));
            }
            Ok(peer)
        });
        Load { is_over, thread }
    }

    fn end(self) -> Result<Peer> {
        self.is_over.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| anyhow!("the load panicked"))?
    }
}

/// Takes frames that come out until `count` more have.
fn frames_flow(guest: &Guest, right: &Peer, count: usize) -> Result<()> {
    for number in 0..count {
        let came = right.next_frame(LIMIT).map_err(|error| guest.failure(&format!("{error:#}")))?;
        guest.check(came.is_some(), &format!("after {number} frames nothing comes any more"))?;
    }
    Ok(())
}

/// Takes what is still on its way.
fn drain(right: &Peer) -> Result<()> {
    while right.next_frame(Duration::from_millis(300))?.is_some() {}
    Ok(())
}

/// One stage is killed again and again while frames fly: it comes back, the others live on, frames flow again, and when
/// each generation begins every buffer is where it should be.
fn killed_under_load(victim: &'static str, kills: u64) -> Result<()> {
    let (mut guest, left, right) = boot(VIRTIO, "pipeline", 4)?;
    let load = Load::begin(left);
    for kill in 1..=kills {
        frames_flow(&guest, &right, 500)?;
        guest.type_line(&format!("kill {victim}"))?;
        guest.status_until("its next life", |status| {
            // Whoever does not read keeps the last device from sending, and its owner from letting go.
            for _ in 0..2000 {
                if !matches!(right.next_frame(Duration::from_millis(1)), Ok(Some(_))) {
                    break;
                }
            }
            status.app(victim).is_some_and(|app| app.restarts == kill) && are_ready(status)
        })?;
        // What was sent before the end may still lie in the socket.
        frames_flow(&guest, &right, 500)?;
    }
    let left = load.end()?;
    drain(&right)?;
    pass_all(&guest, &left, &right)?;
    let status = guest.status()?;
    for name in STAGES.iter().filter(|name| **name != victim) {
        let app = status.app(name).context("an application is missing")?;
        guest.check(app.restarts == 0 && app.device_errors == 0, &format!("{name} suffered: {app:?}"))?;
    }
    guest.check(status.faults == 0, &format!("caught outside: {status:?}"))?;
    buffers_are_all_there(&mut guest, kills)?;
    guest.power_off()
}

/// At each beginning the first stage says where the buffers are: free, lent, or with its device, by which it means the
/// others. Its ring has 256 entries, so that a buffer that nobody has shows as one more than the ring's, or than none.
fn buffers_are_all_there(guest: &mut Guest, kills: u64) -> Result<()> {
    // A line may be cut by an answer of the console's.
    let is_uncut = |line: &&String| line.contains(" buffers ") && line.ends_with(" with the device");
    let lines: Vec<String> = guest.console().iter().filter(is_uncut).cloned().collect();
    guest.check(lines.len() as u64 > kills, &format!("too few generations: {lines:?}"))?;
    let with_device = |line: &String| {
        let words = line.split(" lent, ").nth(1).and_then(|rest| rest.split(' ').next());
        words.and_then(|number| number.parse::<u32>().ok())
    };
    let is_possible = |line: &String| line.contains(" 0 lent") && with_device(line).is_some_and(|n| n <= 256);
    let is_settled = |line: &String| matches!(with_device(line), Some(0 | 256));
    let is_well = lines.iter().all(is_possible) && lines.iter().rev().take(3).any(is_settled);
    guest.check(is_well, &format!("buffers are missing: {lines:?}"))
}

/// The report names what the three share, and the proof finds nothing else.
fn audited() -> Result<()> {
    let (mut guest, _left, _right) = boot(VIRTIO, "pipeline", 4)?;
    let iommu = guest.wait_ready()?.iommu;
    let verdict = proof::prove(&guest.audit()?, &iommu);
    guest.check(verdict.violations.is_empty(), &format!("{verdict:?}"))?;
    for [one, two] in [["receive", "work"], ["work", "transmit"], ["receive", "transmit"]] {
        let is_pair = |shared: &&proof::Shared| shared.between.each_ref().map(|(name, _)| name) == [one, two];
        let sizes: Vec<u64> = verdict.shared.iter().filter(is_pair).map(|shared| shared.bytes).collect();
        // 1,024 buffers of 2 KiB, and a page; and, between neighbours, the rings.
        let has_pool = sizes.iter().filter(|bytes| **bytes >= 2 << 20).count() == 1;
        let is_neighbour = two != "transmit" || one == "work";
        let count = if is_neighbour { 2 } else { 1 };
        guest.check(has_pool && sizes.len() == count, &format!("{one}, {two}: {sizes:?} of {verdict:?}"))?;
    }
    guest.power_off()
}
