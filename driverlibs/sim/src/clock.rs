//! Time that passes when it is looked at.

use std::sync::atomic::{AtomicU64, Ordering};

use weir_hal::Clock;

/// A clock that each reading moves on: bounded waits end, and runs are repeatable.
pub struct SimClock {
    now_us: AtomicU64,
    step_us: u64,
}

impl SimClock {
    /// Moved on by `step_us` microseconds by each reading; the default is one.
    #[must_use]
    pub fn by(step_us: u64) -> SimClock {
        SimClock { now_us: AtomicU64::new(0), step_us }
    }
}

impl Default for SimClock {
    fn default() -> SimClock {
        SimClock::by(1)
    }
}

impl Clock for SimClock {
    fn now_ns(&self) -> u64 {
        self.now_us.fetch_add(self.step_us, Ordering::Relaxed) * 1000
    }
}
