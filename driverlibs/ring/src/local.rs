//! A ring that only the driver sees.
#![expect(unsafe_code, reason = "masked indices need no bounds check")]

use alloc::boxed::Box;

use crate::MAX_ENTRIES;

/// A power-of-two number of `T`, indexed by the low bits of any number.
pub struct LocalRing<T> {
    /// Never empty; its length is a power of two.
    slots: Box<[T]>,
}

impl<T> LocalRing<T> {
    /// Makes a ring of `entries` slots, slot `i` holding `slot(i)`; `None` unless `entries` is a power of two
    /// and at most [`MAX_ENTRIES`].
    pub fn new(entries: u16, slot: impl FnMut(u16) -> T) -> Option<LocalRing<T>> {
        let is_valid = entries.is_power_of_two() && entries <= MAX_ENTRIES;
        is_valid.then(|| LocalRing { slots: (0..entries).map(slot).collect() })
    }

    /// The slot that `index` falls on.
    #[inline]
    pub fn at(&mut self, index: u16) -> &mut T {
        let masked = usize::from(index) & (self.slots.len() - 1);
        // SAFETY: the length is a power of two (field invariant), so the masked index is below it.
        unsafe { self.slots.get_unchecked_mut(masked) }
    }
}
