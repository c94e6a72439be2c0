//! Time.

use rustix::time::{ClockId, clock_gettime};

/// Linux's monotonic clock. Reading it enters the kernel only where Linux itself keeps time by another device than the
/// CPU's counter.
#[derive(Clone, Copy, Debug, Default)]
pub struct MonotonicClock;

impl weir_hal::Clock for MonotonicClock {
    fn now_ns(&self) -> u64 {
        let now = clock_gettime(ClockId::Monotonic);
        let (seconds, ns) = (u64::try_from(now.tv_sec), u64::try_from(now.tv_nsec));
        seconds.unwrap_or(0).saturating_mul(1_000_000_000).saturating_add(ns.unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_hal::Clock;

    #[test]
    fn it_goes_on() {
        let start_ns = MonotonicClock.now_ns();
        std::thread::sleep(std::time::Duration::from_millis(2));
        assert!(MonotonicClock.now_ns() >= start_ns + 2_000_000);
    }
}
