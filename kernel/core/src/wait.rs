//! Waiting for hardware, never for ever.
//!
//! **Invariant: every wait ends, by its condition or by its limit.**

#![forbid(unsafe_code)]

/// A clock that runs.
pub trait Clock {
    /// Microseconds since some moment; never goes back.
    fn now_us(&self) -> u64;
}

/// The condition did not come true in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}: not within {limit_us} us")]
pub struct TimedOut {
    /// What was waited for.
    pub what: &'static str,
    /// How long.
    pub limit_us: u64,
}

/// Asks `condition` again and again until it is true; at least once, and once more after the limit.
///
/// # Errors
///
/// [`TimedOut`] where it is still false after `limit_us`.
pub fn wait_until(
    what: &'static str,
    limit_us: u64,
    clock: &dyn Clock,
    mut condition: impl FnMut() -> bool,
) -> Result<(), TimedOut> {
    let deadline = clock.now_us().saturating_add(limit_us);
    loop {
        // Read the clock first: a late answer still counts if the condition was asked after the deadline.
        let is_late = clock.now_us() >= deadline;
        if condition() {
            return Ok(());
        }
        if is_late {
            return Err(TimedOut { what, limit_us });
        }
        core::hint::spin_loop();
    }
}

/// Lets `us` microseconds pass, as a specification demands.
pub fn pause(us: u64, clock: &dyn Clock) {
    let end = clock.now_us().saturating_add(us);
    while clock.now_us() < end {
        core::hint::spin_loop();
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::cell::Cell;

    use super::*;

    /// A clock on which each look takes ten microseconds.
    #[derive(Default)]
    pub(crate) struct TestClock(Cell<u64>);

    impl Clock for TestClock {
        fn now_us(&self) -> u64 {
            self.0.set(self.0.get() + 10);
            self.0.get()
        }
    }

    #[test]
    fn ends_with_the_condition_or_the_limit() {
        let clock = TestClock::default();
        let mut asked = 0;
        let third = || {
            asked += 1;
            asked == 3
        };
        assert_eq!(wait_until("third", 1000, &clock, third), Ok(()));
        assert_eq!(asked, 3);
        assert_eq!(
            wait_until("never", 1000, &clock, || false),
            Err(TimedOut { what: "never", limit_us: 1000 })
        );
        assert_eq!(wait_until("at once", 0, &clock, || true), Ok(()));
    }

    #[test]
    fn a_pause_is_at_least_as_long_as_asked() {
        let clock = TestClock::default();
        let before = clock.now_us();
        pause(5000, &clock);
        assert!(clock.now_us() - before > 5000);
    }
}
