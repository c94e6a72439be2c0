//! How many frames a port may send in a second.

/// Nanoseconds of a second.
const SECOND_NS: u64 = 1_000_000_000;
/// The burst that a limit allows, as a part of a second: a hundredth.
const BURST_PARTS: u64 = 100;

/// A limit: credit grows with time, up to a hundredth of a second's; each frame costs one. Frames may be taken while there
/// is credit, a whole burst even where there is less: what is overdrawn is paid back first.
#[derive(Clone, Copy, Debug)]
pub struct Limit {
    /// Frames per second; `None`: as many as it likes.
    per_second: Option<u64>,
    /// In frames times [`SECOND_NS`].
    credit: i128,
    then_ns: u64,
}

impl Limit {
    /// A limit of so many frames per second, or none.
    #[must_use]
    pub fn new(per_second: Option<u64>) -> Limit {
        Limit { per_second, credit: 0, then_ns: 0 }
    }

    /// Whether frames may be taken at `now_ns`.
    #[inline]
    pub fn allows(&mut self, now_ns: u64) -> bool {
        let Some(per_second) = self.per_second else { return true };
        let passed_ns = now_ns.saturating_sub(self.then_ns);
        self.then_ns = now_ns;
        let most = i128::from((per_second / BURST_PARTS).max(1)) * i128::from(SECOND_NS);
        let grown = i128::from(passed_ns) * i128::from(per_second);
        self.credit = (self.credit + grown).min(most);
        self.credit > 0
    }

    /// Counts frames that were taken.
    #[inline]
    pub fn take(&mut self, frames: u64) {
        if self.per_second.is_some() {
            self.credit -= i128::from(frames) * i128::from(SECOND_NS);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Frames taken in bursts of 32 by who asks every 10 µs for `seconds`.
    fn taken(limit: &mut Limit, seconds: u64) -> u64 {
        let mut taken = 0;
        for look in 1..=seconds * 100_000 {
            if limit.allows(look * 10_000) {
                limit.take(32);
                taken += 32;
            }
        }
        taken
    }

    #[test]
    fn a_limit_is_kept_over_time_and_none_is_none() {
        let taken_in_three = taken(&mut Limit::new(Some(1000)), 3);
        assert!((3000 - 32..=3000 + 10 + 32).contains(&taken_in_three), "{taken_in_three}");
        assert_eq!(taken(&mut Limit::new(None), 1), 100_000 * 32);
        assert_eq!(taken(&mut Limit::new(Some(0)), 2), 0);
    }

    #[test]
    fn silence_saves_up_no_more_than_a_burst() {
        let mut limit = Limit::new(Some(1000));
        assert!(limit.allows(3600 * SECOND_NS));
        limit.take(11);
        assert!(!limit.allows(3600 * SECOND_NS), "a hundredth of a second's are ten");
    }
}
