//! An I/O queue: requests become commands, completions become what the program is told.
//!
//! **Invariants: `slots[cid]` is filled exactly for commands that the controller has; `submitted − completed` of them, at
//! most `depth`, which is below the number of entries; a command leads to no memory but its request's buffer and its own
//! slot's list.**
//!
//! CIDs circulate: the `k`-th command completed leaves its CID in `ids[k]`, where the `k + entries`-th submitted finds it.
//!
//! Interrupts: a controller has no wish to be told about them in memory, and masking costs a system call. So the message
//! stays unmasked while the program sleeps between requests, and is masked once it has looked [`QUIET_LOOKS`] times
//! without sleeping (driverlibs' DECISIONS 18).

use alloc::boxed::Box;
use alloc::vec::Vec;

use weir_block::{BadRequest, BlockQueue, Completion, Deque, Failure, Operation, Request};
use weir_hal::{Device, DmaWindow, Error as HostError, Interrupt, Iova};
use weir_pool::{BlockBuf, BlockInFlight};
use weir_ring::{LocalRing, Position, SharedRing};

use crate::desc::{Answer, Command, opcode};
use crate::identify::Namespace;
use crate::pair::Pair;
use crate::{Error, Status, Violation};

const PAGE_BYTES: u32 = 4096;
/// Words of a slot's list: PRPs of the second and later pages, or the range of a trim. Half a page, so that no list
/// crosses one (NVMe §4.1.1 "Physical Region Page Entry and List").
const LIST_WORDS: u16 = 256;
const _: () = assert!(crate::TRANSFER_MAX_BYTES / PAGE_BYTES <= LIST_WORDS as u32 + 1);
/// Looks without a sleep after which interrupts are masked.
const QUIET_LOOKS: u32 = 256;

/// A command's place.
struct Slot {
    list: SharedRing<u64>,
    pending: Option<Pending>,
}

/// What the driver remembers of a command under way.
struct Pending {
    operation: Operation,
    /// When it was submitted, in ticks.
    tick: u32,
    token: u64,
    buffer: Option<BlockInFlight>,
}

/// An I/O queue.
pub struct Queue<D: Device> {
    pub(crate) pair: Pair<D>,
    depth: u16,
    /// `depth`, or 0 while the controller does not have the queue.
    limit: u16,
    submitted: Position,
    completed: Position,
    slots: LocalRing<Slot>,
    ids: LocalRing<u16>,
    namespaces: Box<[Namespace]>,
    /// What a reset cut off, to be handed out first.
    cut_off: Vec<Completion>,
    tick: u32,
    signal: Option<Signal<D>>,
}

/// The queue's interrupt message.
struct Signal<D: Device> {
    interrupt: D::Interrupt,
    is_unmasked: bool,
    /// Looks since the last sleep.
    looks: u32,
}

impl<D: Device> Queue<D> {
    /// A queue of `depth` requests over the empty rings of `pair`, which have more entries.
    pub(crate) fn new(
        window: &impl DmaWindow,
        pair: Pair<D>,
        depth: u16,
        namespaces: &[Namespace],
        interrupt: Option<D::Interrupt>,
    ) -> Result<Queue<D>, Error> {
        let entries = pair.entries();
        let mut memory = window.allocate(usize::from(entries) * SharedRing::<u64>::bytes(LIST_WORDS))?;
        let slot = |_| Ok(Slot { list: SharedRing::take_from(&mut memory, LIST_WORDS)?, pending: None });
        let slots = (0..entries).map(slot).collect::<Result<Vec<_>, HostError>>()?;
        let bad = HostError::OutOfRange;
        Ok(Queue {
            depth: depth.min(entries - 1),
            limit: 0,
            submitted: Position::default(),
            completed: Position::default(),
            slots: LocalRing::of(slots).ok_or(bad)?,
            ids: LocalRing::new(entries, |id| id).ok_or(bad)?,
            namespaces: namespaces.into(),
            cut_off: Vec::new(),
            tick: 0,
            signal: interrupt.map(|interrupt| Signal { interrupt, is_unmasked: false, looks: 0 }),
            pair,
        })
    }

