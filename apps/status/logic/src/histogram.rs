//! How long something took, counted in buckets of powers of two.

/// Buckets with a bound: 2^0 to 2^21 microseconds.
pub const BOUNDS: usize = 22;

/// A histogram of durations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Histogram {
    /// Durations up to each bound and above the one before; last, those above all.
    counts: [u64; BOUNDS + 1],
    sum_ns: u64,
}

impl Histogram {
    /// The bound of bucket `index`: the longest duration in it.
    #[must_use]
    pub const fn bound_us(index: usize) -> u64 {
        1 << index
    }

    /// Counts a duration.
    pub fn add(&mut self, duration_ns: u64) {
        let fits = |index: &usize| duration_ns <= Histogram::bound_us(*index) * 1000;
        let index = (0..BOUNDS).find(fits).unwrap_or(BOUNDS);
        self.counts[index] = self.counts[index].saturating_add(1);
        self.sum_ns = self.sum_ns.saturating_add(duration_ns);
    }

    /// How many are in each bucket.
    #[must_use]
    pub fn counts(&self) -> &[u64; BOUNDS + 1] {
        &self.counts
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// All durations together.
    #[must_use]
    pub fn sum_ns(&self) -> u64 {
        self.sum_ns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_in_the_bucket_that_ends_at_or_above_them() {
        let mut histogram = Histogram::default();
        for (duration_ns, index) in
            [(0, 0), (1000, 0), (1001, 1), (2000, 1), (2001, 2), (2_097_152_000, 21), (u64::MAX, 22)]
        {
            let before = histogram.counts()[index];
            histogram.add(duration_ns);
            assert_eq!(histogram.counts()[index], before + 1, "{duration_ns}");
        }
        assert_eq!((histogram.count(), histogram.sum_ns()), (7, u64::MAX));
    }
}
