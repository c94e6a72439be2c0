//! The scheduler: which thread runs on which CPU.
//!
//! **Invariant: a thread runs on its home CPU only**, so its state is saved before anybody can run it again.
//!
//! Shared CPUs run their threads round-robin, a quantum each; a woken thread goes first. A granted CPU runs
//! only the threads pinned to it. The timer is armed only for a sleeper's deadline, while somebody else
//! waits for the CPU, or, on CPU 0, for a device being reset: a thread alone on its CPU is never ticked. One lock protects it all, and no data path
//! takes it.

use core::cell::UnsafeCell;

use intrusive_collections::{LinkedList, LinkedListLink, UnsafeRef, intrusive_adapter};
use weir_abi::Error;
use weir_abi::info::TraceKind;
use weir_kernel::refs::Ref;

use crate::arch::cpu::{self, tsc};
use crate::arch::local::local;
use crate::arch::{apic, idt, msr, time};
use crate::cpus::{self, MAX_CPUS};
use crate::hotplug;
use crate::object::device;
use crate::object::event::Event;
use crate::object::process::{self, Process};
use crate::object::thread::{Frame, State, Thread};
use crate::sync::Lock;
use crate::trace;

/// How long a thread runs while others wait.
const QUANTUM_NS: u64 = 10_000_000;

intrusive_adapter!(ReadyAdapter = UnsafeRef<Thread>: Thread { ready_link => LinkedListLink });
intrusive_adapter!(SleepAdapter = UnsafeRef<Thread>: Thread { sleep_link => LinkedListLink });

/// One CPU's threads. Those in the lists live: their process holds them until they are unlinked.
struct Queue {
    ready: LinkedList<ReadyAdapter>,
    /// By deadline, earliest first.
    sleepers: LinkedList<SleepAdapter>,
    current: Option<Ref<Thread>>,
    is_granted: bool,
    is_idle: bool,
    /// Somebody should run instead of the current thread.
    preempt: bool,
    quantum_end_ns: u64,
    /// What the timer is armed for; `u64::MAX` when it is not.
    armed_ns: u64,
    /// Threads whose home this is.
    threads: u32,
    /// Time-stamp counter at the last switch.
    since: u64,
}

impl Queue {
    const fn new() -> Queue {
        Queue {
            ready: LinkedList::new(ReadyAdapter::NEW),
            sleepers: LinkedList::new(SleepAdapter::NEW),
            current: None,
            is_granted: false,
            is_idle: true,
            preempt: false,
            quantum_end_ns: 0,
            armed_ns: u64::MAX,
            threads: 0,
            since: 0,
        }
    }
}

/// All queues; what [`SCHED`] locks.
pub(crate) struct Sched {
    queues: [Queue; MAX_CPUS],
    /// When the devices want to be looked at; `u64::MAX` for never.
    alarm_ns: u64,
}

/// The CPU whose timer looks after devices: the one that is never granted.
const ALARM_CPU: u32 = 0;

// SAFETY: the lists' references are to threads, which are `Send` and `Sync`.
unsafe impl Send for Sched {}

/// The scheduler.
pub(crate) static SCHED: Lock<Sched> =
    Lock::new(Sched { queues: [const { Queue::new() }; MAX_CPUS], alarm_ns: u64::MAX });

/// A value outside the scheduler that its lock protects.
pub(crate) struct Guarded<T>(UnsafeCell<T>);

// SAFETY: `get` demands a borrow of the locked scheduler, which one CPU at a time has.
unsafe impl<T: Send> Sync for Guarded<T> {}

impl<T> Guarded<T> {
    /// Wraps a value.
    pub(crate) const fn new(value: T) -> Guarded<T> {
        Guarded(UnsafeCell::new(value))
    }

    /// The value; the scheduler is locked as long as it is borrowed.
    pub(crate) fn get<'a>(&'a self, _sched: &'a Sched) -> &'a T {
        // SAFETY: only shared borrows are given out, all on the CPU that holds the lock.
        unsafe { &*self.0.get() }
    }
}

