//! What `weir measure packets --peers` compares with: the same frames between the same two devices by DPDK's testpmd, in the
//! same machine.
//!
//! testpmd runs in the Linux guest, its devices given to `vfio-pci` behind the IOMMU, its forwarding thread alone on a CPU that
//! Linux leaves alone. The observer's counts of that CPU, from before testpmd starts until after it has ended, go with
//! what testpmd says at its end: frames, polls, and bursts sent, of which there is one for each poll that found something.
//! **Invariant: polls that found nothing are not charged to frames**: a run without traffic says what one costs.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde::Serialize;

use super::packets::{BURSTS, wire};
use crate::guest::Guest;
use crate::linux::{Linux, dpdk};
use crate::progress::Step;
use crate::vm::observer::Cpu;

/// How long Linux and testpmd may take for one step.
const LIMIT: Duration = Duration::from_secs(300);
/// How long it forwards: for a figure to keep, and for a look.
const TIME: Duration = Duration::from_secs(10);
const TIME_QUICK: Duration = Duration::from_secs(3);
/// What it says once it forwards, and how often that is looked for.
const FORWARDING: &str = "Press enter to exit";
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// Frames under way between the two devices, as in `apps/pktfwd`.
const CIRCULATING: u64 = 128;
/// The CPU of the thread that forwards.
const CPU: usize = 1;
/// Fewer frames in a run would be no measurement.
const FRAMES_MIN: u64 = 10_000;

/// What testpmd did, beside a row of Weir.
#[derive(Clone, Debug, Serialize)]
pub struct Peer {
    /// Frames counted.
    pub frames: u64,
    /// Instructions of user mode for each, without polls that found nothing.
    pub instructions_per_frame: f64,
    /// Instructions of a poll that finds nothing.
    pub instructions_per_empty_poll: f64,
    /// Frames in a burst that has any, on average.
    pub frames_per_burst: f64,
    /// How many of a hundred polls found nothing.
    pub empty_percent: u64,
    /// Kernel entries of the forwarding thread's CPU while it forwarded, start and end left out.
    pub kernel_entries: u64,
}

/// What one run showed.
#[derive(Clone, Copy, Debug)]
struct Run {
    /// Bursts that testpmd sent by itself, to begin with.
    bursts_first: u64,
    /// Instructions of user mode, from before testpmd's start until after its end.
    user: u64,
    /// Kernel entries while it forwarded.
    entries: u64,
    said: Said,
}

/// What testpmd said of a run, both devices together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Said {
    frames: u64,
    polls: u64,
    bursts_sent: u64,
}

/// Measures on the machine `name`: a row for each size of burst.
pub(super) fn measure(name: &str, is_quick: bool) -> Result<Vec<Peer>> {
    let time = if is_quick { TIME_QUICK } else { TIME };
    let step = Step::begin(format!("counting testpmd's instructions on {name}"));
    let linux = Linux::new(SCRIPT).machine(name).cpus(2).huge_pages(64);
    // The forwarding thread's CPU has no other thread, no timer tick and no deferred work of the kernel.
    let linux = linux.words("isolcpus=1 nohz_full=1 rcu_nocbs=1").modules(&["vfio-pci", "vfio_iommu_type1"]);
    let mut guest = dpdk::add_to(linux)?.network(wire()).network(wire()).observed().start()?;
    step.say("without traffic");
    let idle = run(&mut guest, time, 32, 0)?;
    ensure!(idle.said.frames == 0 && idle.said.polls > 0, "frames without traffic: {idle:?}");
    let mut peers = Vec::new();
    for (burst, _) in BURSTS {
        step.say(&format!("bursts of {burst}"));
        let busy = run(&mut guest, time, burst, CIRCULATING)?;
        let is_enough = busy.said.frames >= FRAMES_MIN && busy.said.bursts_sent > busy.bursts_first;
        guest.check(is_enough, &format!("too few frames: {busy:?}"))?;
        peers.push(peer(idle, busy));
    }
    guest.power_off()?;
    step.done();
    Ok(peers)
}

/// Runs testpmd with bursts of that size and `frames` under way, for `time` of this host's.
fn run(guest: &mut Guest, time: Duration, burst: u64, frames: u64) -> Result<Run> {
    // Each device sends half of them.
    let first = frames / 2 / burst;
    guest.console_line("which run?", LIMIT)?;
    let before = observe(guest)?;
    let begun = guest.count_said(FORWARDING);
    guest.type_line(&format!("run {burst} {first}"))?;
    let deadline = Instant::now() + LIMIT;
    while guest.count_said(FORWARDING) == begun {
        guest.check(Instant::now() < deadline, "testpmd does not forward")?;
        sleep(LOOK_AGAIN);
    }
    let forwarding = observe(guest)?;
    sleep(time);
    let forwarded = observe(guest)?;
    guest.type_line("")?;
    guest.console_line(&format!("testpmd {burst} {first} has ended"), LIMIT)?;
    let after = observe(guest)?;
    let console = guest.console();
    let start = console.iter().rposition(|line| line.contains(FORWARDING)).unwrap_or_default();
    let said = Said::of(&console[start..].join(" "));
    let said = said.ok_or_else(|| guest.failure("testpmd's words are not understood"))?;
    let entries = forwarded.entries - forwarding.entries;
    Ok(Run { bursts_first: 2 * first, user: after.user - before.user, entries, said })
}

