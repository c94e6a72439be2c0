//! How often something may happen: a budget per window of time, against storms.
//!
//! **Invariant: in one window a meter finds at most two storms, whatever happens how often**, so what is done against
//! one is done a bounded number of times.
//!
//! Counts only; what is done against a storm is the caller's business.

#![forbid(unsafe_code)]

/// Length of a window.
pub const WINDOW_NS: u64 = 100_000_000;
/// Storms in a row that count as endless.
const ENDLESS_STORMS: u32 = 10;
/// A longer calm ends a row.
const CALM_NS: u64 = 10 * WINDOW_NS;

/// Counts one kind of event of one source.
#[derive(Clone, Debug)]
pub struct Meter {
    budget: u32,
    seen: u32,
    window_end_ns: u64,
    last_storm_ns: u64,
    /// Storms in a row, up to the last.
    storms: u32,
}

/// What an event means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finding {
    /// Nothing to be done.
    Calm,
    /// The first event above the budget: nothing more of this should come until the window ends.
    Storm,
    /// The storms do not end: the tenth in a row, each within a second of the one before, or as many events again in
    /// this window in spite of what was done.
    Endless,
}

impl Meter {
    /// A meter that allows `budget` events per [`WINDOW_NS`].
    #[must_use]
    pub const fn new(budget: u32) -> Meter {
        Meter { budget, seen: 0, window_end_ns: 0, last_storm_ns: 0, storms: 0 }
    }

    /// Counts an event at `now_ns`.
    pub fn count(&mut self, now_ns: u64) -> Finding {
        if now_ns >= self.window_end_ns {
            self.seen = 0;
            self.window_end_ns = now_ns.saturating_add(WINDOW_NS);
        }
        self.seen = self.seen.saturating_add(1);
        if self.seen == self.budget.saturating_add(1) {
            return if self.count_storm(now_ns) >= ENDLESS_STORMS {
                Finding::Endless
            } else {
                Finding::Storm
            };
        }
        let excess = self.seen.saturating_sub(self.budget);
        if self.budget.checked_add(2) == Some(excess) { Finding::Endless } else { Finding::Calm }
    }

    /// When the present window ends.
    #[must_use]
    pub fn window_end_ns(&self) -> u64 {
        self.window_end_ns
    }

    /// Whether the present storm is the first in a row.
    #[must_use]
    pub fn is_first_storm(&self) -> bool {
        self.storms == 1
    }

    fn count_storm(&mut self, now_ns: u64) -> u32 {
        if now_ns - self.last_storm_ns > CALM_NS {
            self.storms = 0;
        }
        self.last_storm_ns = now_ns;
        self.storms = self.storms.saturating_add(1);
        self.storms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `count` events at `now_ns` find, but for calm.
    fn burst(meter: &mut Meter, now_ns: u64, count: u32) -> Vec<Finding> {
        (0..count).map(|_| meter.count(now_ns)).filter(|finding| *finding != Finding::Calm).collect()
    }

    #[test]
    fn a_budget_is_per_window() {
        let mut meter = Meter::new(3);
        assert_eq!(burst(&mut meter, 5, 3), []);
        assert_eq!(meter.window_end_ns(), 5 + WINDOW_NS);
        assert_eq!(burst(&mut meter, 5 + WINDOW_NS, 3), []);
        assert_eq!(burst(&mut meter, 6 + WINDOW_NS, 1), [Finding::Storm]);
        assert!(meter.is_first_storm());
    }

    #[test]
    fn a_million_events_are_two_findings() {
        let mut meter = Meter::new(64);
        assert_eq!(burst(&mut meter, 0, 1_000_000), [Finding::Storm, Finding::Endless]);
        assert_eq!(burst(&mut Meter::new(u32::MAX), 0, 1_000_000), []);
        assert_eq!(burst(&mut Meter::new(0), 0, 10), [Finding::Storm, Finding::Endless]);
    }

    #[test]
    fn ten_storms_in_a_row_are_endless_and_a_calm_second_ends_the_row() {
        let mut meter = Meter::new(2);
        let mut now_ns = 0;
        let mut storm_after = |meter: &mut Meter, windows| {
            now_ns += windows * WINDOW_NS;
            burst(meter, now_ns, 3)
        };
        for pause in [1, 1, 5, 10, 1, 1, 2, 1, 1] {
            assert_eq!(storm_after(&mut meter, pause), [Finding::Storm]);
        }
        assert_eq!(storm_after(&mut meter, 11), [Finding::Storm], "the first of a new row");
        assert!(meter.is_first_storm());
        for _ in 0..8 {
            assert_eq!(storm_after(&mut meter, 1), [Finding::Storm]);
        }
        assert_eq!(storm_after(&mut meter, 1), [Finding::Endless]);
    }
}