impl Sched {
    fn queue(&mut self, cpu: u32) -> &mut Queue {
        &mut self.queues[cpu as usize]
    }

    /// The shared CPU with the fewest threads.
    fn shared_cpu(&self) -> u32 {
        let shared = (0..cpus::count()).filter(|cpu| !self.queues[*cpu as usize].is_granted);
        shared.min_by_key(|cpu| self.queues[*cpu as usize].threads).unwrap_or(0)
    }

    /// Starts a new thread.
    pub(crate) fn start(&mut self, thread: &Ref<Thread>) {
        let home = thread.core.as_ref().map_or_else(|| self.shared_cpu(), |core| core.cpu);
        thread.scheduling.get(self).home.set(home);
        self.queue(home).threads += 1;
        self.enqueue(thread, false);
    }

    /// Makes a thread ready on its home CPU, first or last in the queue, and tells that CPU.
    fn enqueue(&mut self, thread: &Thread, first: bool) {
        let scheduling = thread.scheduling.get(self);
        scheduling.state.set(State::Ready);
        let home = scheduling.home.get();
        // SAFETY: the thread lives while linked: its process holds it, and unlinks before letting go.
        let entry = unsafe { UnsafeRef::from_raw(core::ptr::from_ref(thread)) };
        let queue = self.queue(home);
        if first {
            queue.ready.push_front(entry);
        } else {
            queue.ready.push_back(entry);
        }
        queue.preempt |= first;
        kick(home);
    }

    /// Ends a thread's wait with `result`.
    pub(crate) fn wake(&mut self, thread: &Thread, result: Result<u64, Error>) {
        thread.set_result(self, result);
        self.unlink_sleeper(thread);
        let scheduling = thread.scheduling.get(self);
        scheduling.waits_for.set(core::ptr::null());
        let home = scheduling.home.get();
        if self.queue(home).is_granted && thread.core.is_none() {
            self.move_home(thread);
        }
        self.enqueue(thread, true);
    }

    /// Gives a thread another home, but for one whose state is still on its CPU: that one moves when it leaves.
    fn move_home(&mut self, thread: &Thread) {
        if thread.scheduling.get(self).is_on_cpu.get() {
            return;
        }
        let to = self.shared_cpu();
        let from = thread.scheduling.get(self).home.replace(to);
        self.queue(from).threads -= 1;
        self.queue(to).threads += 1;
    }

    fn unlink_sleeper(&mut self, thread: &Thread) {
        if thread.sleep_link.is_linked() {
            let home = thread.scheduling.get(self).home.get();
            // SAFETY: a linked sleeper is in its home CPU's list.
            let mut cursor = unsafe { self.queue(home).sleepers.cursor_mut_from_ptr(thread) };
            cursor.remove();
        }
    }

    fn insert_sleeper(&mut self, thread: &Thread) {
        let scheduling = thread.scheduling.get(self);
        let (home, deadline) = (scheduling.home.get(), scheduling.deadline_ns.get());
        // SAFETY: as in `enqueue`.
        let entry = unsafe { UnsafeRef::from_raw(core::ptr::from_ref(thread)) };
        let later = |other: &Thread, sched: &Sched| other.scheduling.get(sched).deadline_ns.get() > deadline;
        let position = {
            let sleepers = &self.queues[home as usize].sleepers;
            sleepers.iter().take_while(|other| !later(other, self)).count()
        };
        let mut cursor = self.queue(home).sleepers.front_mut();
        for _ in 0..position {
            cursor.move_next();
        }
        cursor.insert_before(entry);
    }

    /// Ends a thread. Says whether it is gone already; otherwise its CPU lets go of it at the next
    /// opportunity, which is made soon, and takes it from its process.
    pub(crate) fn condemn(&mut self, thread: &Thread) -> bool {
        let scheduling = thread.scheduling.get(self);
        scheduling.state.set(State::Dead);
        let (home, is_on_cpu) = (scheduling.home.get(), scheduling.is_on_cpu.get());
        self.unlink_sleeper(thread);
        let queue = self.queue(home);
        if thread.ready_link.is_linked() {
            // SAFETY: a linked ready thread is in its home CPU's list.
            unsafe { queue.ready.cursor_mut_from_ptr(thread) }.remove();
        }
        if is_on_cpu {
            kick(home);
        } else {
            queue.threads -= 1;
        }
        !is_on_cpu
    }

