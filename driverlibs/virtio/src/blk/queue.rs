//! A request queue.
//!
//! **Invariant: `slots[k]` is filled exactly for requests that the device has; what it says of one (its number, its length,
//! its status) is checked before the request is believed done.**

use alloc::vec::Vec;

use weir_block::{BadRequest, BlockQueue, Completion, Deque, Disk, Failure, Operation, Request};
use weir_hal::{Device, Error as HostError, Interrupt, RegisterOf};
use weir_pool::{BlockBuf, BlockInFlight};

use super::ring::{Data, Ring, Used};
use super::{Error, SECTOR_SHIFT};
use crate::Violation;

/// Request types (virtio 1.2 §5.2.6 "Device Operation").
const IN: u32 = 0;
const OUT: u32 = 1;
const FLUSH: u32 = 4;
const DISCARD: u32 = 11;
/// Status values.
const OK: u8 = 0;
const UNSUPPORTED: u8 = 2;

/// What the driver remembers of a request under way.
struct Pending {
    operation: Operation,
    /// When it was submitted, in ticks.
    tick: u32,
    token: u64,
    buffer: Option<BlockInFlight>,
    /// Most bytes that the device may write.
    writable: u32,
}

/// A request queue.
pub struct Queue<D: Device> {
    index: u16,
    ring: Ring,
    doorbell: RegisterOf<D, u16>,
    interrupt: Option<D::Interrupt>,
    disk: Disk,
    depth: u16,
    /// `depth`, or 0 while the device does not run.
    limit: u16,
    slots: Vec<Option<Pending>>,
    free: Vec<u16>,
    /// What a reset cut off, to be handed out first.
    cut_off: Vec<Completion>,
    tick: u32,
}

impl<D: Device> Queue<D> {
    pub(super) fn new(
        index: u16,
        ring: Ring,
        doorbell: RegisterOf<D, u16>,
        interrupt: Option<D::Interrupt>,
        disk: Disk,
        depth: u16,
    ) -> Queue<D> {
        let depth = depth.min(ring.slots());
        let slots = (0..depth).map(|_| None).collect();
        let (free, cut_off) = ((0..depth).collect(), Vec::new());
        Queue { index, ring, doorbell, interrupt, disk, depth, limit: 0, slots, free, cut_off, tick: 0 }
    }

    pub(super) fn index(&self) -> u16 {
        self.index
    }

    pub(super) fn ring(&self) -> &Ring {
        &self.ring
    }

    /// Its message has its number.
    pub(super) fn vector(&self) -> Option<u16> {
        self.interrupt.as_ref().map(|_| self.index)
    }

    /// Makes it as new for a device that has been reset. What was under way comes out as cut off.
    pub(super) fn empty(&mut self) {
        self.limit = 0;
        let pending = self.slots.iter_mut().filter_map(Option::take);
        self.cut_off.extend(pending.map(|pending| completion(pending, Err(Failure::Reset))));
        self.free.clear();
        self.free.extend(0..self.depth);
        self.ring.empty();
    }

    /// Takes requests from now on: the device runs.
    pub(super) fn run(&mut self) {
        self.limit = self.depth;
    }

    /// Offers a request that has passed the disk's check, in a free slot.
    #[inline]
    fn start(&mut self, slot: u16, request: Request, blocks: u32) {
        let Request { operation, block, token, buffer, .. } = request;
        let shift = self.disk.block_shift - SECTOR_SHIFT;
        let (sector, sectors) = (block << shift, blocks << shift);
        let bytes = buffer.as_ref().map_or(0, BlockBuf::len);
        let is_read = operation == Operation::Read;
        let (buffer, data) = match (operation, buffer) {
            (Operation::Read | Operation::Write, Some(buffer)) => {
                let (in_flight, iova) = buffer.lend();
                (Some(in_flight), Data::Buffer(iova, bytes, is_read))
            }
            (Operation::Trim, buffer) => (buffer.map(|b| b.lend().0), Data::Range(sector, sectors)),
            (_, buffer) => (buffer.map(|b| b.lend().0), Data::None),
        };
        let kind = match operation {
            Operation::Read => IN,
            Operation::Write => OUT,
            Operation::Flush => FLUSH,
            Operation::Trim => DISCARD,
        };
        // Of a read or write; 0 otherwise (§5.2.6.1).
        let sector = if matches!(data, Data::Buffer(..)) { sector } else { 0 };
        self.ring.add(slot, kind, sector, data);
        let writable = 1 + if is_read { bytes } else { 0 };
        if let Some(place) = self.slots.get_mut(usize::from(slot)) {
            *place = Some(Pending { operation, tick: self.tick, token, buffer, writable });
        }
    }

