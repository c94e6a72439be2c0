//! The loop that keeps a queue full.
//!
//! **Invariant: between two looks at the device nothing allocates, locks, copies data, or enters the kernel**; what needs
//! more is done once in [`TURNS_PER_ROUND`] turns.

use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering};

use weir_abi::stats::Stats;
use weir_block::{
    BlockDevice, BlockError, BlockQueue, Completion, Deque, Disk, Failure as IoFailure, Request,
};
use weir_hal::DmaWindow;
use weir_pool::{BLOCK_BUF_MIN_BYTES, BlockBuf, BlockPool};
use weir_rt::clock::{now_ns, ticks};
use weir_rt::hal::{Function, TscClock, Window};
use weir_rt::poll::{Poller, Step};
use weir_rt::{log, thread};

use crate::Failure;
use crate::latency::Latency;
use crate::pattern;
use crate::plan::{Act, Plan};
use crate::words::Words;

/// Requests submitted, and completions taken, at once.
const BURST: usize = 32;
/// Turns between two rounds: well below a millisecond.
const TURNS_PER_ROUND: u32 = 1 << 10;
/// After two of these a request is late.
const TICK_NS: u64 = 5_000_000_000;
/// Idle spinning before a sleep, and the longest sleep, so that time is looked at.
const SPIN_MIN_NS: u64 = 2_000;
const SPIN_MAX_NS: u64 = 100_000;
const SLEEP_NS: u64 = 500_000_000;

/// A request under way.
#[derive(Clone, Copy, Default)]
struct Issue {
    unit: u64,
    ticks: u64,
}

/// One queue's work.
pub(crate) struct Job<B: BlockDevice> {
    /// The device, where this queue is its only one: then it can be started again here.
    device: Option<B>,
    queue: B::Queue,
    pool: BlockPool,
    stats: &'static Stats,
    disk: Disk,
    disk_number: u16,
    /// Bytes of a request, as a power of two.
    unit_shift: u32,
    sleeps: bool,
    requests: Deque<Request, BURST>,
    done: Deque<Completion, BURST>,
    /// Requests under way, by their token; tokens that are free.
    issues: Vec<Issue>,
    free: Vec<u16>,
    poller: Poller,
    next_tick_ns: u64,
    told: Told,
}

/// What the supervisor was told already.
#[derive(Default)]
struct Told {
    entries: u64,
    sleep_entries: u64,
    ios: u64,
}

/// What a phase showed.
pub(crate) struct Measured {
    pub(crate) ios: u64,
    pub(crate) wrong: u64,
    pub(crate) cut_off: u64,
    /// Requests that failed, and how the first of them did.
    pub(crate) failed: u64,
    pub(crate) first_failure: Option<IoFailure>,
    pub(crate) ns: u64,
    pub(crate) entries: u64,
    pub(crate) sleep_entries: u64,
    pub(crate) latency: Latency,
    /// Ticks of the turns that did something, and of those that found nothing to do.
    pub(crate) busy_ticks: u64,
    pub(crate) idle_ticks: u64,
    pub(crate) idle_turns: u64,
}

