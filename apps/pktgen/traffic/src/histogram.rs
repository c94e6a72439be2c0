//! How long things took: counts in buckets that are narrow where values are small ("log-linear").
//!
//! **Invariant: what is told of a quantile is at least its exact value, and at most 1/128 more.** Of fixed size; recording is a few
//! instructions.

use alloc::boxed::Box;
use alloc::vec;

/// Each power of two has 2⁷ buckets.
const STEPS_SHIFT: u32 = 7;
/// The last is that of `u64::MAX`.
const BUCKETS: usize = index(u64::MAX) + 1;

/// Counts of values.
#[derive(Debug)]
pub struct Histogram {
    buckets: Box<[u64]>,
    count: u64,
    max: u64,
}

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram { buckets: vec![0; BUCKETS].into_boxed_slice(), count: 0, max: 0 }
    }
}

impl Histogram {
    /// Counts a value.
    #[inline]
    pub fn record(&mut self, value: u64) {
        if let Some(bucket) = self.buckets.get_mut(index(value)) {
            *bucket += 1;
        }
        self.count += 1;
        self.max = self.max.max(value);
    }

    /// How many values were counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The largest.
    #[must_use]
    pub fn max(&self) -> u64 {
        self.max
    }

    /// What `numerator` of `denominator` values are at most; 0 where there are none.
    #[must_use]
    pub fn quantile(&self, numerator: u64, denominator: u64) -> u64 {
        let rank = (u128::from(self.count) * u128::from(numerator)).div_ceil(u128::from(denominator.max(1)));
        let mut seen = 0_u128;
        for (index, &count) in self.buckets.iter().enumerate() {
            seen += u128::from(count);
            if count > 0 && seen >= rank {
                return last(index).min(self.max);
            }
        }
        self.max
    }
}

/// Power of two and the next bits below it.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "shifted to below 256")]
const fn index(value: u64) -> usize {
    let shift = (value | 1 << STEPS_SHIFT).ilog2() - STEPS_SHIFT;
    ((shift as usize) << STEPS_SHIFT) + (value >> shift) as usize
}

/// Largest value of a bucket.
const fn last(index: usize) -> u64 {
    let steps = 1 << STEPS_SHIFT;
    let shift = (index / steps).saturating_sub(1);
    // One less than the next bucket's first value: behind the last bucket that is 2⁶⁴, or 0.
    (((index - shift * steps) as u64 + 1) << shift).wrapping_sub(1)
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn buckets_follow_each_other_without_a_gap() {
        assert_eq!(last(BUCKETS - 1), u64::MAX);
        for bucket in 0..BUCKETS {
            assert_eq!(index(last(bucket)), bucket);
            if bucket + 1 < BUCKETS {
                assert_eq!(index(last(bucket) + 1), bucket + 1);
            }
        }
        assert!((0..256).all(|value| last(index(value)) == value));
    }

    #[test]
    fn of_nothing_nothing_is_told() {
        let histogram = Histogram::default();
        assert_eq!((histogram.quantile(50, 100), histogram.max(), histogram.count()), (0, 0, 0));
    }

    #[test]
    fn one_slow_one_in_ten_thousand_is_seen() {
        let mut histogram = Histogram::default();
        (0..9_999).for_each(|_| histogram.record(100));
        histogram.record(1_000_000);
        assert_eq!(histogram.quantile(9_999, 10_000), 100);
        assert_eq!((histogram.quantile(1, 1), histogram.max()), (1_000_000, 1_000_000));
    }

    proptest! {
        #[test]
        fn quantiles_are_near_the_exact_ones(
            values in prop::collection::vec((any::<u64>(), 0_u32..64), 1..500), per_myriad in 1_u64..=10_000,
        ) {
            let mut values: Vec<u64> = values.into_iter().map(|(value, shift)| value >> shift).collect();
            let mut histogram = Histogram::default();
            values.iter().for_each(|value| histogram.record(*value));
            values.sort_unstable();
            let rank = (values.len() as u64 * per_myriad).div_ceil(10_000);
            let exact = values[usize::try_from(rank - 1).unwrap()];
            let told = histogram.quantile(per_myriad, 10_000);
            prop_assert!(told >= exact && told - exact <= exact / 128, "{told} for {exact}");
            prop_assert_eq!(histogram.max(), *values.last().unwrap());
            prop_assert_eq!(histogram.count(), values.len() as u64);
        }
    }
}