    /// The request that a used element is of.
    #[inline]
    fn finish(&mut self, used: Used) -> Result<Completion, Violation> {
        let (id, len) = (used.id(), used.len());
        let place = usize::try_from(id).ok().and_then(|id| self.slots.get_mut(id));
        let pending = match place {
            // One whose length is a lie stays the device's until the reset.
            Some(Some(pending)) if len > pending.writable => return Err(Violation::UsedLength { len }),
            Some(place) => place.take(),
            None => None,
        };
        let pending = pending.ok_or(Violation::UsedId { id })?;
        #[expect(clippy::cast_possible_truncation, reason = "below `depth`: there is such a slot")]
        let slot = id as u16;
        self.free.push(slot);
        let result = match self.ring.status(slot) {
            OK => Ok(()),
            status => Err(failure(status)),
        };
        Ok(completion(pending, result))
    }

    /// Hands out what a reset cut off.
    #[cold]
    fn hand_out<const N: usize>(&mut self, done: &mut Deque<Completion, N>) -> usize {
        let mut count = 0;
        while !done.is_full()
            && let Some(completion) = self.cut_off.pop()
        {
            count += usize::from(done.push_back(completion).is_ok());
        }
        count
    }

    /// How many blocks the request at the front concerns.
    #[inline]
    fn check(&self, request: &Request) -> Result<u32, BadRequest> {
        if request.disk == 0 { self.disk.check(request) } else { Err(BadRequest::NoDisk) }
    }
}

impl<D: Device + 'static> BlockQueue for Queue<D> {
    type Error = Error;

    #[inline]
    fn room(&self) -> u16 {
        self.limit - self.ring.in_flight()
    }

    #[inline]
    fn in_flight(&self) -> u16 {
        self.ring.in_flight()
    }

    #[inline]
    fn submit<const N: usize>(&mut self, requests: &mut Deque<Request, N>) -> Result<usize, Error> {
        let (mut count, mut result) = (0, Ok(()));
        while self.room() > 0 {
            let Some(request) = requests.front() else { break };
            match self.check(request) {
                Ok(blocks) => {
                    let Some(slot) = self.free.pop() else { break };
                    let Some(request) = requests.pop_front() else { break };
                    self.start(slot, request, blocks);
                }
                Err(bad) => {
                    result = Err(bad);
                    break;
                }
            }
            count += 1;
        }
        self.ring.publish(&self.doorbell, self.index);
        result.map(|()| count).map_err(Error::from)
    }

    #[inline]
    fn complete<const N: usize>(&mut self, done: &mut Deque<Completion, N>) -> Result<usize, Error> {
        if !self.cut_off.is_empty() {
            return Ok(self.hand_out(done));
        }
        let room = done.capacity() - done.len();
        let completed = usize::from(self.ring.completed()?).min(room);
        for _ in 0..completed {
            let used = self.ring.take();
            let completion = self.finish(used)?;
            // There is room, just checked.
            let _ = done.push_back(completion);
        }
        Ok(completed)
    }

    fn wait(&mut self, deadline_ns: u64) -> Result<bool, Error> {
        if !self.cut_off.is_empty() {
            return Ok(true);
        }
        let Some(interrupt) = &self.interrupt else { return Err(HostError::Unsupported.into()) };
        let seen = interrupt.count();
        // Order matters: count first, then ask the device, then look once more, then sleep.
        let mut has_completed = self.ring.listen()?;
        if !has_completed {
            match interrupt.wait(seen, deadline_ns) {
                Ok(_) | Err(HostError::TimedOut { .. }) => {}
                Err(error) => return Err(error.into()),
            }
            has_completed = self.ring.completed()? > 0;
        }
        self.ring.silence();
        Ok(has_completed)
    }

    fn tick(&mut self) -> u16 {
        self.tick = self.tick.wrapping_add(1);
        let now = self.tick;
        let late = self.slots.iter().flatten().filter(|pending| now.wrapping_sub(pending.tick) >= 2);
        u16::try_from(late.count()).unwrap_or(u16::MAX)
    }
}

#[inline]
fn completion(pending: Pending, result: Result<(), Failure>) -> Completion {
    let Pending { operation, token, buffer, .. } = pending;
    Completion { operation, token, buffer: buffer.map(BlockInFlight::complete), result }
}

/// §5.2.6: `VIRTIO_BLK_S_IOERR` covers the medium and the driver's own mistakes alike.
#[cold]
fn failure(status: u8) -> Failure {
    let code = status.into();
    if status == UNSUPPORTED {
        Failure::Unsupported { status: code }
    } else {
        Failure::Medium { status: code }
    }
}
