//! Frames out of a pcap file, in their own time or at a pace.
//!
//! **Invariant: the file was read to its end before its first frame goes out** (`weir_forward::pcap`), so a damaged one is refused
//! by name.

use weir_forward::pcap::{Error, Reader, Replay};

/// A file that is good, and where in it the next frame is.
#[derive(Clone, Debug)]
pub struct Recording<'a> {
    first: Reader<'a>,
    next: Reader<'a>,
    /// Time of the first frame of the file, and from the first to the latest.
    start_ns: u64,
    length_ns: u64,
    frames: u64,
    /// Time in the file, from its start, this time through.
    reached_ns: u64,
}

/// A frame, and when it is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken<'a> {
    /// Nanoseconds since the start of the recording. A time that is earlier than the one before it, as a file may have it, is the
    /// one before it.
    pub due_ns: u64,
    /// The frame.
    pub frame: &'a [u8],
}

impl<'a> Recording<'a> {
    /// Reads a whole file.
    ///
    /// # Errors
    /// Whatever is wrong with it.
    pub fn new(file: &'a [u8]) -> Result<Recording<'a>, Error> {
        let frames = Replay::new(file)?.frames() as u64;
        let first = Reader::new(file)?;
        let mut times = first.clone().filter_map(Result::ok).map(|record| record.time_ns);
        let start_ns = times.next().unwrap_or(0);
        let length_ns = times.fold(0, |latest, time| latest.max(time.saturating_sub(start_ns)));
        let next = first.clone();
        Ok(Recording { first, next, start_ns, length_ns, frames, reached_ns: 0 })
    }

    /// How many frames it has.
    #[must_use]
    pub fn frames(&self) -> u64 {
        self.frames
    }

    /// How long it takes in its own time.
    #[must_use]
    pub fn length_ns(&self) -> u64 {
        self.length_ns
    }

    /// The next frame; after the last, `None` once, and then the first again.
    #[inline]
    pub fn take(&mut self) -> Option<Taken<'a>> {
        // All records were read once, so they are good.
        match self.next.next().and_then(Result::ok) {
            Some(record) => {
                self.reached_ns = self.reached_ns.max(record.time_ns.saturating_sub(self.start_ns));
                Some(Taken { due_ns: self.reached_ns, frame: record.frame })
            }
            None => {
                (self.next, self.reached_ns) = (self.first.clone(), 0);
                None
            }
        }
    }
}
