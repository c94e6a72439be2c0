//! Processes: owners.
//!
//! **Invariant: what a process holds is released once, by [`tear_down`], when none of its threads is on a CPU.**
//! A dead process keeps its report and its counters as long as somebody has a handle to it; nothing else.

use core::cell::{Cell, RefCell};
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use weir_abi::info::{NAME_BYTES, ProcessInfo, Quota, STATE_EXITED, STATE_RUNNING, TraceKind, name_text};
use weir_abi::page::{KernelPage, MAX_EVENTS, MAX_THREADS};
use weir_abi::{Error, Handle, Rights};
use weir_kernel::handles::HandleTable;
use weir_kernel::refs::Ref;

use super::core::Core;
use super::event::Event;
use super::thread::{Start, Thread};
use super::{Object, device};
use crate::cpus::CpuSet;
use crate::mm::address::{Direct, PhysAddr};
use crate::mm::memory::Memory;
use crate::mm::space::{Request, Space};
use crate::sched::{Guarded, SCHED, Sched};
use crate::sync::Lock;
use crate::trace;

/// How a process ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Report {
    /// One of the `STATE_` constants.
    pub(crate) state: u32,
    /// Exit code or exception vector.
    pub(crate) code: u64,
    pub(crate) rip: u64,
    pub(crate) address: u64,
}

impl Report {
    /// A report without a place.
    pub(crate) const fn plain(state: u32, code: u64) -> Report {
        Report { state, code, rip: 0, address: 0 }
    }
}

#[derive(Clone, Copy)]
enum Life {
    Running,
    /// Ended, but threads may still be on CPUs.
    Ending(Report),
    Dead(Report),
}

/// What the scheduler's lock protects.
struct Population {
    life: Cell<Life>,
    threads: RefCell<[Option<Ref<Thread>>; MAX_THREADS]>,
    /// One past the highest slot ever used.
    slots_used: Cell<usize>,
    live: Cell<u32>,
    on_cpu: Cell<i32>,
    watcher: RefCell<Option<Ref<Event>>>,
}

/// Devices announced and not accepted yet.
struct Arrivals {
    /// Oldest first.
    devices: heapless::Deque<Handle, ARRIVALS>,
    event: Option<Ref<Event>>,
}

/// Most devices that wait to be accepted; a later one is the owner's all the same, but not announced.
const ARRIVALS: usize = 16;

/// A process.
pub(crate) struct Process {
    /// Its number.
    pub(crate) id: u32,
    name: [u8; NAME_BYTES],
    quota: Quota,
    frames: AtomicU64,
    /// CPU time, ns.
    pub(crate) cpu_ns: AtomicU64,
    /// Blocked accesses of its devices.
    pub(crate) faults: AtomicU64,
    /// System calls, interrupts, exceptions; stored when the kernel page goes.
    final_entries: [AtomicU64; 3],
    page: PhysAddr,
    root: PhysAddr,
    /// CPUs that have its page tables loaded.
    pub(crate) active: CpuSet,
    /// Its address space; `None` once torn down.
    pub(crate) space: Lock<Option<Space>>,
    /// Its handles.
    pub(crate) handles: Lock<HandleTable<Object>>,
    /// Event slots taken.
    pub(crate) event_slots: [AtomicBool; MAX_EVENTS],
    /// Thread slots taken.
    thread_slots: [AtomicBool; MAX_THREADS],
    arrivals: Lock<Arrivals>,
    population: Guarded<Population>,
}

// SAFETY: the cells in `population` are reached under the scheduler's lock only; the rest is `Sync` itself.
unsafe impl Send for Population {}

/// Processes that live, by position.
static PROCESSES: Lock<heapless::Vec<Ref<Process>, 256>> = Lock::new(heapless::Vec::new());

