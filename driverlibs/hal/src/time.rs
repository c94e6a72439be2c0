//! Time, and waiting for hardware within a bound.

use crate::Error;

/// Where time comes from.
pub trait Clock {
    /// Nanoseconds since a fixed moment; never goes back. No kernel entry.
    fn now_ns(&self) -> u64;
}

impl<C: Clock + ?Sized> Clock for &C {
    fn now_ns(&self) -> u64 {
        (**self).now_ns()
    }
}

/// Asks `condition` until it holds, for `limit_us` microseconds at most. Every wait for hardware is this one.
///
/// # Errors
/// `TimedOut`; the condition was asked once more after the limit had passed.
pub fn wait_until(
    clock: &impl Clock,
    limit_us: u64,
    mut condition: impl FnMut() -> bool,
) -> Result<(), Error> {
    let deadline = clock.now_ns().saturating_add(limit_us.saturating_mul(1000));
    loop {
        let is_late = clock.now_ns() >= deadline;
        if condition() {
            return Ok(());
        }
        if is_late {
            return Err(Error::TimedOut { limit_us });
        }
        core::hint::spin_loop();
    }
}
