//! Opening: which half is current, what it holds, and where it ends.
//!
//! **Invariant: nothing is taken from the disk before the disk was told to flush it**: what a reader has seen stays.

use alloc::vec::Vec;

use weir_block::BlockQueue;

use crate::format::{HEADER_BYTES, Header, RecordFront, Stamp, payload};
use crate::pipe::Pipe;
use crate::{Error, Head, Log, PAYLOAD_MAX_BYTES, Parts};

/// Bytes read ahead.
const WINDOW_BYTES: u64 = 256 << 10;
/// How far behind the last whole record others are looked for.
const SCAN_BYTES: u64 = 2 * PAYLOAD_MAX_BYTES as u64;

/// What was found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Replayed {
    /// Whole records, all of which were applied.
    pub records: u64,
    /// Bytes of their payloads.
    pub bytes: u64,
    /// Bytes of the record that was being written when the writer ended: torn, and dropped. It was never acknowledged.
    /// 0 where there is none, or its front is torn, too.
    pub torn_bytes: u64,
    /// There are records behind one that is damaged, which *were* acknowledged. The log takes nothing more until it is
    /// rewritten, which gives them up.
    pub is_damaged: bool,
}

/// A part of the current half.
struct Window {
    half_first: u64,
    half_blocks: u64,
    block_shift: u8,
    /// Block within the half.
    first: u64,
    bytes: Vec<u8>,
}

impl Window {
    /// What is at `block`, for `blocks` blocks or to the half's end.
    fn at<Q: BlockQueue>(
        &mut self,
        pipe: &mut Pipe<Q>,
        block: u64,
        blocks: u64,
        wait: &mut impl FnMut() -> bool,
    ) -> Result<&[u8], Error<Q::Error>> {
        let blocks = blocks.min(self.half_blocks - block);
        let there = self.bytes.len() as u64 >> self.block_shift;
        if block < self.first || block + blocks > self.first + there {
            let ahead = blocks.max(WINDOW_BYTES >> self.block_shift).min(self.half_blocks - block);
            self.bytes.clear();
            pipe.read(self.half_first + block, ahead, &mut self.bytes, wait)?;
            self.first = block;
        }
        // Within the bytes, just read.
        let offset = usize::try_from((block - self.first) << self.block_shift).unwrap_or(usize::MAX);
        let len = usize::try_from(blocks << self.block_shift).unwrap_or(usize::MAX);
        Ok(self.bytes.get(offset..).and_then(|bytes| bytes.get(..len)).unwrap_or_default())
    }
}

impl<Q: BlockQueue> Log<Q> {
    /// Opens the log on a disk, or makes one on a blank disk, and gives each record's payload to `apply`, in order; `apply`
    /// says whether it understood. `salt` is random. `wait` is called while the disk works, and says whether to go on.
    ///
    /// # Errors
    /// The disk's; it is no log's, or cannot be one; `Meaning`.
    pub fn open(
        parts: Parts<Q>,
        salt: u64,
        mut apply: impl FnMut(&[u8]) -> bool,
        mut wait: impl FnMut() -> bool,
    ) -> Result<(Log<Q>, Replayed), Error<Q::Error>> {
        let half_blocks = parts.disk.blocks / 2;
        let mut pipe = Pipe::new(parts)?;
        pipe.flush();
        pipe.drain(&mut wait)?;
        let found = current(&mut pipe, half_blocks, &mut wait)?;
        let (half, stamp) = found.unwrap_or((0, Stamp { generation: 1, salt }));
        let head = Head { half, stamp, block: 1, record: 0 };
        let mut log = Log { pipe, half_blocks, current: head, rewrite: None, is_damaged: false };
        match found {
            None => log.write_header(&head),
            Some(_) => log.erase_header(1 - half),
        }
        log.pipe.drain(&mut wait)?;
        let replayed = if found.is_some() { log.replay(&mut apply, &mut wait)? } else { Replayed::default() };
        Ok((log, replayed))
    }

