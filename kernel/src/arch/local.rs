//! What each CPU keeps for itself, reached through the GS base.
//!
//! **Invariant: a [`Local`] is touched by its own CPU only, with interrupts off**; so plain cells suffice.
//! What other CPUs must see lives in [`crate::sched`] and [`crate::mm::tlb`].

use core::cell::Cell;
use core::marker::PhantomData;

use crate::object::thread::Frame;

/// One CPU's private state. The first four fields are read by the entry stubs at fixed offsets.
#[repr(C)]
pub(crate) struct Local {
    this: Cell<*const Local>,
    /// Top of this CPU's kernel stack; every entry from user mode starts there.
    pub(crate) stack_top: Cell<u64>,
    /// Where the system call stub parks the user's stack pointer.
    user_rsp: Cell<u64>,
    /// Register frame of the thread that runs here.
    pub(crate) frame: Cell<*mut Frame>,
    /// Index of this CPU.
    pub(crate) index: u32,
    /// Its APIC id.
    pub(crate) apic_id: u32,
    /// Physical address of the page-table root loaded here.
    pub(crate) root: Cell<u64>,
    /// The scheduler has something to do here before user mode goes on.
    pub(crate) must_schedule: Cell<bool>,
    /// Set while a panic runs on this CPU, so that a second one stops at once.
    pub(crate) is_panicking: Cell<bool>,
    /// Where the task state segment keeps the stack for entries from user mode (RSP0).
    pub(crate) rsp0: Cell<*mut u64>,
}

pub(crate) const LOCAL_STACK_TOP: usize = core::mem::offset_of!(Local, stack_top);
pub(crate) const LOCAL_USER_RSP: usize = core::mem::offset_of!(Local, user_rsp);
pub(crate) const LOCAL_FRAME: usize = core::mem::offset_of!(Local, frame);

/// A borrow of the running CPU's [`Local`] that cannot leave it.
#[derive(Clone, Copy)]
pub(crate) struct LocalRef(&'static Local, PhantomData<*const ()>);

impl core::ops::Deref for LocalRef {
    type Target = Local;
    fn deref(&self) -> &Local {
        self.0
    }
}

impl Local {
    /// State for CPU `index`, not yet installed.
    pub(crate) const fn new(index: u32, apic_id: u32) -> Local {
        Local {
            this: Cell::new(core::ptr::null()),
            stack_top: Cell::new(0),
            user_rsp: Cell::new(0),
            frame: Cell::new(core::ptr::null_mut()),
            index,
            apic_id,
            root: Cell::new(0),
            must_schedule: Cell::new(false),
            is_panicking: Cell::new(false),
            rsp0: Cell::new(core::ptr::null_mut()),
        }
    }

    /// Makes this the running CPU's state.
    pub(crate) fn install(&'static self) {
        self.this.set(self);
        // SAFETY: the GS base is the kernel's own; user mode gets the other one by `swapgs`.
        unsafe {
            super::msr::write(super::msr::GS_BASE, core::ptr::from_ref(self).expose_provenance() as u64)
        };
        // SAFETY: as above; user mode starts with GS base 0.
        unsafe { super::msr::write(super::msr::KERNEL_GS_BASE, 0) };
    }
}

/// The running CPU's state.
pub(crate) fn local() -> LocalRef {
    let this: *const Local;
    // SAFETY: after `install`, GS:0 holds a pointer to this CPU's `Local`, which lives for ever.
    unsafe {
        core::arch::asm!("mov {}, gs:[0]", out(reg) this, options(nostack, preserves_flags, pure, readonly));
    }
    // SAFETY: as above.
    LocalRef(unsafe { &*this }, PhantomData)
}

/// Whether [`local`] may be called yet on this CPU.
pub(crate) fn is_installed() -> bool {
    // SAFETY: reading the GS base has no effect.
    unsafe { super::msr::read(super::msr::GS_BASE) != 0 }
}
