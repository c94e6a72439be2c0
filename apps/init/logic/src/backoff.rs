//! How long to wait before an application is started again.

/// Delay after the second short life in a row, nanoseconds; after the first there is none.
const FIRST_NS: u64 = 100_000_000;
/// Longest delay.
const LONGEST_NS: u64 = 10_000_000_000;
/// A life so many times as long as the delay that would follow makes the next delay the first again.
const HEALTHY_DELAYS: u64 = 10;
/// And so does any life as long as this.
const HEALTHY_NS: u64 = 10_000_000_000;

/// None at first; then doubles with every short life, from 100 ms to 10 s.
///
/// What ends once is back as soon as its devices are reset; what ends again at once is held back, the longer the oftener.
#[derive(Clone, Copy, Debug, Default)]
pub struct Backoff {
    next_ns: u64,
}

impl Backoff {
    /// The delay after a life of `lived_ns`.
    pub fn delay_after(&mut self, lived_ns: u64) -> u64 {
        if lived_ns >= (HEALTHY_DELAYS * self.next_ns).min(HEALTHY_NS) {
            *self = Backoff::default();
        }
        let delay = self.next_ns;
        self.next_ns = (delay * 2).clamp(FIRST_NS, LONGEST_NS);
        delay
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn doubles_to_its_limit_and_forgets_after_health() {
        let mut backoff = Backoff::default();
        let delays: Vec<u64> = (0..10).map(|_| backoff.delay_after(0) / MS).collect();
        assert_eq!(delays, [0, 100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000]);
        assert_eq!(backoff.delay_after(HEALTHY_NS - 1), LONGEST_NS);
        assert_eq!(backoff.delay_after(HEALTHY_NS), 0);
        assert_eq!(backoff.delay_after(0), FIRST_NS);
    }

    #[test]
    fn ends_a_second_apart_are_not_held_against_it() {
        let mut backoff = Backoff::default();
        assert_eq!([1000 * MS; 5].map(|lived| backoff.delay_after(lived)), [0; 5]);
        assert_eq!([0, 999 * MS, 1999 * MS].map(|lived| backoff.delay_after(lived) / MS), [100, 200, 400]);
        assert_eq!(backoff.delay_after(8000 * MS), 0);
    }
}
