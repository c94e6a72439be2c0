//! Writing the board, and reading it.

use alloc::vec;
use core::sync::atomic::{Ordering, fence};

use crate::snapshot::Snapshot;

/// Size of the board.
pub const BOARD_BYTES: u64 = 64 << 10;
/// Where the sequence byte is.
const SEQUENCE_AT: u64 = 0;
/// Where the length is.
const LENGTH_AT: u64 = 8;
/// Where the snapshot is.
const SNAPSHOT_AT: u64 = 16;
/// How often a reader starts again that was disturbed.
const TRIES: usize = 8;

/// Why there is no snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// It does not fit.
    #[error("the snapshot does not fit on the board")]
    TooLong,
    /// The board's memory is too small.
    #[error("the board's memory is too small")]
    NoBoard,
    /// None was published.
    #[error("nothing is published yet")]
    Empty,
    /// It was written whenever somebody read.
    #[error("the board was being written")]
    Busy,
    /// What stands there is no snapshot.
    #[error("the board holds no snapshot that this program understands")]
    Malformed,
}

/// The writing side.
#[derive(Debug, Default)]
pub struct Publisher {
    sequence: u8,
}

impl Publisher {
    /// Writes `snapshot` with `write`, which stores bytes at an offset and says whether they fit.
    ///
    /// # Errors
    /// `TooLong`, `NoBoard`. The board then holds what it held, or nothing.
    pub fn publish(
        &mut self,
        snapshot: &Snapshot,
        mut write: impl FnMut(u64, &[u8]) -> Option<()>,
    ) -> Result<(), Error> {
        let bytes = postcard::to_allocvec(snapshot).map_err(|_| Error::TooLong)?;
        let length = bytes.len() as u64;
        if length > BOARD_BYTES - SNAPSHOT_AT {
            return Err(Error::TooLong);
        }
        // Always odd here: whoever reads now knows that it must not believe what it reads.
        self.sequence = self.sequence.wrapping_add(1) | 1;
        write(SEQUENCE_AT, &[self.sequence]).ok_or(Error::NoBoard)?;
        fence(Ordering::Release);
        write(LENGTH_AT, &length.to_le_bytes()).ok_or(Error::NoBoard)?;
        write(SNAPSHOT_AT, &bytes).ok_or(Error::NoBoard)?;
        fence(Ordering::Release);
        self.sequence = self.sequence.wrapping_add(1);
        if self.sequence == EMPTY {
            self.sequence = EMPTY + 2;
        }
        write(SEQUENCE_AT, &[self.sequence]).ok_or(Error::NoBoard)
    }
}

/// The sequence byte of a board that nobody wrote.
const EMPTY: u8 = 0;

/// Reads the snapshot with `read`, which loads bytes from an offset and says whether they are there.
///
/// # Errors
/// Any but `TooLong`.
pub fn read(mut read: impl FnMut(u64, &mut [u8]) -> Option<()>) -> Result<Snapshot, Error> {
    for _ in 0..TRIES {
        match read_once(&mut read) {
            Err(Error::Busy) => core::hint::spin_loop(),
            result => return result,
        }
    }
    Err(Error::Busy)
}

fn read_once(read: &mut impl FnMut(u64, &mut [u8]) -> Option<()>) -> Result<Snapshot, Error> {
    let mut sequence = [0];
    read(SEQUENCE_AT, &mut sequence).ok_or(Error::NoBoard)?;
    fence(Ordering::Acquire);
    match sequence[0] {
        EMPTY => return Err(Error::Empty),
        odd if odd % 2 == 1 => return Err(Error::Busy),
        _ => {}
    }
    let mut length = [0; 8];
    read(LENGTH_AT, &mut length).ok_or(Error::NoBoard)?;
    let length = u64::from_le_bytes(length);
    // A length that was half written may be anything: what counts is the sequence byte, below.
    let length = usize::try_from(length.min(BOARD_BYTES - SNAPSHOT_AT)).map_err(|_| Error::Malformed)?;
    let mut bytes = vec![0; length];
    read(SNAPSHOT_AT, &mut bytes).ok_or(Error::NoBoard)?;
    fence(Ordering::Acquire);
    let mut again = [0];
    read(SEQUENCE_AT, &mut again).ok_or(Error::NoBoard)?;
    if again != sequence {
        return Err(Error::Busy);
    }
    postcard::from_bytes(&bytes).map_err(|_| Error::Malformed)
}
