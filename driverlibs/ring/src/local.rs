//! A ring that only the driver sees.
#![expect(unsafe_code, reason = "masked indices need no bounds check")]

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::marker::PhantomData;
use core::ptr::NonNull;

use crate::MAX_ENTRIES;

/// A power-of-two number of `T`, indexed by the low bits of any number.
///
/// **Invariant: `slots` has `mask + 1` elements.**
pub struct LocalRing<T> {
    slots: Box<[T]>,
    mask: u16,
}

impl<T> LocalRing<T> {
    /// Makes a ring of `entries` slots, slot `i` holding `slot(i)`; `None` unless `entries` is a power of two
    /// and at most [`MAX_ENTRIES`].
    pub fn new(entries: u16, slot: impl FnMut(u16) -> T) -> Option<LocalRing<T>> {
        let is_valid = entries.is_power_of_two() && entries <= MAX_ENTRIES;
        is_valid.then(|| LocalRing { slots: (0..entries).map(slot).collect(), mask: entries - 1 })
    }

    /// The same ring, for a loop: what it consists of may stay in registers there.
    #[inline]
    pub fn view(&mut self) -> LocalView<'_, T> {
        let base = NonNull::from(&mut *self.slots).cast();
        LocalView { base, mask: self.mask.into(), ring: PhantomData }
    }

    /// Makes a ring of slots that exist already; `None` unless their number is a power of two and at most
    /// [`MAX_ENTRIES`].
    pub fn of(slots: Vec<T>) -> Option<LocalRing<T>> {
        let entries = u16::try_from(slots.len()).ok()?;
        let is_valid = entries.is_power_of_two() && entries <= MAX_ENTRIES;
        is_valid.then(|| LocalRing { slots: slots.into_boxed_slice(), mask: entries - 1 })
    }

    /// The slot that `index` falls on.
    #[inline]
    pub fn at(&mut self, index: u16) -> &mut T {
        // SAFETY: the masked index is at most `mask`, which is below the length (type invariant).
        unsafe { self.slots.get_unchecked_mut(usize::from(index & self.mask)) }
    }
}

/// A [`LocalRing`] by value.
///
/// **Invariant: `base` points to `mask + 1` slots, which nothing else reaches during `'a`.**
pub struct LocalView<'a, T> {
    base: NonNull<T>,
    mask: usize,
    ring: PhantomData<&'a mut [T]>,
}

impl<T> LocalView<'_, T> {
    /// The slot that `index` falls on.
    #[inline]
    pub fn at(&mut self, index: usize) -> &mut T {
        // SAFETY: the masked index is at most `mask`, so the slot is in the ring (type invariant).
        let slot = unsafe { self.base.add(index & self.mask) };
        // SAFETY: a slot is a `T`, and `self` is the only way to it (type invariant).
        unsafe { &mut *slot.as_ptr() }
    }
}
