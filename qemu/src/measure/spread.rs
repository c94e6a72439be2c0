//! A median with what lies around it, and what may be said of two systems that were measured in turn.
//!
//! **Invariant: a difference is reported only where every round shows it.** Whatever the noise is like, the least and the greatest of
//! n values enclose the median of what they are drawn from with probability 1 − 2^(1−n): 97 % of six rounds.

use serde::Serialize;

/// A median with the least and the greatest of so many values.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Spread {
    pub(super) median: f64,
    pub(super) lo: f64,
    pub(super) hi: f64,
    pub(super) n: usize,
}

/// What ratios of a system's rates to another's say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Faster,
    Slower,
    /// No difference is shown, which is not that there is none.
    NoneShown,
}

impl Spread {
    /// Of at least one value.
    pub(super) fn of(mut values: Vec<f64>) -> Spread {
        values.sort_by(f64::total_cmp);
        let (low, high) = ((values.len() - 1) / 2, values.len() / 2);
        let median = f64::midpoint(values[low], values[high]);
        Spread { median, lo: values[0], hi: values[values.len() - 1], n: values.len() }
    }

    /// What this says, if the values are ratios of rates within rounds.
    pub(super) fn verdict(&self) -> Verdict {
        // Fewer rounds agree by chance more often than one time in twenty.
        match self {
            Spread { n: ..6, .. } => Verdict::NoneShown,
            Spread { lo: 1.0.., .. } => Verdict::Faster,
            Spread { hi, .. } if *hi < 1.0 => Verdict::Slower,
            Spread { .. } => Verdict::NoneShown,
        }
    }

    pub(super) fn shown(&self, digits: usize) -> String {
        let Spread { median, lo, hi, .. } = self;
        format!("{median:.digits$} [{lo:.digits$}, {hi:.digits$}]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRIALS: usize = 2000;

    /// A machine on which others work, too: from round to round the rate doubles or halves, within a round two runs differ by
    /// up to five percent. Gives how many trials of six rounds have each verdict on a system that takes `factor` of the time.
    fn verdicts(factor: f64) -> (usize, usize) {
        let mut random = 0x9e37_79b9_7f4a_7c15_u64;
        let mut uniform = |lo: f64, hi: f64| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            lo + (hi - lo) * f64::from((random >> 32) as u32) / f64::from(u32::MAX)
        };
        let mut counts = (0, 0);
        for _ in 0..TRIALS {
            let rounds = (0..6).map(|_| {
                let machine = uniform(0.5, 2.0);
                let mut rate = |time: f64| machine * uniform(0.975, 1.025) / time;
                rate(factor) / rate(1.0)
            });
            match Spread::of(rounds.collect()).verdict() {
                Verdict::Faster => counts.0 += 1,
                Verdict::Slower => counts.1 += 1,
                Verdict::NoneShown => {}
            }
        }
        counts
    }

    #[test]
    fn a_planted_slow_down_is_reported_and_one_that_is_not_there_is_not() {
        let (faster, slower) = verdicts(1.1);
        assert!(
            faster == 0 && slower >= TRIALS * 99 / 100,
            "{slower} of {TRIALS} slow-downs by 10 % are seen"
        );
        let (faster, slower) = verdicts(1.0);
        // 3 in 100 by chance.
        assert!(
            faster + slower <= TRIALS * 5 / 100,
            "{faster} + {slower} of {TRIALS} are seen where there is none"
        );
        let (faster, slower) = verdicts(0.9);
        assert!(slower == 0 && faster >= TRIALS * 99 / 100, "{faster} of {TRIALS}");
    }

    #[test]
    fn few_rounds_show_nothing() {
        assert_eq!(Spread::of(vec![0.5; 5]).verdict(), Verdict::NoneShown);
        assert_eq!(Spread::of(vec![0.5; 6]).verdict(), Verdict::Slower);
        assert_eq!(Spread::of(vec![0.5, 0.5, 0.5, 0.5, 0.5, 1.01]).verdict(), Verdict::NoneShown);
    }
}