impl Process {
    /// An empty process with a handle to itself.
    pub(crate) fn create(name: [u8; NAME_BYTES], quota: Quota) -> Result<Ref<Process>, Error> {
        static NEXT_ID: AtomicU64 = AtomicU64::new(1);
        let id = u32::try_from(NEXT_ID.fetch_add(1, Ordering::Relaxed)).map_err(|_| Error::Quota)?;
        let space = Space::new(id, quota.mappings)?;
        let (root, page) = (space.root(), space.kernel_page());
        let process = Ref::try_new(Process {
            id,
            name,
            quota,
            frames: AtomicU64::new(space.own_frames()),
            cpu_ns: AtomicU64::new(0),
            faults: AtomicU64::new(0),
            final_entries: [const { AtomicU64::new(0) }; 3],
            page,
            root,
            active: CpuSet::new(),
            space: Lock::new(Some(space)),
            handles: Lock::new(HandleTable::new(quota.handles)),
            event_slots: [const { AtomicBool::new(false) }; MAX_EVENTS],
            thread_slots: [const { AtomicBool::new(false) }; MAX_THREADS],
            arrivals: Lock::new(Arrivals { devices: heapless::Deque::new(), event: None }),
            population: Guarded::new(Population {
                life: Cell::new(Life::Running),
                threads: RefCell::new([const { None }; MAX_THREADS]),
                slots_used: Cell::new(0),
                live: Cell::new(0),
                on_cpu: Cell::new(0),
                watcher: RefCell::new(None),
            }),
        });
        let process = process.ok_or(Error::NoMemory)?;
        // From here on a failure is undone by ending the process.
        let listed = PROCESSES.lock().push(process.clone()).map_err(|_| Error::Quota);
        let own = process.handles.lock().insert(Object::Process(process.clone()), Rights::ALL);
        if let Err(error) = listed.and(own) {
            end(&process, Report::plain(STATE_EXITED, 0));
            return Err(error);
        }
        trace::record(TraceKind::ProcessCreated, id, [quota.handles.into(), quota.frames]);
        Ok(process)
    }

    /// Its name.
    pub(crate) fn name(&self) -> &str {
        name_text(&self.name)
    }

    /// Its page-table root.
    pub(crate) fn root(&self) -> PhysAddr {
        self.root
    }

    /// Its kernel page. Only while it has threads, or is known to run under the scheduler's lock.
    pub(crate) fn page(&self) -> &KernelPage {
        // SAFETY: the frames hold a `KernelPage` from creation to teardown; shared parts are atomics.
        unsafe { &*self.page.direct().cast::<KernelPage>() }
    }

    /// Whether it has not ended.
    pub(crate) fn is_running(&self, sched: &Sched) -> bool {
        matches!(self.population.get(sched).life.get(), Life::Running)
    }

    /// Takes `frames` of its quota.
    pub(crate) fn charge_frames(&self, frames: u64) -> Result<(), Error> {
        let limit = self.quota.frames;
        let charge = |used: u64| used.checked_add(frames).filter(|sum| *sum <= limit);
        self.frames.fetch_update(Ordering::Relaxed, Ordering::Relaxed, charge).map_err(|_| Error::Quota)?;
        Ok(())
    }

    /// Gives them back.
    pub(crate) fn uncharge_frames(&self, frames: u64) {
        self.frames.fetch_sub(frames, Ordering::Relaxed);
    }

    /// The thread in `slot`.
    pub(crate) fn thread(&self, sched: &Sched, slot: usize) -> Option<Ref<Thread>> {
        self.population.get(sched).threads.borrow()[slot].clone()
    }

    /// One past the highest thread slot ever used.
    pub(crate) fn thread_slots_used(&self, sched: &Sched) -> usize {
        self.population.get(sched).slots_used.get()
    }

    /// Counts threads that are on a CPU.
    pub(crate) fn add_on_cpu(&self, sched: &Sched, change: i32) {
        let on_cpu = &self.population.get(sched).on_cpu;
        on_cpu.set(on_cpu.get() + change);
    }

    /// Takes an ended thread off the books. The caller holds another reference to it.
    pub(crate) fn remove_thread(&self, sched: &Sched, slot: usize) {
        let population = self.population.get(sched);
        if population.threads.borrow_mut()[slot].take().is_some() {
            population.live.set(population.live.get() - 1);
        }
    }

    /// Whether it has ended and nothing of it runs any more.
    pub(crate) fn is_ready_for_teardown(&self, sched: &Sched) -> bool {
        let population = self.population.get(sched);
        matches!(population.life.get(), Life::Ending(_)) && population.on_cpu.get() == 0
    }

    /// A thread that has not started yet; dropping it undoes this.
    pub(crate) fn spawn(
        process: &Ref<Process>,
        start: Start,
        core: Option<Ref<Core>>,
    ) -> Result<Ref<Thread>, Error> {
        let is_free = |taken: &AtomicBool| !taken.swap(true, Ordering::Relaxed);
        let slot = process.thread_slots.iter().position(is_free).ok_or(Error::Quota)?;
        Thread::try_new(process, slot, start, core)
    }