/// The counts of the CPU that forwards.
fn observe(guest: &mut Guest) -> Result<Cpu> {
    guest.observe()?.into_iter().nth(CPU).context("the guest has one CPU")
}

/// For each line `run BURST BURSTS_FIRST`: testpmd, which ends with the next line typed. A frame goes back to the device
/// that it came from.
const SCRIPT: &str = r#"
network_to_vfio && mkdir -p /var/run /run || exit
echo "which run?"
while read -r word burst first; do
    [ "$word" = poweroff ] && return
    [ "$word" = run ] || continue
    [ "$first" = 0 ] && echo start > /tmp/start || echo "start tx_first $first" > /tmp/start
    dpdk-testpmd --lcores 0@0,1@1 --no-telemetry --in-memory --iova-mode=va -- --forward-mode=macswap --nb-cores=1 \
        --port-topology=loop --burst=$burst --total-num-mbufs=8192 --record-burst-stats --cmdline-file=/tmp/start
    echo "testpmd $burst $first has ended"
done
"#;

impl Said {
    /// What the line says: frames and polls of each device, and bursts sent where there are any; then all frames.
    fn of(line: &str) -> Option<Said> {
        let numbers = |name: &str| -> Vec<u64> {
            let number = |rest: &str| rest.split_whitespace().next()?.parse().ok();
            line.split(name).skip(1).filter_map(number).collect()
        };
        let ([left, right, frames], [polls_left, polls_right]) =
            (*numbers("RX-packets:").first_chunk()?, *numbers("RX-bursts :").first_chunk()?);
        let bursts_sent = numbers("TX-bursts :").iter().sum();
        (left + right == frames).then_some(Said { frames, polls: polls_left + polls_right, bursts_sent })
    }
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
fn peer(idle: Run, busy: Run) -> Peer {
    let rounded = |value: f64| (value * 10.0).round() / 10.0;
    let empty_poll = idle.user as f64 / idle.said.polls as f64;
    let Said { frames, polls, .. } = busy.said;
    let bursts = busy.said.bursts_sent - busy.bursts_first;
    let empty_polls = polls - bursts;
    let charged = busy.user as f64 - empty_poll * empty_polls as f64;
    Peer {
        frames,
        instructions_per_frame: rounded(charged / frames as f64),
        instructions_per_empty_poll: rounded(empty_poll),
        frames_per_burst: rounded(frames as f64 / bursts as f64),
        empty_percent: empty_polls * 100 / polls.max(1),
        kernel_entries: busy.entries,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAID: &str = "testpmd 32 2: RX-packets: 320 RX-dropped: 0 RX-total: 320 RX-bursts : 1000 [99% of 0 pkts + 1% of 32 \
        pkts] TX-bursts : 12 [100% of 32 pkts] RX-packets: 32 RX-dropped: 0 RX-total: 32 RX-bursts : 500 [99% of 0 pkts + \
        1% of other] TX-bursts : 3 [100% of 32 pkts] RX-packets: 352 RX-dropped: 0 RX-total: 352";

    #[test]
    fn testpmds_words_are_understood() {
        assert_eq!(Said::of(SAID), Some(Said { frames: 352, polls: 1500, bursts_sent: 15 }));
        let idle = SAID
            .replace("TX-bursts", "")
            .replace("352", "0")
            .replace(": 320", ": 0")
            .replace(": 32 ", ": 0 ");
        assert_eq!(Said::of(&idle), Some(Said { frames: 0, polls: 1500, bursts_sent: 0 }));
        assert_eq!(Said::of("testpmd 32 2: "), None);
        assert_eq!(Said::of(&SAID.replace("352", "353")), None);
    }

    #[test]
    fn polls_that_find_nothing_cost_frames_nothing() {
        let run = |user, frames, polls, bursts_sent, bursts_first| {
            let said = Said { frames, polls, bursts_sent };
            Run { bursts_first, user, entries: 7, said }
        };
        let idle = run(1000, 0, 10, 0, 0);
        // Ten bursts of 32 at 300 a frame, 90 empty polls at 100.
        let peer = peer(idle, run(320 * 300 + 90 * 100, 320, 100, 14, 4));
        assert_eq!((peer.instructions_per_frame, peer.instructions_per_empty_poll), (300.0, 100.0));
        assert_eq!((peer.frames_per_burst, peer.empty_percent, peer.kernel_entries), (32.0, 90, 7));
    }
}
