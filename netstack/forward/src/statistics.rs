//! What was received and sent, and the text that says it: that of testpmd ("Forward statistics"), with bytes.
//!
//! Counters are plain words of the thread that forwards; the text is for when it is done, or has time.

use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering};

use weir_abi::stats::Stats;

/// Largest burst that is told apart.
pub const BURST_MAX: usize = 64;

/// How many bursts there were of each size.
#[derive(Clone, Debug)]
pub struct Bursts([u64; BURST_MAX + 1]);

impl Default for Bursts {
    fn default() -> Bursts {
        Bursts([0; BURST_MAX + 1])
    }
}

impl Bursts {
    /// Counts a burst of `frames`; those of more than [`BURST_MAX`] count as of so many.
    #[inline]
    pub fn count(&mut self, frames: usize) {
        self.0[frames.min(BURST_MAX)] += 1;
    }

    /// How many there were of `frames`.
    #[must_use]
    pub fn of(&self, frames: usize) -> u64 {
        self.0.get(frames).copied().unwrap_or(0)
    }

    /// How many there were in all.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// The two sizes, of one frame or more, that occurred most often.
    fn most_frequent(&self) -> [usize; 2] {
        let mut most = [0; 2];
        for size in (1..=BURST_MAX).filter(|&size| self.0[size] > 0) {
            if most[0] == 0 || self.0[size] > self.0[most[0]] {
                most = [size, most[0]];
            } else if most[1] == 0 || self.0[size] > self.0[most[1]] {
                most[1] = size;
            }
        }
        most
    }
}

/// `TOTAL [12% of 0 pkts + 80% of 32 pkts + 5% of 8 pkts + 3% of other]`.
impl fmt::Display for Bursts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let total = self.total();
        write!(f, "{total} [")?;
        let mut left = 100;
        let [first, second] = self.most_frequent();
        for (place, size) in
            [0, first, second].into_iter().enumerate().filter(|(place, size)| *place == 0 || *size > 0)
        {
            let percent = (100 * self.0[size]).checked_div(total).unwrap_or(0);
            left -= percent.min(left);
            write!(f, "{}{percent}% of {size} pkts", if place == 0 { "" } else { " + " })?;
        }
        if left > 0 && total > 0 {
            write!(f, " + {left}% of other")?;
        }
        f.write_str("]")
    }
}

/// What was received at a port.
#[derive(Clone, Debug, Default)]
pub struct Received {
    /// Frames, without those dropped.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Frames shorter than an Ethernet header, and what came together with a violation.
    pub dropped: u64,
    /// Of `packets`, those with a header that is cut short or wrong, in a mode that reads headers.
    pub malformed: u64,
    /// How many came at once; empty looks count too.
    pub bursts: Bursts,
}

/// What was sent at a port.
#[derive(Clone, Debug, Default)]
pub struct Sent {
    /// Frames.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Frames that the ring had no room for.
    pub dropped: u64,
    /// How many went at once.
    pub bursts: Bursts,
}

/// The text for one port.
#[derive(Clone, Copy, Debug)]
pub struct OfPort<'a> {
    /// Its number.
    pub number: usize,
    /// What it received.
    pub received: &'a Received,
    /// What it sent.
    pub sent: &'a Sent,
}

impl fmt::Display for OfPort<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const BORDER: &str = "----------------------";
        let OfPort { number, received, sent } = self;
        writeln!(f, "  {BORDER} Forward statistics for port {number:<2} {BORDER}")?;
        Sums::of(&[*self]).fmt(f)?;
        if received.malformed > 0 {
            writeln!(f, "  RX-malformed: {}", received.malformed)?;
        }
        writeln!(f, "  RX-bursts : {}", received.bursts)?;
        writeln!(f, "  TX-bursts : {}", sent.bursts)?;
        writeln!(f, "  {BORDER}--------------------------------{BORDER}")
    }
}

/// The text for all ports together.
#[derive(Clone, Copy, Debug)]
pub struct OfAll<'a>(pub &'a [OfPort<'a>]);

impl fmt::Display for OfAll<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const BORDER: &str = "+++++++++++++++";
        writeln!(f, "  {BORDER} Accumulated forward statistics for all ports{BORDER}")?;
        Sums::of(self.0).fmt(f)?;
        writeln!(f, "  {BORDER}++++++++++++++++++++++++++++++++++++++++++++++{BORDER}")
    }
}

/// Sums over ports.
#[derive(Default)]
struct Sums {
    rx: [u64; 3],
    tx: [u64; 3],
}

impl Sums {
    fn of(ports: &[OfPort<'_>]) -> Sums {
        let mut sums = Sums::default();
        for OfPort { received, sent, .. } in ports {
            let (rx, tx) = (
                [received.packets, received.dropped, received.bytes],
                [sent.packets, sent.dropped, sent.bytes],
            );
            sums.rx = core::array::from_fn(|place| sums.rx[place] + rx[place]);
            sums.tx = core::array::from_fn(|place| sums.tx[place] + tx[place]);
        }
        sums
    }

    /// Shows them to a supervisor.
    fn publish(&self, stats: &Stats) {
        let write = |counter: &AtomicU64, value| counter.store(value, Ordering::Relaxed);
        let [rx_packets, rx_dropped, rx_bytes] = self.rx;
        let [tx_packets, tx_dropped, tx_bytes] = self.tx;
        write(&stats.rx_packets, rx_packets);
        write(&stats.rx_bytes, rx_bytes);
        write(&stats.tx_packets, tx_packets);
        write(&stats.tx_bytes, tx_bytes);
        write(&stats.dropped, rx_dropped + tx_dropped);
    }
}

impl fmt::Display for Sums {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, [packets, dropped, bytes]) in [("RX", self.rx), ("TX", self.tx)] {
            writeln!(
                f,
                "  {name}-packets: {packets:<14} {name}-dropped: {dropped:<14}{name}-total: {:<14} {name}-bytes: {bytes}",
                packets + dropped
            )?;
        }
        Ok(())
    }
}

/// Shows a supervisor what all ports did.
pub fn publish(ports: &[OfPort<'_>], stats: &Stats) {
    Sums::of(ports).publish(stats);
}
