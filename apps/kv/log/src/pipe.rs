//! Writes in their order, each one flushed before the next begins.
//!
//! **Invariant: [`Pipe::is_idle`] means that all that was written has been flushed, and that every buffer is home.**

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use weir_block::{BlockQueue, Completion, Deque, Disk, Operation, Request};
use weir_pool::{BlockBuf, BlockPool};

use crate::{Error, Parts};

/// Requests made, and completions taken, at once.
const BURST: usize = 8;

/// Something to write.
struct Write {
    block: u64,
    image: Vec<u8>,
}

/// How far the first write is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// So many of its bytes are with the device or done.
    Data(usize),
    Flush,
}

pub(crate) struct Pipe<Q: BlockQueue> {
    parts: Parts<Q>,
    /// Bytes of the largest request, whole blocks.
    request_bytes: usize,
    requests: Deque<Request, BURST>,
    done: Deque<Completion, BURST>,
    /// Requests made that have not come back.
    away: usize,
    writes: VecDeque<Write>,
    phase: Phase,
}

impl<Q: BlockQueue> Pipe<Q> {
    pub(crate) fn new(parts: Parts<Q>) -> Result<Pipe<Q>, Error<Q::Error>> {
        let disk = &parts.disk;
        let most = parts.pool.buffer_bytes().min(disk.transfer_max_bytes);
        let request_bytes = (most - most % disk.block_bytes()) as usize;
        if disk.is_read_only || disk.block_bytes() > 4096 || disk.blocks < 4 || request_bytes == 0 {
            return Err(Error::Unsuitable);
        }
        Ok(Pipe {
            parts,
            request_bytes,
            requests: Deque::new(),
            done: Deque::new(),
            away: 0,
            writes: VecDeque::new(),
            phase: Phase::Data(0),
        })
    }

    pub(crate) fn disk(&self) -> &Disk {
        &self.parts.disk
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.writes.is_empty() && self.away == 0
    }

    /// Writes `image`, whole blocks, from `block` on, and flushes, after what was given before.
    pub(crate) fn write(&mut self, block: u64, image: Vec<u8>) {
        self.writes.push_back(Write { block, image });
    }

    /// Flushes what was written by whomever before.
    pub(crate) fn flush(&mut self) {
        self.write(0, Vec::new());
    }

    /// Goes on; `true` where nothing is left to do.
    pub(crate) fn poll(&mut self) -> Result<bool, Error<Q::Error>> {
        self.make_requests();
        self.parts.queue.submit(&mut self.requests).map_err(Error::Device)?;
        self.parts.queue.complete(&mut self.done).map_err(Error::Device)?;
        while let Some(completion) = self.done.pop_front() {
            self.end(completion)?;
        }
        Ok(self.is_idle())
    }

    fn make_requests(&mut self) {
        while !self.requests.is_full()
            && let Some(request) = self.next_request()
        {
            self.away += 1;
            // There is room, just checked.
            let _ = self.requests.push_back(request);
        }
    }

    fn next_request(&mut self) -> Option<Request> {
        let Write { block, image } = self.writes.front()?;
        let Phase::Data(sent) = self.phase else { return None };
        let rest = &image[sent..];
        if rest.is_empty() {
            let is_written = self.away == 0;
            return is_written.then(|| {
                self.phase = Phase::Flush;
                Request::flush(self.parts.number, 0)
            });
        }
        let piece = &rest[..rest.len().min(self.request_bytes)];
        let block = block + (sent >> self.parts.disk.block_shift) as u64;
        let buffer = filled(&mut self.parts.pool, piece)?;
        self.phase = Phase::Data(sent + piece.len());
        Some(Request::write(self.parts.number, block, buffer, 0))
    }

    fn end(&mut self, completion: Completion) -> Result<(), Error<Q::Error>> {
        self.away -= 1;
        if let Some(buffer) = completion.buffer {
            self.parts.pool.put(buffer);
        }
        completion.result.map_err(Error::Io)?;
        if completion.operation == Operation::Flush {
            self.writes.pop_front();
            self.phase = Phase::Data(0);
        }
        Ok(())
    }

    /// Polls until nothing is left to do, with `wait` in between, which says whether to go on.
    pub(crate) fn drain(&mut self, wait: &mut impl FnMut() -> bool) -> Result<(), Error<Q::Error>> {
        while !self.poll()? {
            if !wait() {
                return Err(Error::Late);
            }
        }
        Ok(())
    }

    /// Reads `blocks` blocks from `block` on to the end of `bytes`, while nothing else is under way.
    pub(crate) fn read(
        &mut self,
        block: u64,
        blocks: u64,
        bytes: &mut Vec<u8>,
        wait: &mut impl FnMut() -> bool,
    ) -> Result<(), Error<Q::Error>> {
        let end = block + blocks;
        let mut at = block;
        while at < end {
            let most = (self.request_bytes >> self.parts.disk.block_shift) as u64;
            let count = most.min(end - at);
            let buffer = self.read_once(at, count, wait)?;
            bytes.extend_from_slice(buffer.bytes());
            self.parts.pool.put(buffer);
            at += count;
        }
        Ok(())
    }

    fn read_once(
        &mut self,
        block: u64,
        blocks: u64,
        wait: &mut impl FnMut() -> bool,
    ) -> Result<BlockBuf, Error<Q::Error>> {
        let len = u32::try_from(blocks << self.parts.disk.block_shift).map_err(|_| Error::Unsuitable)?;
        let mut buffer = self.parts.pool.take().ok_or(Error::Busy)?;
        // A request is no longer than a buffer.
        let _ = buffer.set_len(len);
        // There is room: nothing is under way.
        let _ = self.requests.push_back(Request::read(self.parts.number, block, buffer, 0));
        loop {
            self.parts.queue.submit(&mut self.requests).map_err(Error::Device)?;
            self.parts.queue.complete(&mut self.done).map_err(Error::Device)?;
            if let Some(Completion { buffer: Some(buffer), result, .. }) = self.done.pop_front() {
                return match result {
                    Ok(()) => Ok(buffer),
                    Err(failure) => {
                        self.parts.pool.put(buffer);
                        Err(Error::Io(failure))
                    }
                };
            }
            if !wait() {
                return Err(Error::Late);
            }
        }
    }
}

/// A buffer that holds `bytes`; `None` where all are out.
fn filled(pool: &mut BlockPool, bytes: &[u8]) -> Option<BlockBuf> {
    let mut buffer = pool.take()?;
    // A piece is no longer than a buffer.
    let _ = buffer.set_len(u32::try_from(bytes.len()).unwrap_or(0));
    buffer.bytes_mut().copy_from_slice(bytes);
    Some(buffer)
}