    /// Starts a thread that [`Process::spawn`] made.
    pub(crate) fn launch(thread: &Ref<Thread>) -> Result<(), Error> {
        let mut sched = SCHED.lock();
        if !thread.process.is_running(&sched) {
            return Err(Error::Gone);
        }
        let population = thread.process.population.get(&sched);
        population.threads.borrow_mut()[thread.slot] = Some(thread.clone());
        population.slots_used.set(population.slots_used.get().max(thread.slot + 1));
        population.live.set(population.live.get() + 1);
        sched.start(thread);
        Ok(())
    }

    /// Opens a handle in this process.
    pub(crate) fn adopt(&self, object: Object, rights: Rights) -> Result<Handle, Error> {
        let mut handles = self.handles.lock();
        // A process that has ended takes nothing: its table may have been emptied already.
        if !self.is_running(&SCHED.lock()) {
            return Err(Error::Gone);
        }
        handles.insert(object, rights)
    }

    /// Tells this process of a device that it has been given.
    pub(crate) fn announce(&self, device: Handle) {
        let mut arrivals = self.arrivals.lock();
        if arrivals.devices.push_back(device).is_err() {
            log::warn!("{}: too many devices at once to be told of each", self.name());
        }
        if let Some(event) = &arrivals.event {
            // A process that is ending needs no telling.
            let _ = event.signal();
        }
    }

    /// The oldest device announced that is not accepted yet; `event` hears of every one announced from now on.
    pub(crate) fn accept(&self, event: Ref<Event>) -> Result<Handle, Error> {
        let (device, old) = {
            let mut arrivals = self.arrivals.lock();
            (arrivals.devices.pop_front(), arrivals.event.replace(event))
        };
        drop(old);
        device.ok_or(Error::NotFound)
    }

