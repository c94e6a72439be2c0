//! How long to wait before an application is started again.

/// First delay, nanoseconds.
const FIRST_NS: u64 = 100_000_000;
/// Longest delay.
const LONGEST_NS: u64 = 10_000_000_000;
/// A life as long as this makes the next delay the first again.
const HEALTHY_NS: u64 = 10_000_000_000;

/// Doubles with every short life, from 100 ms to 10 s.
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    next_ns: u64,
}

impl Default for Backoff {
    fn default() -> Backoff {
        Backoff { next_ns: FIRST_NS }
    }
}

impl Backoff {
    /// The delay after a life of `lived_ns`.
    pub fn delay_after(&mut self, lived_ns: u64) -> u64 {
        if lived_ns >= HEALTHY_NS {
            *self = Backoff::default();
        }
        let delay = self.next_ns;
        self.next_ns = (delay * 2).min(LONGEST_NS);
        delay
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_to_its_limit_and_forgets_after_health() {
        let mut backoff = Backoff::default();
        let delays: Vec<u64> = (0..9).map(|_| backoff.delay_after(0) / 1_000_000).collect();
        assert_eq!(delays, [100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000]);
        assert_eq!(backoff.delay_after(HEALTHY_NS - 1), LONGEST_NS);
        assert_eq!(backoff.delay_after(HEALTHY_NS), FIRST_NS);
        assert_eq!(backoff.delay_after(0), 2 * FIRST_NS);
    }
}
