//! Threads: a register frame, extended state, and what the scheduler knows of them.

use core::cell::{Cell, UnsafeCell};
use core::sync::atomic::{AtomicU64, Ordering};

use intrusive_collections::LinkedListLink;
use weir_abi::Error;
use weir_abi::page::ThreadCounters;
use weir_kernel::refs::Ref;

use super::core::Core;
use super::event::Event;
use super::process::Process;
use crate::arch::fpu::ExtendedState;
use crate::arch::gdt;
use crate::sched::{Guarded, Sched};

/// A thread's registers while it is not running; the entry stubs push them in this order.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C, align(16))]
pub(crate) struct Frame {
    pub(crate) r15: u64,
    pub(crate) r14: u64,
    pub(crate) r13: u64,
    pub(crate) r12: u64,
    pub(crate) r11: u64,
    pub(crate) r10: u64,
    pub(crate) r9: u64,
    pub(crate) r8: u64,
    pub(crate) rbp: u64,
    pub(crate) rdi: u64,
    pub(crate) rsi: u64,
    pub(crate) rdx: u64,
    pub(crate) rcx: u64,
    pub(crate) rbx: u64,
    pub(crate) rax: u64,
    /// What led into the kernel: an interrupt vector, or [`crate::arch::idt::SYSCALL`].
    pub(crate) vector: u64,
    pub(crate) error_code: u64,
    pub(crate) rip: u64,
    pub(crate) cs: u64,
    pub(crate) rflags: u64,
    pub(crate) rsp: u64,
    pub(crate) ss: u64,
}

const _: () = assert!(size_of::<Frame>() == 176);

impl Frame {
    /// Stores a system call's result where user mode finds it.
    pub(crate) fn set_result(&mut self, result: Result<u64, Error>) {
        (self.rax, self.rdx) = match result {
            Ok(value) => (0, value),
            Err(error) => (error as u64, 0),
        };
    }
}

/// What a thread is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// In the queue of its CPU.
    Ready,
    /// On its CPU.
    Running,
    /// Waiting for an event or a deadline.
    Blocked,
    /// Ended; leaves its CPU at the next opportunity.
    Dead,
}

/// Fields that the scheduler's lock protects.
pub(crate) struct Scheduling {
    pub(crate) state: Cell<State>,
    /// Whether its home CPU is set up for it, whatever its state.
    pub(crate) is_on_cpu: Cell<bool>,
    /// The CPU it runs on.
    pub(crate) home: Cell<u32>,
    /// The event it waits for; compared, never followed.
    pub(crate) waits_for: Cell<*const Event>,
    /// When it stops waiting, ns since boot.
    pub(crate) deadline_ns: Cell<u64>,
}

/// A thread.
#[repr(C)]
pub(crate) struct Thread {
    /// First, so that a frame's address is its thread's.
    frame: UnsafeCell<Frame>,
    pub(crate) process: Ref<Process>,
    /// Its place in the process, and in the kernel page's counters.
    pub(crate) slot: usize,
    /// The granted core it is pinned to.
    pub(crate) core: Option<Ref<Core>>,
    pub(crate) extended: ExtendedState,
    pub(crate) fs_base: AtomicU64,
    pub(crate) scheduling: Guarded<Scheduling>,
    pub(crate) ready_link: LinkedListLink,
    pub(crate) sleep_link: LinkedListLink,
}

// SAFETY: `frame` is touched by the CPU that runs the thread, or by others while it is blocked, under the
// scheduler's lock; the links and `scheduling` under that lock; the rest is `Sync` itself.
unsafe impl Sync for Thread {}
// SAFETY: nothing in a thread belongs to a CPU.
unsafe impl Send for Thread {}

/// Where a new thread begins.
#[derive(Clone, Copy)]
pub(crate) struct Start {
    pub(crate) entry: u64,
    pub(crate) stack: u64,
    pub(crate) arguments: [u64; 2],
}

impl Thread {
    /// A thread that has not run, in `slot`, which is taken for it and freed with it.
    pub(crate) fn try_new(
        process: &Ref<Process>,
        slot: usize,
        start: Start,
        core: Option<Ref<Core>>,
    ) -> Result<Ref<Thread>, Error> {
        const INTERRUPTS_ON: u64 = 0x202;
        let frame = Frame {
            rip: start.entry,
            rsp: start.stack,
            rdi: start.arguments[0],
            rsi: start.arguments[1],
            rdx: slot as u64,
            cs: gdt::USER_CODE.into(),
            ss: gdt::USER_DATA.into(),
            rflags: INTERRUPTS_ON,
            ..Frame::default()
        };
        let Some(extended) = ExtendedState::try_new() else {
            process.release_thread_slot(slot);
            return Err(Error::NoMemory);
        };
        let thread = Ref::try_new(Thread {
            frame: UnsafeCell::new(frame),
            process: process.clone(),
            slot,
            core,
            extended,
            fs_base: AtomicU64::new(0),
            scheduling: Guarded::new(Scheduling {
                state: Cell::new(State::Ready),
                is_on_cpu: Cell::new(false),
                home: Cell::new(0),
                waits_for: Cell::new(core::ptr::null()),
                deadline_ns: Cell::new(u64::MAX),
            }),
            ready_link: LinkedListLink::new(),
            sleep_link: LinkedListLink::new(),
        });
        thread.ok_or(Error::NoMemory)
    }

    /// The frame's address.
    pub(crate) fn frame(&self) -> *mut Frame {
        self.frame.get()
    }

    /// The thread whose frame this is.
    ///
    /// # Safety
    /// `frame` came from [`Thread::frame`] of a thread that lives.
    pub(crate) unsafe fn of_frame<'a>(frame: *const Frame) -> &'a Thread {
        // SAFETY: the frame is the first field of a `repr(C)` structure.
        unsafe { &*frame.cast::<Thread>() }
    }

    /// Its state.
    pub(crate) fn state(&self, sched: &Sched) -> State {
        self.scheduling.get(sched).state.get()
    }

    /// Sets what the system call it is blocked in returns.
    pub(crate) fn set_result(&self, _sched: &Sched, result: Result<u64, Error>) {
        // SAFETY: the thread is blocked and stays so while the scheduler is locked: nobody uses the frame.
        unsafe { (*self.frame()).set_result(result) };
    }

    /// Its entry counters, in its process's kernel page.
    pub(crate) fn counters(&self) -> &ThreadCounters {
        &self.process.page().threads[self.slot]
    }

    /// Adds one to a counter of this thread. Only the CPU that runs it does, so no atomic addition is needed.
    pub(crate) fn count(counter: &AtomicU64) {
        counter.store(counter.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        self.process.release_thread_slot(self.slot);
    }
}
