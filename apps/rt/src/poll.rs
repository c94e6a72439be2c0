//! Poll, and sleep when polling does not pay.
//!
//! A data path spins while packets come and sleeps when they stop. How long it spins before it sleeps adapts:
//! a sleep that ended soon says "should have spun", a long one says "spinning was wasted".
//! **Invariant: the time spun in vain before a sleep stays between the two limits given.**
//!
//! ```text
//! loop {
//!     let busy = work();
//!     if poller.step(busy) == Step::Sleep {
//!         let seen = event.count();                   // first the counter,
//!         arm_interrupts();
//!         if !has_work() { poller.sleep(|| event.wait(seen, u64::MAX)); }   // then the last look, then the sleep
//!         disarm_interrupts();
//!     }
//! }
//! ```

use crate::clock::now_ns;
use crate::thread;

/// What a data path does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Look for work again.
    Poll,
    /// Arm the interrupts, look once more, sleep.
    Sleep,
}

/// The adaptive waiting of one thread.
#[derive(Debug)]
pub struct Poller {
    pace: Pace,
    sleep_entries: u64,
}

impl Poller {
    /// Spins at least `min_ns` and at most `max_ns` in vain before it sleeps.
    #[must_use]
    pub fn new(min_ns: u64, max_ns: u64) -> Poller {
        Poller { pace: Pace::new(min_ns, max_ns), sleep_entries: 0 }
    }

    /// Says what to do after a look for work that found some (`busy`) or none. No kernel entry.
    #[inline]
    pub fn step(&mut self, busy: bool) -> Step {
        if busy {
            self.pace.idle_since = None;
            return Step::Poll;
        }
        self.pace.idle(now_ns())
    }

    /// Runs `wait`, which sleeps until an event, an interrupt or a deadline; counts its kernel entries; adapts.
    pub fn sleep<R>(&mut self, wait: impl FnOnce() -> R) -> R {
        let (entries, start_ns) = (thread::kernel_entries(), now_ns());
        let result = wait();
        self.pace.slept(now_ns().saturating_sub(start_ns));
        self.sleep_entries += thread::kernel_entries().wrapping_sub(entries);
        result
    }

    /// Kernel entries of the sleeps so far: the calls, and the interrupts that came meanwhile.
    #[must_use]
    pub fn sleep_entries(&self) -> u64 {
        self.sleep_entries
    }
}

/// The pure part: when to sleep.
#[derive(Debug)]
struct Pace {
    min_ns: u64,
    max_ns: u64,
    /// How long to spin in vain now.
    spin_ns: u64,
    /// When the present idle time began.
    idle_since: Option<u64>,
}

impl Pace {
    fn new(min_ns: u64, max_ns: u64) -> Pace {
        Pace { min_ns, max_ns: max_ns.max(min_ns), spin_ns: min_ns, idle_since: None }
    }

    fn idle(&mut self, now_ns: u64) -> Step {
        let since = *self.idle_since.get_or_insert(now_ns);
        if now_ns.saturating_sub(since) < self.spin_ns { Step::Poll } else { Step::Sleep }
    }

    /// Adapts to a sleep of `ns`: shorter than the longest spin, spinning would have caught it.
    fn slept(&mut self, ns: u64) {
        let next = if ns <= self.max_ns { self.spin_ns.saturating_mul(2) } else { self.spin_ns / 2 };
        self.spin_ns = next.clamp(self.min_ns, self.max_ns);
        self.idle_since = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spins_for_its_time_then_sleeps() {
        let mut pace = Pace::new(1_000, 50_000);
        assert_eq!(pace.idle(10_000), Step::Poll);
        assert_eq!(pace.idle(10_999), Step::Poll);
        assert_eq!(pace.idle(11_000), Step::Sleep);
        pace.slept(1);
        assert_eq!(pace.idle(20_000), Step::Poll);
        assert_eq!(pace.idle(21_999), Step::Poll, "a short sleep doubles the spin");
        assert_eq!(pace.idle(22_000), Step::Sleep);
    }

    #[test]
    fn stays_within_its_limits() {
        let mut pace = Pace::new(1_000, 50_000);
        for _ in 0..100 {
            pace.slept(10);
        }
        assert_eq!(pace.spin_ns, 50_000);
        for _ in 0..100 {
            pace.slept(1_000_000);
        }
        assert_eq!(pace.spin_ns, 1_000);
        assert_eq!(Pace::new(9, 3).max_ns, 9);
    }
}