impl<B: BlockDevice<Device = Function>> Job<B>
where
    Failure: From<B::Error>,
{
    /// A job of one queue, as `words` say, on `disk`.
    pub(crate) fn new(
        device: Option<B>,
        queue: B::Queue,
        stats: &'static Stats,
        words: &Words,
        disk: Disk,
    ) -> Result<Job<B>, Failure> {
        Ok(Job {
            device,
            queue,
            pool: pool(words)?,
            stats,
            disk,
            disk_number: words.disk,
            unit_shift: words.bs.ilog2(),
            sleeps: words.sleep,
            requests: Deque::new(),
            done: Deque::new(),
            issues: alloc::vec![Issue::default(); words.iodepth.into()],
            free: (0..words.iodepth).collect(),
            poller: Poller::new(SPIN_MIN_NS, SPIN_MAX_NS),
            next_tick_ns: 0,
            told: Told::default(),
        })
    }

    /// The device and the queue, for another job; nothing is under way between two phases.
    pub(crate) fn end(self) -> (Option<B>, B::Queue) {
        (self.device, self.queue)
    }

    /// Makes the requests of `plan`, until all are done; `until_ns`: no new ones after that.
    pub(crate) fn run(&mut self, plan: &mut Plan, until_ns: u64) -> Result<Measured, Failure> {
        let mut measured = Measured::new();
        let (start_ns, first_entries) = (now_ns(), thread::kernel_entries());
        let first_sleep_entries = self.poller.sleep_entries();
        self.told.entries = first_entries;
        self.next_tick_ns = start_ns.saturating_add(TICK_NS);
        loop {
            let (mut is_over, mut must_sleep) = (false, false);
            for _ in 0..TURNS_PER_ROUND {
                let is_busy = self.turn(plan, &mut measured)?;
                is_over = !is_busy && self.is_all_home();
                must_sleep = !is_over && self.sleeps && self.poller.step(is_busy) == Step::Sleep;
                if is_over || must_sleep {
                    break;
                }
            }
            if must_sleep {
                self.sleep()?;
            }
            self.round(plan, &measured, until_ns)?;
            if is_over {
                break;
            }
        }
        measured.ns = now_ns().saturating_sub(start_ns);
        measured.entries = thread::kernel_entries().wrapping_sub(first_entries);
        measured.sleep_entries = self.poller.sleep_entries() - first_sleep_entries;
        self.told.ios = 0;
        Ok(measured)
    }

    /// Takes what is done and makes new requests; `true` where there was either.
    #[inline(never)]
    fn turn(&mut self, plan: &mut Plan, measured: &mut Measured) -> Result<bool, Failure> {
        let start = ticks();
        let completed = match self.queue.complete(&mut self.done) {
            Ok(completed) => completed,
            Err(error) => self.recover(error)?,
        };
        while let Some(completion) = self.done.pop_front() {
            self.finish(completion, plan, measured, start);
        }
        let submitted = self.submit(plan, start)?;
        let is_busy = completed + submitted > 0;
        let spent = ticks().wrapping_sub(start);
        if is_busy {
            measured.busy_ticks += spent;
        } else {
            measured.idle_ticks += spent;
            measured.idle_turns += 1;
        }
        Ok(is_busy)
    }

    #[inline]
    fn finish(&mut self, completion: Completion, plan: &mut Plan, measured: &mut Measured, now: u64) {
        let Completion { token, buffer, result, .. } = completion;
        #[expect(clippy::cast_possible_truncation, reason = "tokens are indices of `issues`")]
        let slot = token as u16;
        let issue = self.issues.get(usize::from(slot)).copied().unwrap_or_default();
        match result {
            Ok(()) => {
                measured.ios += 1;
                measured.latency.record(now.wrapping_sub(issue.ticks));
                if plan.act == Act::Check {
                    measured.wrong += u64::from(!self.is_right(issue.unit, buffer.as_ref(), plan.seed));
                }
            }
            Err(failure) => measured.count_failure(failure, issue.unit, plan),
        }
        if let Some(buffer) = buffer {
            self.pool.put(buffer);
        }
        self.free.push(slot);
    }

    fn is_right(&self, unit: u64, buffer: Option<&BlockBuf>, seed: u64) -> bool {
        buffer.is_some_and(|buffer| pattern::is_right(buffer.bytes(), unit << self.unit_shift, seed))
    }

    /// Makes requests while there are free tokens, room for them, and places.
    #[inline]
    fn submit(&mut self, plan: &mut Plan, now: u64) -> Result<usize, Failure> {
        while !self.requests.is_full()
            && let Some(&slot) = self.free.last()
            && let Some(unit) = plan.next()
        {
            let Some(request) = self.request(plan, unit, slot) else {
                plan.repeat(unit);
                break;
            };
            self.free.pop();
            if let Some(issue) = self.issues.get_mut(usize::from(slot)) {
                *issue = Issue { unit, ticks: now };
            }
            // There is room, just checked.
            let _ = self.requests.push_back(request);
        }
        if self.requests.is_empty() {
            return Ok(0);
        }
        match self.queue.submit(&mut self.requests) {
            Ok(submitted) => Ok(submitted),
            Err(error) => self.recover(error),
        }
    }

    /// The request for a place; `None` where no buffer is left.
    #[inline]
    fn request(&mut self, plan: &Plan, unit: u64, slot: u16) -> Option<Request> {
        let block = unit << (self.unit_shift - u32::from(self.disk.block_shift));
        let (disk, token) = (self.disk_number, slot.into());
        if plan.act == Act::Trim {
            let blocks = 1 << (self.unit_shift - u32::from(self.disk.block_shift));
            return Some(Request::trim(disk, block, blocks, token));
        }
        let mut buffer = self.pool.take()?;
        // The pool's buffers are as long as a request, at least.
        let _ = buffer.set_len(1 << self.unit_shift);
        if plan.act == Act::Write {
            pattern::fill(buffer.bytes_mut(), unit << self.unit_shift, plan.seed);
        }
        let is_write = matches!(plan.act, Act::Write | Act::Overwrite);
        let request = if is_write { Request::write } else { Request::read };
        Some(request(disk, block, buffer, token))
    }

    fn is_all_home(&self) -> bool {
        self.free.len() == self.issues.len()
    }

    /// Flushes the disk, and waits for it.
    pub(crate) fn flush(&mut self) -> Result<(), Failure> {
        let _ = self.requests.push_back(Request::flush(self.disk_number, 0));
        self.queue.submit(&mut self.requests)?;
        let limit_ns = now_ns().saturating_add(2 * TICK_NS);
        while now_ns() < limit_ns {
            self.queue.complete(&mut self.done)?;
            if let Some(completion) = self.done.pop_front() {
                return completion.result.map_err(Failure::Io);
            }
            if self.sleeps {
                self.queue.wait(now_ns().saturating_add(SLEEP_NS))?;
            }
        }
        Err(Failure::Late)
    }

    fn sleep(&mut self) -> Result<(), Failure> {
        let queue = &mut self.queue;
        let deadline_ns = now_ns().saturating_add(SLEEP_NS);
        match self.poller.sleep(|| queue.wait(deadline_ns)) {
            Ok(_) => Ok(()),
            Err(error) => self.recover(error).map(drop),
        }
    }

    /// What is done now and then.
    fn round(&mut self, plan: &mut Plan, measured: &Measured, until_ns: u64) -> Result<(), Failure> {
        self.publish(plan.act, measured.ios);
        let now = now_ns();
        if now >= until_ns {
            plan.end();
        }
        if now < self.next_tick_ns {
            return Ok(());
        }
        self.next_tick_ns = now.saturating_add(TICK_NS);
        if self.device.as_ref().is_some_and(B::has_stopped) {
            log!("block: it stopped; starting it again");
            return self.start();
        }
        if self.queue.tick() > 0 { self.rescue() } else { Ok(()) }
    }

    /// Shows the supervisor what was done since the last time. Several queues may share the counters.
    fn publish(&mut self, act: Act, ios: u64) {
        let (entries, sleep_entries) = (thread::kernel_entries(), self.poller.sleep_entries());
        let (packets, bytes) = match act {
            Act::Read | Act::Check => (&self.stats.rx_packets, &self.stats.rx_bytes),
            Act::Write | Act::Overwrite | Act::Trim => (&self.stats.tx_packets, &self.stats.tx_bytes),
        };
        let new = ios.wrapping_sub(self.told.ios);
        add(packets, new);
        add(bytes, new << self.unit_shift);
        add(&self.stats.data_path_kernel_entries, entries.wrapping_sub(self.told.entries));
        add(&self.stats.sleep_kernel_entries, sleep_entries.wrapping_sub(self.told.sleep_entries));
        self.told = Told { entries, sleep_entries, ios };
    }

    /// Requests are late: the device is asked to give them up; if it does not, it is started again.
    #[cold]
    fn rescue(&mut self) -> Result<(), Failure> {
        let Some(device) = &mut self.device else { return Err(Failure::Late) };
        match device.abort_late(&mut self.queue, &TscClock) {
            Ok(aborted @ 1..) => {
                log!("block: {aborted} late requests are given up");
                Ok(())
            }
            Ok(0) => {
                log!("block: requests are late; starting it again");
                self.start()
            }
            Err(error) => self.recover(error).map(drop),
        }
    }

    /// A device that breaks the protocol is started again; every other error ends the program.
    #[cold]
    fn recover(&mut self, error: B::Error) -> Result<usize, Failure> {
        if !error.is_violation() || self.device.is_none() {
            return Err(error.into());
        }
        log!("block: {error}; starting it again");
        self.start().map(|()| 0)
    }

    fn start(&mut self) -> Result<(), Failure> {
        add(&self.stats.device_errors, 1);
        let Some(device) = &mut self.device else { return Err(Failure::Late) };
        Ok(device.start(core::slice::from_mut(&mut self.queue), &TscClock)?)
    }
}

