//! The loop.
//!
//! **Invariant: between two lines of the log nothing allocates, locks, or enters the kernel.**

use weir_nic::Nic;
use weir_pool::Burst;
use weir_rt::clock::now_ns;
use weir_rt::hal::Function;
use weir_rt::log;
use weir_station::{BURST, Failure, Seen, Station};
use weir_traffic::words::End;

use crate::source::Source;

/// Time between two lines.
const LINE_NS: u64 = 1_000_000_000;

/// Sends until it is over, and says what was sent.
pub(crate) fn run<N: Nic<Device = Function>>(
    mut station: Station<N>,
    mut source: impl Source,
    end: End,
) -> Result<(), Failure>
where
    Failure: From<N::Error>,
{
    let (mut burst, mut made) = (Burst::<BURST>::new(), 0);
    station.begin();
    let start_ns = now_ns();
    let mut line = Line { start_ns, last_ns: start_ns, last_frames: 0, next_ns: start_ns + LINE_NS };
    source.begin(start_ns);
    loop {
        let now_ns = now_ns();
        let is_over = now_ns - start_ns >= end.ns;
        if is_over || made == end.frames && burst.is_empty() {
            break;
        }
        station.receive(|_| Seen::Left)?;
        while burst.room() > 0 && made < end.frames && source.is_due(now_ns) {
            let Some(mut buf) = station.take()? else { break };
            source.write(&mut buf);
            made += 1;
            // There is room, just looked at.
            burst.push(buf).unwrap_or_else(|buf| station.put(buf));
        }
        if !burst.is_empty() {
            station.send(&mut burst)?;
        }
        if now_ns >= line.next_ns {
            line.tell(&mut station, &source, now_ns);
            station.visit()?;
        }
    }
    // What the device did not take in time is not sent.
    while let Some(buf) = burst.pop() {
        station.put(buf);
    }
    station.finish()?;
    let ns = now_ns() - start_ns;
    let ((frames, bytes), entries) = (station.watch.sent(), station.watch.entries());
    let (per_second, ms, missed) = (per_second(frames, ns), ns / 1_000_000, source.missed());
    log!(
        "sent {frames} frames, {bytes} bytes in {ms} ms: {per_second} frames/s; {missed} missed; kernel entries: {entries}"
    );
    Ok(())
}

/// The line of each second.
struct Line {
    start_ns: u64,
    last_ns: u64,
    last_frames: u64,
    next_ns: u64,
}

impl Line {
    #[cold]
    fn tell<N: Nic<Device = Function>>(&mut self, station: &mut Station<N>, source: &impl Source, now_ns: u64)
    where
        Failure: From<N::Error>,
    {
        station.watch.publish();
        let (frames, _) = station.watch.sent();
        let rate = per_second(frames - self.last_frames, now_ns - self.last_ns);
        let (seconds, missed) = ((now_ns - self.start_ns) / 1_000_000_000, source.missed());
        station.watch.off_path(|| log!("{seconds} s: {rate} frames/s; {frames} sent, {missed} missed"));
        (self.last_ns, self.last_frames) = (now_ns, frames);
        self.next_ns = now_ns + LINE_NS;
    }
}

fn per_second(frames: u64, ns: u64) -> u64 {
    u64::try_from(u128::from(frames) * 1_000_000_000 / u128::from(ns.max(1))).unwrap_or(u64::MAX)
}
