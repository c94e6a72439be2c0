//! Which interrupt vectors of a CPU are taken.
//!
//! **Invariant: a vector is given to one user at a time, and is always in [`USABLE`].**
//!
//! One value per CPU. The bits are kept by hand because `bitvec` 1.1 does not pass Miri. Does not touch the interrupt descriptor table or the interrupt controllers, does not lock.

#![forbid(unsafe_code)]

use core::ops::RangeInclusive;

/// Vectors that devices can get. Below are the CPU's exceptions and the legacy controllers' vectors; above the
/// kernel's own (timer, inter-processor, spurious), which thereby have the higher priority.
pub const USABLE: RangeInclusive<u8> = 0x30..=0xef;

/// An interrupt vector of one CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Vector(pub u8);

/// Why a vector was not freed. Both are the caller's fault; nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VectorError {
    /// It is not one that is ever given out.
    #[error("vector {vector:#x} is reserved")]
    Reserved {
        /// Its number.
        vector: u8,
    },
    /// Nobody has it.
    #[error("vector {vector:#x} is not allocated")]
    NotAllocated {
        /// Its number.
        vector: u8,
    },
}

/// The vectors of one CPU.
#[derive(Clone, Debug)]
pub struct CpuVectors {
    /// One bit per vector, from the first usable one on.
    taken: [u64; VECTORS / 64],
}

const VECTORS: usize = (*USABLE.end() - *USABLE.start()) as usize + 1;

impl Default for CpuVectors {
    fn default() -> CpuVectors {
        CpuVectors::new()
    }
}

impl CpuVectors {
    /// All free.
    #[must_use]
    pub const fn new() -> CpuVectors {
        CpuVectors { taken: [0; VECTORS / 64] }
    }

    /// Takes the lowest free vector; `None` where none is left.
    pub fn allocate(&mut self) -> Option<Vector> {
        let (index, word) = self.taken.iter_mut().enumerate().find(|(_, word)| **word != u64::MAX)?;
        let bit = word.trailing_ones() as usize;
        *word |= 1 << bit;
        u8::try_from(64 * index + bit).ok()?.checked_add(*USABLE.start()).map(Vector)
    }

    /// Gives a vector back.
    ///
    /// # Errors
    ///
    /// [`VectorError::Reserved`], [`VectorError::NotAllocated`].
    pub fn free(&mut self, vector: Vector) -> Result<(), VectorError> {
        let Vector(vector) = vector;
        if !USABLE.contains(&vector) {
            return Err(VectorError::Reserved { vector });
        }
        let index = vector - USABLE.start();
        let (word, mask) = (&mut self.taken[usize::from(index / 64)], 1 << (index % 64));
        if *word & mask == 0 {
            return Err(VectorError::NotAllocated { vector });
        }
        *word &= !mask;
        Ok(())
    }

    /// How many are free.
    #[must_use]
    pub fn free_count(&self) -> u32 {
        self.taken.iter().map(|word| word.count_zeros()).sum()
    }
}

// There are no bits beyond the usable vectors, so `allocate` cannot give one of them.
const _: () = assert!(VECTORS.is_multiple_of(64));

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::testing::cases;

    #[test]
    fn every_usable_vector_once_and_then_none() {
        let mut vectors = CpuVectors::new();
        assert_eq!(vectors.free_count(), 0xc0);
        for expected in 0x30..=0xef {
            assert_eq!(vectors.allocate(), Some(Vector(expected)));
        }
        assert_eq!((vectors.allocate(), vectors.free_count()), (None, 0));
        vectors.free(Vector(0x77)).unwrap();
        assert_eq!(vectors.allocate(), Some(Vector(0x77)));
    }

    #[test]
    fn wrong_frees_are_refused() {
        let mut vectors = CpuVectors::new();
        for vector in [0, 0x2f, 0xf0, 0xff] {
            assert_eq!(vectors.free(Vector(vector)), Err(VectorError::Reserved { vector }));
        }
        assert_eq!(vectors.free(Vector(0x30)), Err(VectorError::NotAllocated { vector: 0x30 }));
        let vector = vectors.allocate().unwrap();
        vectors.free(vector).unwrap();
        assert_eq!(vectors.free(vector), Err(VectorError::NotAllocated { vector: 0x30 }));
    }

    proptest! {
        #![proptest_config(cases())]

        #[test]
        fn behaves_as_the_model(steps in prop::collection::vec(prop::option::of(any::<u8>()), 0..600)) {
            let mut vectors = CpuVectors::new();
            let mut free: BTreeSet<u8> = USABLE.collect();
            for step in steps {
                match step {
                    None => prop_assert_eq!(vectors.allocate(), free.pop_first().map(Vector)),
                    Some(vector) if !USABLE.contains(&vector) => {
                        prop_assert_eq!(vectors.free(Vector(vector)), Err(VectorError::Reserved { vector }));
                    }
                    Some(vector) => {
                        let expected = free.insert(vector).then_some(()).ok_or(VectorError::NotAllocated { vector });
                        // Inserted: it was taken, so freeing works.
                        prop_assert_eq!(vectors.free(Vector(vector)), expected);
                    }
                }
                prop_assert_eq!(vectors.free_count() as usize, free.len());
            }
        }
    }
}
