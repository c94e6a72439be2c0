//! Time.
#![expect(unsafe_code, reason = "the time-stamp counter is read by an intrinsic that is unsafe to call")]

use rustix::time::{ClockId, Timespec, clock_gettime};
use weir_hal::Clock;

/// Linux's monotonic clock, read without entering the kernel.
#[derive(Clone, Copy, Debug, Default)]
pub struct MonotonicClock;

impl Clock for MonotonicClock {
    fn now_ns(&self) -> u64 {
        let now = clock_gettime(ClockId::Monotonic);
        // It starts at 0 when the machine does, so neither part is negative.
        let part = |value: i64| u64::try_from(value).unwrap_or(0);
        part(now.tv_sec) * 1_000_000_000 + part(now.tv_nsec)
    }
}

/// The CPU's time-stamp counter, for measuring what takes less than a clock's reading: about 20 cycles.
#[must_use]
#[inline]
pub fn cycles() -> u64 {
    // SAFETY: RDTSC reads a counter and touches no memory. Linux leaves it enabled for programs.
    unsafe { core::arch::x86_64::_rdtsc() }
}

/// How long it is until `deadline_ns`; `None` where there is no deadline.
pub(crate) fn until(deadline_ns: u64) -> Option<Timespec> {
    if deadline_ns == u64::MAX {
        return None;
    }
    let left_ns = deadline_ns.saturating_sub(MonotonicClock.now_ns());
    let seconds = i64::try_from(left_ns / 1_000_000_000).unwrap_or(i64::MAX);
    let nanoseconds = i64::try_from(left_ns % 1_000_000_000).unwrap_or(0);
    Some(Timespec { tv_sec: seconds, tv_nsec: nanoseconds })
}