    /// Takes a CPU out of the shared pool.
    pub(crate) fn grant_cpu(&mut self, cpu: u32) -> Result<(), Error> {
        if core::mem::replace(&mut self.queue(cpu).is_granted, true) {
            return Err(Error::Busy);
        }
        let ready = self.queue(cpu).ready.take();
        for thread in ready {
            self.move_home(&thread);
            self.enqueue(&thread, false);
        }
        let sleepers = self.queue(cpu).sleepers.take();
        for thread in sleepers {
            self.rehome_sleeper(&thread);
        }
        // Its current thread leaves when the CPU next enters the kernel: now.
        self.queue(cpu).preempt = true;
        kick(cpu);
        Ok(())
    }

    /// Gives a CPU back to the shared pool.
    pub(crate) fn return_cpu(&mut self, cpu: u32) {
        self.queue(cpu).is_granted = false;
    }

    /// Adds to every counter of time what has passed up to now.
    pub(crate) fn settle(&mut self) {
        for cpu in 0..cpus::count() {
            let current = self.queue(cpu).current.clone();
            account(self, cpu, current.as_deref());
        }
    }

    /// Whether a CPU is granted, and how many threads have it as home.
    pub(crate) fn cpu_state(&self, cpu: u32) -> (bool, u32) {
        let queue = &self.queues[cpu as usize];
        (queue.is_granted, queue.threads)
    }

    /// Wakes the sleepers of this CPU whose deadline has passed.
    fn expire(&mut self, cpu: u32) {
        loop {
            let Some(first) = self.queue(cpu).sleepers.front().clone_pointer() else { return };
            let scheduling = first.scheduling.get(self);
            if scheduling.deadline_ns.get() > time::now_ns() {
                return;
            }
            // Sleeping without an event ends as asked for; with one, the event did not come.
            let result = if scheduling.waits_for.get().is_null() { Ok(0) } else { Err(Error::TimedOut) };
            self.wake(&first, result);
        }
    }

    /// Chooses who runs on this CPU next; returns who must leave it.
    fn choose(&mut self, cpu: u32) -> Option<Ref<Thread>> {
        self.expire(cpu);
        let stays = self.current_may_stay(cpu);
        let queue = self.queue(cpu);
        let preempt = core::mem::replace(&mut queue.preempt, false);
        if queue.ready.is_empty() {
            return if stays { None } else { queue.current.take() };
        }
        let now_ns = time::now_ns();
        if stays && !preempt && now_ns < queue.quantum_end_ns {
            return None;
        }
        queue.quantum_end_ns = now_ns + QUANTUM_NS;
        let next = queue.ready.pop_front();
        let next = next.and_then(|t| t.process.thread(self, t.slot));
        if let Some(thread) = &next {
            let scheduling = thread.scheduling.get(self);
            scheduling.state.set(State::Running);
            if scheduling.is_on_cpu.replace(true) {
                // Woken before it had left this CPU: it just stays, if it may.
                return if self.is_at_home(thread, cpu) { None } else { self.queue(cpu).current.take() };
            }
            thread.process.add_on_cpu(self, 1);
        }
        core::mem::replace(&mut self.queue(cpu).current, next)
    }

    fn current_may_stay(&self, cpu: u32) -> bool {
        let current = self.queues[cpu as usize].current.as_ref();
        current.is_some_and(|t| t.state(self) == State::Running && self.is_at_home(t, cpu))
    }

    fn is_at_home(&self, thread: &Thread, cpu: u32) -> bool {
        thread.core.is_some()
            || (thread.scheduling.get(self).home.get() == cpu && !self.queues[cpu as usize].is_granted)
    }

