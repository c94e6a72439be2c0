//! A log on a block device.
//!
//! **Invariants: what was appended is on the disk, in its order, when [`Log::poll`] says idle; a crash at any point leaves all
//! of that, and of what was being appended everything or nothing**; a torn or damaged record is never taken for a whole one.
//!
//! The disk is two halves, one of which is current. Each begins with a header, then come records, one per append. When the
//! current one is full, the program writes what is still alive into the other one, which becomes current when its header is
//! written ([`Log::begin_rewrite`], [`Log::finish_rewrite`]).
//!
//! What a device does is believed (it may lose what was not flushed, in any order and in part; it does not invent);
//! what is *on* the disk is not. Does not keep more than one disk, or wait: who calls decides when it polls.
//!
//! Reading order: [`format`] · `pipe` · `replay` · this file.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod format;
mod pipe;
mod replay;

use weir_block::{BlockQueue, Disk, Failure};
use weir_pool::BlockPool;

use crate::format::{Header, RECORD_BYTES, Stamp};
use crate::pipe::Pipe;
pub use crate::replay::Replayed;

/// Longest payload of a record.
pub const PAYLOAD_MAX_BYTES: usize = 8 << 20;

/// Why the log cannot be opened, or goes no further.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error<E> {
    /// The driver's: the device broke its protocol, or the like.
    #[error("{0}")]
    Device(E),
    /// A request failed.
    #[error("a request to the log's disk failed: {0}")]
    Io(Failure),
    /// It did not answer in time.
    #[error("the log's disk did not answer in time")]
    Late,
    /// Neither half has a whole header, and the disk is not blank.
    #[error(
        "the disk holds something else than a log, or its headers are damaged; fill its first {0} bytes with zeros to begin anew"
    )]
    Foreign(u64),
    /// The log was made for a disk of another size.
    #[error("the log on the disk has halves of {found} blocks, this disk makes {expected}")]
    Size {
        /// Blocks of a half, as the header says.
        found: u64,
        /// As it should be.
        expected: u64,
    },
    /// Blocks of more than 4 KiB, a read-only disk, or one with fewer than 4 blocks.
    #[error("the disk cannot hold a log: read-only, blocks above 4 KiB, or too few of them")]
    Unsuitable,
    /// Records after a damaged one can only be given up by rewriting.
    #[error("the log is damaged: rewrite it before appending")]
    Damaged,
    /// What is alive does not fit into half of the disk.
    #[error("half of the disk is too small for what is to be kept")]
    Full,
    /// The program appended while an append was under way.
    #[error("an append is under way")]
    Busy,
    /// A record whose checksum is right holds what the program does not understand.
    #[error("record {0} of the log is whole but means nothing to this program")]
    Meaning(u64),
}

/// Where the next record goes.
#[derive(Clone, Copy, Debug)]
struct Head {
    /// Which half.
    half: u8,
    stamp: Stamp,
    /// Block within the half.
    block: u64,
    /// Number of the next record.
    record: u64,
}

/// The log.
pub struct Log<Q: BlockQueue> {
    pipe: Pipe<Q>,
    half_blocks: u64,
    current: Head,
    /// Where a rewrite goes, while there is one.
    rewrite: Option<Head>,
    is_damaged: bool,
}

impl<Q: BlockQueue> Log<Q> {
    /// Whether a record with so many bytes fits into the current half, or into the one being written.
    #[must_use]
    pub fn has_room(&self, payload_bytes: usize) -> bool {
        let blocks = self.record_blocks(payload_bytes);
        payload_bytes <= PAYLOAD_MAX_BYTES && self.head().block.saturating_add(blocks) <= self.half_blocks
    }

    /// Bytes of records that a half holds; of these each record takes its payload, 40 bytes, and the rest of its last block.
    #[must_use]
    pub fn half_bytes(&self) -> u64 {
        (self.half_blocks - 1) * u64::from(self.pipe.disk().block_bytes())
    }