    /// Makes it as new for a controller that has been reset. What was under way comes out as cut off.
    pub(crate) fn empty(&mut self) {
        for cid in 0..self.pair.entries() {
            if let Some(pending) = self.slots.at(cid).pending.take() {
                self.cut_off.push(completion(pending, Err(Failure::Reset)));
            }
            *self.ids.at(cid) = cid;
        }
        self.limit = 0;
        (self.submitted, self.completed) = (Position::default(), Position::default());
        self.pair.empty();
    }

    /// Takes requests from now on: the controller has the queue.
    pub(crate) fn run(&mut self) {
        self.limit = self.depth;
    }

    /// Whether its interrupt is bound.
    pub(crate) fn has_interrupt(&self) -> bool {
        self.signal.is_some()
    }

    /// The commands that [`BlockQueue::tick`] counts as late.
    pub(crate) fn late(&mut self) -> Vec<u16> {
        let now = self.tick;
        let mut is_late =
            |cid| self.slots.at(cid).pending.as_ref().is_some_and(|pending| pending.is_late(now));
        (0..self.pair.entries()).filter(|&cid| is_late(cid)).collect()
    }

    /// Makes a command of a request that has passed its disk's check, and writes it.
    #[inline]
    fn start(&mut self, request: Request, namespace: u32, blocks: u32) {
        let Request { operation, block, token, buffer, .. } = request;
        let bytes = buffer.as_ref().map_or(0, BlockBuf::len);
        let (buffer, iova) = match buffer.map(BlockBuf::lend) {
            Some((in_flight, iova)) => (Some(in_flight), iova),
            None => (None, Iova(0)),
        };
        let cid = *self.ids.at(self.submitted.0);
        let slot = self.slots.at(cid);
        let command = match operation {
            Operation::Read => transfer(opcode::READ, &mut slot.list, iova, bytes, block, blocks),
            Operation::Write => transfer(opcode::WRITE, &mut slot.list, iova, bytes, block, blocks),
            Operation::Flush => Command::new(opcode::FLUSH, 0),
            Operation::Trim => trim(&mut slot.list, block, blocks),
        };
        slot.pending = Some(Pending { operation, tick: self.tick, token, buffer });
        let header = command.header.with_cid(cid).with_namespace(namespace);
        self.pair.push(Command { header, ..command });
        self.submitted = self.submitted.plus(1);
    }

    /// The request that a completion is of.
    #[inline]
    fn finish(&mut self, answer: Answer) -> Result<Completion, Violation> {
        let cid = answer.cid();
        let has_slot = cid < self.pair.entries();
        let pending = if has_slot { self.slots.at(cid).pending.take() } else { None };
        let pending = pending.ok_or(Violation::CommandId { cid })?;
        *self.ids.at(self.completed.0) = cid;
        self.completed = self.completed.plus(1);
        Ok(completion(pending, Status(answer.status()).result()))
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
}

impl<D: Device + 'static> BlockQueue for Queue<D> {
    type Error = Error;

    #[inline]
    fn room(&self) -> u16 {
        self.limit - self.in_flight()
    }

    #[inline]
    fn in_flight(&self) -> u16 {
        self.submitted.ahead_of(self.completed)
    }

    #[inline]
    fn submit<const N: usize>(&mut self, requests: &mut Deque<Request, N>) -> Result<usize, Error> {
        let (mut count, mut result) = (0, Ok(()));
        while self.room() > 0 {
            let Some(request) = requests.front() else { break };
            let checked = match self.namespaces.get(usize::from(request.disk)) {
                Some(namespace) => namespace.disk.check(request).map(|blocks| (namespace.id, blocks)),
                None => Err(BadRequest::NoDisk),
            };
            match (checked, requests.pop_front()) {
                (Ok((namespace, blocks)), Some(request)) => self.start(request, namespace, blocks),
                (Err(bad), Some(request)) => {
                    // It was there a moment ago: there is room.
                    result = requests.push_front(request).map_or(Err(bad), |()| Err(bad));
                    break;
                }
                (_, None) => break,
            }
            count += 1;
        }
        self.pair.publish();
        result.map(|()| count).map_err(Error::from)
    }

    #[inline]
    fn complete<const N: usize>(&mut self, done: &mut Deque<Completion, N>) -> Result<usize, Error> {
        if !self.cut_off.is_empty() {
            return Ok(self.hand_out(done));
        }
        let mut count = 0;
        while !done.is_full() {
            let Some(answer) = self.pair.next()? else { break };
            let completion = self.finish(answer)?;
            count += usize::from(done.push_back(completion).is_ok());
        }
        self.pair.acknowledge();
        if let Some(signal) = &mut self.signal
            && signal.is_unmasked
        {
            signal.look()?;
        }
        Ok(count)
    }

