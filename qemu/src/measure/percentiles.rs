//! Percentiles of raw samples.

use serde::Serialize;

/// What most took, what almost all took, what one took.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Percentiles {
    /// Half took no longer.
    pub p50: u64,
    /// 99 of 100 took no longer.
    pub p99: u64,
    /// None took longer.
    pub max: u64,
}

impl Percentiles {
    /// Those of `samples`, by nearest rank; `None` where there are none.
    #[must_use]
    pub fn of(mut samples: Vec<u64>) -> Option<Percentiles> {
        samples.sort_unstable();
        let max = *samples.last()?;
        let rank = |percent: usize| samples[(samples.len() * percent).div_ceil(100) - 1];
        Some(Percentiles { p50: rank(50), p99: rank(99), max })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_rank_is_a_sample() {
        let backwards = (1..=1000).rev().collect();
        assert_eq!(Percentiles::of(backwards), Some(Percentiles { p50: 500, p99: 990, max: 1000 }));
        assert_eq!(Percentiles::of(vec![4]), Some(Percentiles { p50: 4, p99: 4, max: 4 }));
        assert_eq!(Percentiles::of(vec![9, 2]), Some(Percentiles { p50: 2, p99: 9, max: 9 }));
        assert_eq!(Percentiles::of(vec![]), None);
    }
}