    /// Sees off a thread whose registers are saved: back to a queue, to sleep, or to its end. Returns the
    /// process if this was its last thread and it is to be torn down.
    fn see_off(&mut self, cpu: u32, thread: &Ref<Thread>) -> Option<Ref<Process>> {
        let process = &thread.process;
        process.add_on_cpu(self, -1);
        thread.scheduling.get(self).is_on_cpu.set(false);
        match thread.state(self) {
            State::Running => {
                if !self.is_at_home(thread, cpu) {
                    self.move_home(thread);
                }
                self.enqueue(thread, false);
                None
            }
            State::Dead => {
                self.queue(cpu).threads -= 1;
                process.remove_thread(self, thread.slot);
                process.is_ready_for_teardown(self).then(|| process.clone())
            }
            State::Blocked if thread.sleep_link.is_linked() && !self.is_at_home(thread, cpu) => {
                self.rehome_sleeper(thread);
                None
            }
            State::Blocked | State::Ready => None,
        }
    }

    /// Has another CPU's timer wake a sleeper.
    fn rehome_sleeper(&mut self, thread: &Thread) {
        self.unlink_sleeper(thread);
        self.move_home(thread);
        self.insert_sleeper(thread);
        kick(thread.scheduling.get(self).home.get());
    }

    /// Arms the timer for the next thing that must happen on this CPU by itself.
    fn arm(&mut self, cpu: u32) {
        let first = self.queues[cpu as usize].sleepers.front().get();
        let sleeper = first.map_or(u64::MAX, |t| t.scheduling.get(self).deadline_ns.get());
        let alarm = if cpu == ALARM_CPU { self.alarm_ns } else { u64::MAX };
        let queue = self.queue(cpu);
        let quantum = if queue.ready.is_empty() { u64::MAX } else { queue.quantum_end_ns };
        let due = sleeper.min(quantum).min(alarm);
        if due == u64::MAX {
            if queue.armed_ns != u64::MAX {
                apic::disarm_timer();
            }
        } else if due != queue.armed_ns {
            apic::arm_timer(due);
        }
        queue.armed_ns = due;
    }
}

/// Makes a CPU look at its queue: another by a message, this one before it returns to user mode.
fn kick(cpu: u32) {
    if cpu == local().index {
        local().must_schedule.set(true);
    } else {
        apic::send(cpus::apic_id(cpu), apic::RESCHEDULE);
    }
}

/// The running CPU takes part from now on.
pub(crate) fn join() {
    SCHED.lock().queue(local().index).since = tsc();
}

/// Has devices looked at, at `due_ns` or soon after ([`device::work`]).
pub(crate) fn set_alarm(due_ns: u64) {
    let mut sched = SCHED.lock();
    if due_ns < sched.alarm_ns {
        sched.alarm_ns = due_ns;
        kick(ALARM_CPU);
    }
}

/// The timer of this CPU has fired.
pub(crate) fn timer_fired() {
    let cpu = local().index;
    let is_alarm = {
        let mut sched = SCHED.lock();
        sched.queue(cpu).armed_ns = u64::MAX;
        let is_alarm = cpu == ALARM_CPU && sched.alarm_ns <= time::now_ns();
        if is_alarm {
            sched.alarm_ns = u64::MAX;
        }
        is_alarm
    };
    if is_alarm {
        device::work();
        hotplug::work();
    }
}

/// Puts the running thread to sleep until `event` or the deadline.
pub(crate) fn block(sched: &mut Sched, thread: &Thread, event: *const Event, deadline_ns: u64) {
    local().must_schedule.set(true);
    let scheduling = thread.scheduling.get(sched);
    // Condemned meanwhile: stays dead.
    if scheduling.state.get() != State::Running {
        return;
    }
    scheduling.state.set(State::Blocked);
    scheduling.waits_for.set(event);
    scheduling.deadline_ns.set(deadline_ns);
    if deadline_ns != u64::MAX {
        sched.insert_sleeper(thread);
    }
}

/// Lets another ready thread of this CPU run first.
pub(crate) fn yield_now() {
    SCHED.lock().queue(local().index).preempt = true;
    local().must_schedule.set(true);
}

