//! How often something may happen: a budget per window of time, against storms.
//!
//! **Invariant: in one window a meter finds at most two storms, whatever happens how often**, so what is done against
//! one is done a bounded number of times.
//!
//! Counts only; what is done against a storm is the caller's business.

#![forbid(unsafe_code)]

/// Length of a window.
pub const WINDOW_NS: u64 = 100_000_000;
/// Windows in a row with a storm in each, after which it counts as endless: a second.
const ENDLESS_WINDOWS: u32 = 10;

/// Counts one kind of event of one source.
#[derive(Clone, Debug)]
pub struct Meter {
    budget: u32,
    seen: u32,
    window_end_ns: u64,
    /// Windows in a row, this one included, that exceeded the budget.
    storms: u32,
}

/// What an event means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finding {
    /// Nothing to be done.
    Calm,
    /// The first event above the budget: nothing more of this should come until the window ends.
    Storm,
    /// The storm goes on in spite of what was done: in ten windows in a row, or as many again in this one.
    Endless,
}

impl Meter {
    /// A meter that allows `budget` events per [`WINDOW_NS`].
    #[must_use]
    pub const fn new(budget: u32) -> Meter {
        Meter { budget, seen: 0, window_end_ns: 0, storms: 0 }
    }

    /// Counts an event at `now_ns`.
    pub fn count(&mut self, now_ns: u64) -> Finding {
        if now_ns >= self.window_end_ns {
            self.begin_window(now_ns);
        }
        self.seen = self.seen.saturating_add(1);
        if self.seen == self.budget.saturating_add(1) {
            self.storms = self.storms.saturating_add(1);
            return if self.storms >= ENDLESS_WINDOWS { Finding::Endless } else { Finding::Storm };
        }
        let is_twice = self.seen.checked_sub(self.budget) == self.budget.checked_add(2);
        if is_twice { Finding::Endless } else { Finding::Calm }
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

    fn begin_window(&mut self, now_ns: u64) {
        let is_next = now_ns - self.window_end_ns < WINDOW_NS;
        if self.seen <= self.budget || !is_next {
            self.storms = 0;
        }
        self.seen = 0;
        self.window_end_ns = now_ns.saturating_add(WINDOW_NS);
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
    fn ten_windows_in_a_row_are_endless_and_a_calm_one_ends_the_row() {
        let mut meter = Meter::new(2);
        let mut now_ns = 0;
        let mut window = |meter: &mut Meter, count| {
            now_ns += WINDOW_NS;
            burst(meter, now_ns, count)
        };
        for _ in 0..9 {
            assert_eq!(window(&mut meter, 3), [Finding::Storm]);
        }
        assert_eq!(window(&mut meter, 2), []);
        for _ in 0..9 {
            assert_eq!(window(&mut meter, 3), [Finding::Storm]);
        }
        assert_eq!(window(&mut meter, 3), [Finding::Endless]);
        assert_eq!(burst(&mut meter, now_ns + 3 * WINDOW_NS, 3), [Finding::Storm], "a pause ends the row");
    }
}