impl Measured {
    fn new() -> Measured {
        Measured {
            ios: 0,
            wrong: 0,
            cut_off: 0,
            failed: 0,
            first_failure: None,
            ns: 0,
            entries: 0,
            sleep_entries: 0,
            latency: Latency::new(),
            busy_ticks: 0,
            idle_ticks: 0,
            idle_turns: 0,
        }
    }

    /// What a reset or an abort cut off is done again; the rest has failed.
    #[cold]
    fn count_failure(&mut self, failure: IoFailure, unit: u64, plan: &mut Plan) {
        if matches!(failure, IoFailure::Reset | IoFailure::Aborted { .. }) {
            self.cut_off += 1;
            plan.repeat(unit);
        } else {
            self.failed += 1;
            self.first_failure.get_or_insert(failure);
        }
    }
}

/// A buffer for each request.
fn pool(words: &Words) -> Result<BlockPool, Failure> {
    let buffer_bytes = words.bs.max(BLOCK_BUF_MIN_BYTES);
    let memory = Window.allocate(usize::from(words.iodepth) * buffer_bytes as usize)?;
    Ok(BlockPool::new(memory, buffer_bytes)?)
}

fn add(counter: &AtomicU64, more: u64) {
    counter.fetch_add(more, Ordering::Relaxed);
}