    /// Bytes of records in the current half.
    #[must_use]
    pub fn used_bytes(&self) -> u64 {
        (self.current.block - 1) * u64::from(self.pipe.disk().block_bytes())
    }

    /// Appends a record: it is kept, all of it, when [`Log::poll`] says idle.
    ///
    /// # Errors
    /// `Busy`, `Full`, `Damaged`: nothing has changed.
    pub fn append(&mut self, payload: &[u8]) -> Result<(), Error<Q::Error>> {
        if !self.pipe.is_idle() {
            return Err(Error::Busy);
        }
        if self.is_damaged && self.rewrite.is_none() {
            return Err(Error::Damaged);
        }
        if !self.has_room(payload.len()) {
            return Err(Error::Full);
        }
        let (head, blocks) = (*self.head(), self.record_blocks(payload.len()));
        let image = format::record(&head.stamp, head.record, payload, self.block_bytes());
        self.pipe.write(self.place(&head), image);
        let head = self.head_mut();
        (head.block, head.record) = (head.block + blocks, head.record + 1);
        Ok(())
    }

    /// From now on appends go to the other half. `salt` is random: it tells its records from all that were there before,
    /// and from anything that a payload can hold.
    ///
    /// # Errors
    /// `Busy`.
    pub fn begin_rewrite(&mut self, salt: u64) -> Result<(), Error<Q::Error>> {
        if !self.pipe.is_idle() {
            return Err(Error::Busy);
        }
        let generation = self.current.stamp.generation + 1;
        let (half, stamp) = (1 - self.current.half, Stamp { generation, salt });
        self.rewrite = Some(Head { half, stamp, block: 1, record: 0 });
        Ok(())
    }

    /// Makes the other half the current one, once [`Log::poll`] says idle; the old one is given up.
    ///
    /// # Errors
    /// `Busy`.
    pub fn finish_rewrite(&mut self) -> Result<(), Error<Q::Error>> {
        if !self.pipe.is_idle() {
            return Err(Error::Busy);
        }
        if let Some(new) = self.rewrite.take() {
            let old = core::mem::replace(&mut self.current, new);
            self.is_damaged = false;
            self.write_header(&new);
            // Should the new header be damaged later, an old one must not be taken instead.
            self.erase_header(old.half);
        }
        Ok(())
    }

    /// Goes on with what is under way; `true`: nothing is, all that was appended is kept. Never waits.
    ///
    /// # Errors
    /// What the disk did; the log is to be opened anew.
    pub fn poll(&mut self) -> Result<bool, Error<Q::Error>> {
        self.pipe.poll()
    }

    fn head(&self) -> &Head {
        self.rewrite.as_ref().unwrap_or(&self.current)
    }

    fn head_mut(&mut self) -> &mut Head {
        self.rewrite.as_mut().unwrap_or(&mut self.current)
    }

    /// The block on the disk.
    fn place(&self, head: &Head) -> u64 {
        u64::from(head.half) * self.half_blocks + head.block
    }

    fn block_bytes(&self) -> usize {
        self.pipe.disk().block_bytes() as usize
    }

    fn record_blocks(&self, payload_bytes: usize) -> u64 {
        payload_bytes.saturating_add(RECORD_BYTES).div_ceil(self.block_bytes()) as u64
    }

    fn write_header(&mut self, head: &Head) {
        let header = Header { half_blocks: self.half_blocks, stamp: head.stamp };
        let image = header.encode(self.block_bytes());
        self.pipe.write(u64::from(head.half) * self.half_blocks, image);
    }

    fn erase_header(&mut self, half: u8) {
        let zeros = alloc::vec![0; self.block_bytes()];
        self.pipe.write(u64::from(half) * self.half_blocks, zeros);
    }
}

/// The disk, its queue, and the memory for its requests.
pub struct Parts<Q: BlockQueue> {
    /// A queue of the started device.
    pub queue: Q,
    /// Which of the device's disks.
    pub number: u16,
    /// What that is like.
    pub disk: Disk,
    /// Buffers; a block fits into one.
    pub pool: BlockPool,
}
