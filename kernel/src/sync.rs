//! The kernel's lock.
//!
//! The kernel runs with interrupts off, so a lock needs no interrupt bookkeeping. But a CPU that spins cannot
//! take the message that another CPU sends to have its TLB flushed; so it looks for such requests while it
//! spins, and holding a lock while waiting for a shootdown is safe.
//!
//! Order of taking, first to last: a device's `change` · who becomes an owner · a process's
//! `handles` · `space` · a device's `owner` · an IOMMU unit · `SCHED` · vectors, frames, heap, log. Never the other way.
//! The list of functions may be read under any of them: only its two writers wait, and take nothing meanwhile.

use spin::RelaxStrategy;

use crate::mm::tlb;

/// Spins, and flushes this CPU's TLB if somebody asks.
pub(crate) struct ServeShootdowns;

impl RelaxStrategy for ServeShootdowns {
    #[inline]
    fn relax() {
        tlb::serve();
        core::hint::spin_loop();
    }
}

/// A spin lock.
pub(crate) type Lock<T> = spin::mutex::SpinMutex<T, ServeShootdowns>;
