//! The loop.
//!
//! **Invariant: between two lines of the log nothing allocates, locks, or enters the kernel.**

use weir_nic::Nic;
use weir_pool::Burst;
use weir_rt::clock::now_ns;
use weir_rt::hal::Function;
use weir_rt::log;
use weir_station::{BURST, Failure, Seen, Station};
use weir_traffic::account::Account;
use weir_traffic::frames::{Frames, Kind, Path};
use weir_traffic::histogram::Histogram;
use weir_traffic::pace::Pace;
use weir_traffic::reply::{Expected, Reply};
use weir_traffic::stamp::Stamp;
use weir_traffic::words::{End, Probe};

/// Time between two lines.
const LINE_NS: u64 = 1_000_000_000;
/// How long copies of the last answers may take.
const COPIES_NS: u64 = 100_000_000;
/// How long the device may take no frame.
const STUCK_NS: u64 = 10_000_000_000;

/// A run of probes.
pub(crate) struct Prober<N: Nic> {
    station: Station<N>,
    frames: Frames,
    probes: Burst<BURST>,
    judge: Judge,
    frame_bytes: u16,
    rate: u64,
    end: End,
    wait_ns: u64,
}

/// What is known of probes and answers.
struct Judge {
    expected: Expected,
    pace: Pace,
    account: Account,
    latency: Histogram,
}

impl Judge {
    /// Looks at a frame that came at `now_ns`.
    #[inline]
    fn see(&mut self, frame: &[u8], now_ns: u64) -> Seen {
        match self.expected.read(frame) {
            Reply::Other => return Seen::Left,
            Reply::Damaged => self.account.damage(),
            Reply::To(stamp) => {
                let (sequence, due_ns) = (stamp.sequence.get(), stamp.time_ns.get());
                // Whose time is not the probe's is none of ours, whatever its checksum.
                if due_ns != self.pace.due_ns(sequence) {
                    self.account.stray();
                } else if self.account.answer(sequence) {
                    self.latency.record(now_ns.saturating_sub(due_ns));
                }
            }
        }
        Seen::Taken
    }
}

impl<N: Nic<Device = Function>> Prober<N>
where
    Failure: From<N::Error>,
{
    pub(crate) fn new(station: Station<N>, path: &Path, kind: Kind, probe: &Probe) -> Prober<N> {
        let &Probe { rate, frame_bytes, end, wait_ns, .. } = probe;
        let judge = Judge {
            expected: Expected::new(path, kind, frame_bytes),
            pace: Pace::new(0, rate, 1),
            account: Account::default(),
            latency: Histogram::default(),
        };
        let frames = Frames::new(path, kind);
        Prober { station, frames, probes: Burst::new(), judge, frame_bytes, rate, end, wait_ns }
    }

    /// Probes until it is over, and says what became of it all.
    pub(crate) fn run(mut self) -> Result<(), Failure> {
        self.station.begin();
        let start_ns = now_ns();
        self.judge.pace = Pace::new(start_ns, self.rate, 1);
        // As many as are due in that time, even if they can be sent only later: what is left out would not count.
        let last_ns = start_ns.saturating_add(self.end.ns - 1);
        let probes = self.end.frames.min(self.judge.pace.ticks_by(last_ns));
        let (mut next_line_ns, mut moved_ns, mut end_ns) = (start_ns + LINE_NS, start_ns, u64::MAX);
        while now_ns() < end_ns {
            let now_ns = now_ns();
            self.make(now_ns, probes)?;
            if self.probes.is_empty() || self.station.send(&mut self.probes)? > 0 {
                moved_ns = now_ns;
            } else if now_ns - moved_ns >= STUCK_NS {
                return Err(Failure::Stuck);
            }
            self.receive()?;
            if now_ns >= next_line_ns {
                next_line_ns = now_ns + LINE_NS;
                self.tell()?;
            }
            let counts = self.judge.account.counts();
            if counts.sent == probes && self.probes.is_empty() {
                // Where nothing is awaited, a second answer may still come.
                let wait_ns = if counts.lost() == 0 { self.wait_ns.min(COPIES_NS) } else { self.wait_ns };
                end_ns = end_ns.min(now_ns.saturating_add(wait_ns));
            }
        }
        self.station.finish()?;
        self.conclude();
        Ok(())
    }

    /// Makes the probes that are due.
    #[inline]
    fn make(&mut self, now_ns: u64, probes: u64) -> Result<(), Failure> {
        while self.probes.room() > 0 {
            let sent = self.judge.account.counts().sent;
            let due_ns = self.judge.pace.due_ns(sent);
            if due_ns > now_ns || sent == probes {
                break;
            }
            let Some(mut buf) = self.station.take()? else { break };
            let stamp = Stamp { sequence: self.judge.account.send().into(), time_ns: due_ns.into() };
            // The words allow no size without room for a stamp, and none longer than a buffer.
            let _ = buf.set_len(self.frame_bytes) && self.frames.write(buf.frame_mut(), stamp);
            // There is room, just looked at.
            self.probes.push(buf).unwrap_or_else(|buf| self.station.put(buf));
        }
        Ok(())
    }

    #[inline]
    fn receive(&mut self) -> Result<(), Failure> {
        let Prober { station, judge, .. } = self;
        station.receive(|frame| judge.see(frame, now_ns()))
    }

    #[cold]
    fn tell(&mut self) -> Result<(), Failure> {
        let Prober { station, judge, .. } = self;
        station.watch.publish();
        let counts = judge.account.counts();
        let (half, most) = (judge.latency.quantile(1, 2), judge.latency.max());
        let under_way = counts.lost();
        station.watch.off_path(|| {
            log!("{} answered, {under_way} lost or under way; p50 {half} ns, max {most} ns", counts.answered);
        });
        station.visit()
    }

    fn conclude(&self) {
        let Judge { account, latency, .. } = &self.judge;
        let entries = self.station.watch.entries();
        log!("{}; kernel entries: {entries}", account.counts());
        let [p50, p90, p99, p999, p9999] =
            [5000, 9000, 9900, 9990, 9999].map(|part| latency.quantile(part, 10_000));
        log!(
            "round trip in ns, from the time a probe was due: p50 {p50}, p90 {p90}, p99 {p99}, p99.9 {p999}, p99.99 {p9999}, max {}",
            latency.max()
        );
        log!("under an emulator these times are noise");
    }
}