    /// Counts faults that came too fast in the ring, where it can still be seen.
    pub(crate) fn count_muted(&self) {
        if self.is_running(&SCHED.lock()) {
            self.page().faults.muted.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Maps memory into this process.
    pub(crate) fn map(&self, memory: &Ref<Memory>, request: Request) -> Result<u64, Error> {
        self.change_space(|space| space.map(memory, request, &self.active))
    }

    /// Removes a mapping of this process.
    pub(crate) fn unmap(&self, address: u64) -> Result<(), Error> {
        self.change_space(|space| space.unmap(address, &self.active))
    }

    /// Performs a change of the address space, with the page tables it takes or gives back charged to the quota.
    pub(crate) fn change_space<T>(
        &self,
        change: impl FnOnce(&mut Space) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let mut guard = self.space.lock();
        let space = guard.as_mut().ok_or(Error::Gone)?;
        let before = space.own_frames();
        let result = change(space);
        let after = space.own_frames();
        // Table frames may exceed the quota by what one mapping needs: the next call that takes frames fails.
        self.frames.fetch_add(after.wrapping_sub(before), Ordering::Relaxed);
        result
    }

    /// Frees a thread slot.
    pub(super) fn release_thread_slot(&self, slot: usize) {
        self.thread_slots[slot].store(false, Ordering::Relaxed);
    }

    /// Sets (or clears) who is told when the process ends; signals at once if it has.
    pub(crate) fn watch(&self, event: Option<Ref<Event>>) {
        let old = {
            let mut sched = SCHED.lock();
            if let (Life::Dead(_), Some(event)) = (self.population.get(&sched).life.get(), &event) {
                // The watcher may be gone itself: nobody to tell.
                let _ = event.signal_locked(&mut sched);
            }
            self.population.get(&sched).watcher.replace(event)
        };
        drop(old);
    }

    /// How it is.
    pub(crate) fn info(&self) -> ProcessInfo {
        let handles = self.handles.lock().len();
        let mappings = self.space.lock().as_ref().map_or(0, Space::mappings);
        let devices = device::owned_by(self);
        let mut sched = SCHED.lock();
        sched.settle();
        let population = self.population.get(&sched);
        let life = population.life.get();
        let entries = match life {
            Life::Running => self.entries(),
            _ => self.final_entries.each_ref().map(|e| e.load(Ordering::Relaxed)),
        };
        let mut info = ProcessInfo {
            id: self.id,
            state: STATE_RUNNING,
            frames: self.frames.load(Ordering::Relaxed),
            syscalls: entries[0],
            interrupts: entries[1],
            exceptions: entries[2],
            cpu_ns: self.cpu_ns.load(Ordering::Relaxed),
            faults: self.faults.load(Ordering::Relaxed),
            threads: population.live.get(),
            handles,
            mappings,
            devices,
            name: self.name,
            ..ProcessInfo::default()
        };
        // While it is still ending it counts as running: the report comes with the teardown.
        if let Life::Dead(report) = life {
            info.state = report.state;
            info.code = report.code;
            info.crash_rip = report.rip;
            info.crash_address = report.address;
        }
        info
    }

    /// Kernel entries of all threads so far; the kernel page must be there.
    fn entries(&self) -> [u64; 3] {
        let threads = &self.page().threads;
        let sum = |which: fn(&weir_abi::page::ThreadCounters) -> &AtomicU64| {
            threads.iter().map(|t| which(t).load(Ordering::Relaxed)).sum()
        };
        [sum(|t| &t.syscalls), sum(|t| &t.interrupts), sum(|t| &t.exceptions)]
    }

    /// Whether it has ended and everything is released.
    pub(crate) fn is_dead(&self) -> bool {
        matches!(self.population.get(&SCHED.lock()).life.get(), Life::Dead(_))
    }
}

/// Ends a process: none of its threads runs another user instruction after they have left their CPUs. What it
/// holds is released here, or by the CPU that its last thread leaves. Nothing happens if it has ended before.
pub(crate) fn end(process: &Ref<Process>, report: Report) {
    let mut gone = [const { None }; MAX_THREADS];
    let is_quiet = {
        let mut sched = SCHED.lock();
        if !process.is_running(&sched) {
            return;
        }
        process.population.get(&sched).life.set(Life::Ending(report));
        for (slot, gone) in gone.iter_mut().enumerate() {
            let Some(thread) = process.thread(&sched, slot) else { continue };
            if sched.condemn(&thread) {
                process.remove_thread(&sched, slot);
                *gone = Some(thread);
            }
        }
        process.is_ready_for_teardown(&sched)
    };
    // Outside the lock: the last reference to a thread may go, and with it a core.
    drop(gone);
    if is_quiet {
        tear_down(process);
    }
}

/// Ends the running thread; with the last one, the process.
pub(crate) fn end_thread(thread: &Thread) {
    let is_last = {
        let mut sched = SCHED.lock();
        sched.condemn(thread);
        thread.process.population.get(&sched).live.get() == 1
    };
    if is_last {
        end(&thread.process, Report::plain(STATE_EXITED, 0));
    }
}

/// Releases everything a process held. No thread of it is on a CPU, and none will be.
pub(crate) fn tear_down(process: &Ref<Process>) {
    device::revoke_all(process);
    // The event holds the process.
    let arrivals = process.arrivals.lock().event.take();
    drop(arrivals);
    for (total, now) in process.final_entries.iter().zip(process.entries()) {
        total.store(now, Ordering::Relaxed);
    }
    // The address space goes before the handles: nothing may be mapped when its memory is given back.
    let space = process.space.lock().take();
    if let Some(space) = space {
        process.uncharge_frames(space.own_frames());
        space.free();
    }
    loop {
        // One at a time, outside the lock: dropping an object may lead anywhere.
        let Some(object) = process.handles.lock().drain().next() else { break };
        drop(object);
    }
    PROCESSES.lock().retain(|p| !p.is_same(process));
    let (report, watcher) = {
        let sched = SCHED.lock();
        let population = process.population.get(&sched);
        let Life::Ending(report) = population.life.get() else {
            unreachable!("a process is torn down once, after it has ended")
        };
        population.life.set(Life::Dead(report));
        (report, population.watcher.take())
    };
    trace::record(TraceKind::ProcessEnded, process.id, [report.state.into(), report.code]);
    if let Some(event) = watcher {
        // A watcher that is gone itself needs no telling.
        let _ = event.signal();
    }
}

/// The living process at `position` in the list.
pub(crate) fn at(position: usize) -> Option<Ref<Process>> {
    PROCESSES.lock().get(position).cloned()
}

/// The living process with number `id`.
pub(crate) fn by_id(id: u32) -> Option<Ref<Process>> {
    PROCESSES.lock().iter().find(|p| p.id == id).cloned()
}

/// How many live.
pub(crate) fn count() -> usize {
    PROCESSES.lock().len()
}