    fn replay(
        &mut self,
        apply: &mut impl FnMut(&[u8]) -> bool,
        wait: &mut impl FnMut() -> bool,
    ) -> Result<Replayed, Error<Q::Error>> {
        let mut replayed = Replayed::default();
        let mut window = Window {
            half_first: u64::from(self.current.half) * self.half_blocks,
            half_blocks: self.half_blocks,
            block_shift: self.pipe.disk().block_shift,
            first: 0,
            bytes: Vec::new(),
        };
        while self.current.block < self.half_blocks {
            let Some(front) = self.next_front(&mut window, wait)? else { break };
            let blocks = self.record_blocks(front.payload_bytes);
            let bytes = window.at(&mut self.pipe, self.current.block, blocks, wait)?;
            let Some(payload) = payload(bytes) else { break };
            if !apply(payload) {
                return Err(Error::Meaning(front.number));
            }
            replayed.records += 1;
            replayed.bytes += payload.len() as u64;
            (self.current.block, self.current.record) = (self.current.block + blocks, front.number + 1);
        }
        self.look_behind(&mut window, &mut replayed, wait)?;
        Ok(replayed)
    }

    /// The front of the next record, if it is that.
    fn next_front(
        &mut self,
        window: &mut Window,
        wait: &mut impl FnMut() -> bool,
    ) -> Result<Option<RecordFront>, Error<Q::Error>> {
        let Head { stamp, block, record, .. } = self.current;
        let bytes = window.at(&mut self.pipe, block, 1, wait)?;
        let front = RecordFront::decode(bytes).filter(|front| {
            front.stamp == stamp && front.number == record && front.payload_bytes <= PAYLOAD_MAX_BYTES
        });
        Ok(front)
    }

    /// What lies behind the last whole record: nothing, a record never finished, or, after damage, others.
    fn look_behind(
        &mut self,
        window: &mut Window,
        replayed: &mut Replayed,
        wait: &mut impl FnMut() -> bool,
    ) -> Result<(), Error<Q::Error>> {
        let Head { stamp, block: first, record, .. } = self.current;
        let end = first.saturating_add(SCAN_BYTES >> self.pipe.disk().block_shift).min(self.half_blocks);
        for block in first..end {
            let bytes = window.at(&mut self.pipe, block, 1, wait)?;
            let Some(front) = RecordFront::decode(bytes).filter(|front| front.stamp == stamp) else {
                continue;
            };
            if block == first && front.number == record {
                replayed.torn_bytes = front.payload_bytes as u64;
            } else if front.number > record {
                // It was begun when the one before was on the disk, whole.
                let blocks = self.record_blocks(front.payload_bytes.min(PAYLOAD_MAX_BYTES));
                self.is_damaged |= payload(window.at(&mut self.pipe, block, blocks, wait)?).is_some();
            }
        }
        replayed.is_damaged = self.is_damaged;
        Ok(())
    }
}

/// The current half, and its records' stamp; `None` on a blank disk.
fn current<Q: BlockQueue>(
    pipe: &mut Pipe<Q>,
    half_blocks: u64,
    wait: &mut impl FnMut() -> bool,
) -> Result<Option<(u8, Stamp)>, Error<Q::Error>> {
    let block_bytes = pipe.disk().block_bytes();
    let (mut found, mut is_blank) = (None, true);
    for half in 0..2_u8 {
        let mut blocks = Vec::new();
        pipe.read(u64::from(half) * half_blocks, 2, &mut blocks, wait)?;
        let (block, next) = blocks.split_at(block_bytes as usize);
        is_blank &= is_unused(block, next);
        let Some(header) = Header::decode(block) else { continue };
        if header.half_blocks != half_blocks {
            return Err(Error::Size { found: header.half_blocks, expected: half_blocks });
        }
        if found.is_none_or(|(_, stamp): (u8, Stamp)| stamp.generation < header.stamp.generation) {
            found = Some((half, header.stamp));
        }
    }
    match found {
        None if !is_blank => Err(Error::Foreign((half_blocks + 1) * u64::from(block_bytes))),
        found => Ok(found),
    }
}

/// Whether a half, of which these are the first blocks, was never current: no header, or, at most, a torn one and no record.
fn is_unused(header: &[u8], next: &[u8]) -> bool {
    let is_zero = |bytes: &[u8]| bytes.iter().all(|byte| *byte == 0);
    is_zero(header) || (is_zero(&header[HEADER_BYTES..]) && is_zero(next))
}