/// Ends a system call: where nothing has changed on this CPU, the caller goes on at once. What other CPUs have
/// changed meanwhile arrives as a message, which is taken as soon as user mode has interrupts on again.
pub(crate) fn return_from_call(thread: &Thread) -> ! {
    if local().must_schedule.get() {
        resume()
    }
    // SAFETY: the thread called from this CPU, which is still set up for it.
    unsafe { idt::return_to_user(thread.frame()) }
}

/// Ends an entry into the kernel: runs whoever is to run, or idles. The caller's stack is abandoned, so it
/// must hold nothing that needs dropping.
pub(crate) fn resume() -> ! {
    let here = local();
    here.must_schedule.set(false);
    let frame = loop {
        let mut sched = SCHED.lock();
        let left = sched.choose(here.index);
        if let Some(old) = left {
            old.extended.save();
            account(&mut sched, here.index, Some(&old));
            switch_to(&sched, here.index, Some(&old));
            let finished = sched.see_off(here.index, &old);
            let queue = sched.queue(here.index);
            queue.is_idle = queue.current.is_none();
            drop(sched);
            // Here the last reference to a thread may go, and a process's teardown may take a while: then
            // look again at who is to run.
            drop(old);
            if let Some(process) = finished {
                process::tear_down(&process);
            }
            continue;
        }
        let queue = sched.queue(here.index);
        if queue.is_idle && queue.current.is_some() {
            // From idle to a thread that was chosen without anybody leaving.
            queue.is_idle = false;
            account(&mut sched, here.index, None);
            switch_to(&sched, here.index, None);
        }
        sched.arm(here.index);
        let queue = sched.queue(here.index);
        queue.is_idle = queue.current.is_none();
        break queue.current.as_ref().map(|thread| thread.frame());
    };
    match frame {
        // SAFETY: `switch_to` has set this CPU up for the current thread.
        Some(frame) => unsafe { idt::return_to_user(frame) },
        None => cpu::idle(here.stack_top.get()),
    }
}

/// Adds the time since the last switch to whoever used it.
fn account(sched: &mut Sched, cpu: u32, old: Option<&Thread>) {
    let now = tsc();
    let since = core::mem::replace(&mut sched.queue(cpu).since, now);
    let ns = time::ticks_to_ns(now.wrapping_sub(since));
    let counter = match old {
        Some(thread) => &thread.process.cpu_ns,
        None => &cpus::entries(cpu).idle_ns,
    };
    counter.fetch_add(ns, core::sync::atomic::Ordering::Relaxed);
}

/// Sets this CPU up for its (new) current thread, or for none.
fn switch_to(sched: &Sched, cpu: u32, old: Option<&Thread>) {
    let here = local();
    let new = sched.queues[cpu as usize].current.as_ref();
    let root = new.map_or_else(cpus::kernel_root, |thread| thread.process.root());
    if here.root.get() != root.0 {
        if let Some(thread) = new {
            thread.process.active.insert(cpu);
        }
        here.root.set(root.0);
        load_root(root.0);
        if let Some(thread) = old {
            thread.process.active.remove(cpu);
        }
    }
    let Some(thread) = new else { return };
    thread.extended.restore();
    let fs_base = thread.fs_base.load(core::sync::atomic::Ordering::Relaxed);
    // Always: a thread can lose its base by loading the segment register, unseen by the kernel.
    // SAFETY: the base is checked to lie in the user half where it is set.
    unsafe { msr::write(msr::FS_BASE, fs_base) };
    here.frame.set(thread.frame());
    let frame_end = thread.frame() as u64 + size_of::<Frame>() as u64;
    // SAFETY: RSP0 of this CPU's own task state.
    unsafe { here.rsp0.get().write_unaligned(frame_end) };
    trace::record(TraceKind::Switch, thread.process.id, [thread.slot as u64, cpu.into()]);
}

/// Loads a page-table root.
pub(crate) fn load_root(root: u64) {
    // SAFETY: every root maps the kernel, and this one belongs to whom the CPU is about to run.
    unsafe { core::arch::asm!("mov cr3, {}", in(reg) root, options(nostack)) };
}