    fn wait(&mut self, deadline_ns: u64) -> Result<bool, Error> {
        if !self.cut_off.is_empty() {
            return Ok(true);
        }
        let Some(signal) = &mut self.signal else { return Err(HostError::Unsupported.into()) };
        signal.unmask()?;
        // Order matters: count first, then look, then sleep. A completion that comes after the look raises an interrupt,
        // which changes the count, which ends the sleep. Twice, because the first message may be one that was held
        // back while it was masked.
        for _ in 0..2 {
            let seen = signal.interrupt.count();
            if self.pair.has_next() {
                return Ok(true);
            }
            match signal.interrupt.wait(seen, deadline_ns) {
                Ok(_) => {}
                Err(HostError::TimedOut { .. }) => break,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(self.pair.has_next())
    }

    fn tick(&mut self) -> u16 {
        self.tick = self.tick.wrapping_add(1);
        u16::try_from(self.late().len()).unwrap_or(u16::MAX)
    }
}

impl Pending {
    /// Whether a whole tick has passed since it was submitted.
    fn is_late(&self, now: u32) -> bool {
        now.wrapping_sub(self.tick) >= 2
    }
}

impl<D: Device> Signal<D> {
    fn unmask(&mut self) -> Result<(), HostError> {
        self.looks = 0;
        if !self.is_unmasked {
            self.interrupt.unmask()?;
            self.is_unmasked = true;
        }
        Ok(())
    }

    /// Counts a look while unmasked; many without a sleep mean that interrupts are of no use.
    #[inline]
    fn look(&mut self) -> Result<(), HostError> {
        self.looks += 1;
        if self.looks >= QUIET_LOOKS {
            self.interrupt.mask()?;
            self.is_unmasked = false;
        }
        Ok(())
    }
}

#[inline]
fn completion(pending: Pending, result: Result<(), Failure>) -> Completion {
    let Pending { operation, token, buffer, .. } = pending;
    Completion { operation, token, buffer: buffer.map(BlockInFlight::complete), result }
}

/// A read or a write (NVM §3.2.4 "Read command", §3.2.6 "Write command").
#[inline]
fn transfer(
    code: u8,
    list: &mut SharedRing<u64>,
    iova: Iova,
    bytes: u32,
    block: u64,
    blocks: u32,
) -> Command {
    // Dword 12: number of blocks, less one, in 16 bits.
    let dwords_12_13 = u64::from(blocks.wrapping_sub(1) & 0xffff);
    let [prp1, prp2] = pages(list, iova, bytes);
    Command { prp1, prp2, dwords_10_11: block, dwords_12_13, ..Command::new(code, 0) }
}

/// PRP entries 1 and 2 for `bytes` bytes of data in one run from `start`, the beginning of a page.
#[inline]
fn pages(list: &mut SharedRing<u64>, start: Iova, bytes: u32) -> [u64; 2] {
    if bytes <= PAGE_BYTES {
        return [start.0, 0];
    }
    let second = start.add(PAGE_BYTES.into());
    if bytes <= 2 * PAGE_BYTES {
        return [start.0, second.0];
    }
    let pages =
        (1..bytes.div_ceil(PAGE_BYTES)).map(|page| start.add(u64::from(page) * u64::from(PAGE_BYTES)));
    for (entry, page) in (0..LIST_WORDS).zip(pages) {
        list.store(entry, page.0);
    }
    [start.0, list.iova().0]
}

/// A trim of one range (NVM §3.2.3 "Dataset Management command").
#[inline]
fn trim(list: &mut SharedRing<u64>, block: u64, blocks: u32) -> Command {
    const RANGES_LESS_ONE: u32 = 0;
    const DEALLOCATE: u32 = 1 << 2;
    // Attributes, length in blocks; first block.
    list.store(0, u64::from(blocks) << 32);
    list.store(1, block);
    Command::new(opcode::DATASET_MANAGEMENT, 0)
        .with_page(list.iova())
        .with_dwords(RANGES_LESS_ONE, DEALLOCATE)
}
