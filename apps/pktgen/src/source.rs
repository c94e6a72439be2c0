//! Which frame is due.

use weir_pool::Buf;
use weir_rt::clock::now_ns;
use weir_traffic::frames::Frames;
use weir_traffic::pace::{Pace, Ticker};
use weir_traffic::recording::{Recording, Taken};
use weir_traffic::size::Sizes;
use weir_traffic::stamp::Stamp;

/// Frames, one after the other.
pub(crate) trait Source {
    /// Begins: times count from here.
    fn begin(&mut self, start_ns: u64);
    /// Whether a frame is due; if so, it stays so until it is written.
    fn is_due(&mut self, now_ns: u64) -> bool;
    /// Writes the frame that is due into an empty buffer.
    fn write(&mut self, buf: &mut Buf);
    /// In how many times nothing could be sent.
    fn missed(&self) -> u64;
}

/// Frames without times of their own.
pub(crate) trait Frame {
    /// Writes the next frame into an empty buffer.
    fn write(&mut self, buf: &mut Buf);
}

/// Datagrams with numbers.
pub(crate) struct Made {
    pub(crate) frames: Frames,
    pub(crate) sizes: Sizes,
    pub(crate) sequence: u64,
}

impl Frame for Made {
    #[inline]
    fn write(&mut self, buf: &mut Buf) {
        let stamp = Stamp { sequence: self.sequence.into(), time_ns: now_ns().into() };
        // The words allow no size without room for a stamp, and none longer than a buffer.
        let _ = buf.set_len(self.sizes.of(self.sequence)) && self.frames.write(buf.frame_mut(), stamp);
        self.sequence = self.sequence.wrapping_add(1);
    }
}

/// Over and over.
impl Frame for Recording<'_> {
    #[inline]
    fn write(&mut self, buf: &mut Buf) {
        // Behind the last comes the first: a file has one.
        if let Some(taken) = self.take().or_else(|| self.take()) {
            copy(buf, taken.frame);
        }
    }
}

/// No frame of a file is longer than a buffer: that was looked at when it was opened.
#[inline]
fn copy(buf: &mut Buf, frame: &[u8]) {
    if u16::try_from(frame.len()).is_ok_and(|len| buf.set_len(len)) {
        buf.frame_mut().copy_from_slice(frame);
    }
}

/// Frames at a rate, or as fast as they are taken.
pub(crate) struct Paced<F> {
    frame: F,
    rate: Option<u64>,
    burst: u64,
    ticker: Ticker,
    /// Frames of the latest tick that were not written yet.
    owed: u64,
}

impl<F: Frame> Paced<F> {
    pub(crate) fn new(frame: F, rate: Option<u64>, burst: u64) -> Paced<F> {
        Paced { frame, rate, burst, ticker: Ticker::new(None), owed: 0 }
    }
}

impl<F: Frame> Source for Paced<F> {
    fn begin(&mut self, start_ns: u64) {
        self.ticker = Ticker::new(self.rate.map(|rate| Pace::new(start_ns, rate, self.burst)));
    }

    #[inline]
    fn is_due(&mut self, now_ns: u64) -> bool {
        if self.owed == 0 && self.ticker.take(now_ns) {
            self.owed = self.burst;
        }
        self.owed > 0
    }

    #[inline]
    fn write(&mut self, buf: &mut Buf) {
        self.owed = self.owed.saturating_sub(1);
        self.frame.write(buf);
    }

    fn missed(&self) -> u64 {
        self.ticker.missed()
    }
}

/// A frame that goes out so much after its time was missed.
const LATE_NS: u64 = 1_000_000;

/// The frames of a file in their own time, over and over.
pub(crate) struct Timed<'a> {
    recording: Recording<'a>,
    /// The frame that is next, and its time.
    next: Option<Taken<'a>>,
    /// When this time through began.
    start_ns: u64,
    missed: u64,
}

impl<'a> Timed<'a> {
    pub(crate) fn new(mut recording: Recording<'a>) -> Timed<'a> {
        let next = recording.take();
        Timed { recording, next, start_ns: 0, missed: 0 }
    }
}

impl Source for Timed<'_> {
    fn begin(&mut self, start_ns: u64) {
        self.start_ns = start_ns;
    }

    #[inline]
    fn is_due(&mut self, now_ns: u64) -> bool {
        self.next.is_some_and(|next| self.start_ns.saturating_add(next.due_ns) <= now_ns)
    }

    #[inline]
    fn write(&mut self, buf: &mut Buf) {
        let Some(taken) = self.next else { return };
        let due_ns = self.start_ns.saturating_add(taken.due_ns);
        self.missed += u64::from(now_ns().saturating_sub(due_ns) >= LATE_NS);
        copy(buf, taken.frame);
        self.next = self.recording.take().or_else(|| {
            self.start_ns = self.start_ns.saturating_add(self.recording.length_ns());
            self.recording.take()
        });
    }

    fn missed(&self) -> u64 {
        self.missed
    }
}
