//! How long requests took: counts in buckets, 16 for each power of two, so that a value is told to 1/16.

use alloc::boxed::Box;

const STEPS_SHIFT: u32 = 4;
const BUCKETS: usize = 64 << STEPS_SHIFT;

pub(crate) struct Latency {
    buckets: Box<[u32; BUCKETS]>,
    count: u64,
    max: u64,
}

impl Latency {
    pub(crate) fn new() -> Latency {
        Latency { buckets: Box::new([0; BUCKETS]), count: 0, max: 0 }
    }

    #[inline]
    pub(crate) fn record(&mut self, ticks: u64) {
        if let Some(bucket) = self.buckets.get_mut(bucket(ticks)) {
            *bucket += 1;
        }
        self.count += 1;
        self.max = self.max.max(ticks);
    }

    pub(crate) fn max(&self) -> u64 {
        self.max
    }

    /// What `per_mille` of the requests took at most: the start of a bucket.
    pub(crate) fn percentile(&self, per_mille: u64) -> u64 {
        let mut left = self.count * per_mille / 1000;
        for (index, &count) in self.buckets.iter().enumerate() {
            match left.checked_sub(count.into()) {
                Some(rest) => left = rest,
                None => return start(index),
            }
        }
        self.max
    }
}

/// Power of two and the next bits below it.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "shifted to below 32")]
fn bucket(ticks: u64) -> usize {
    let shift = (ticks | 1 << STEPS_SHIFT).ilog2() - STEPS_SHIFT;
    ((shift as usize) << STEPS_SHIFT) + (ticks >> shift) as usize
}

/// Least value of a bucket.
fn start(index: usize) -> u64 {
    let steps = 1 << STEPS_SHIFT;
    let shift = (index / steps).saturating_sub(1);
    ((index - shift * steps) as u64) << shift
}
