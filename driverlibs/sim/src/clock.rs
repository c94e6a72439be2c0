//! Time that passes when it is looked at.

use std::sync::atomic::{AtomicU64, Ordering};

use weir_hal::Clock;

/// A clock that each reading moves on by one microsecond: bounded waits end, and runs are repeatable.
#[derive(Default)]
pub struct SimClock {
    now_us: AtomicU64,
}

impl Clock for SimClock {
    fn now_ns(&self) -> u64 {
        self.now_us.fetch_add(1, Ordering::Relaxed) * 1000
    }
}
