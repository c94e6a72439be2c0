//! Rings and words that the device sees.
#![expect(unsafe_code, reason = "device memory is reached by pointers")]

use core::marker::PhantomData;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU16, Ordering};

use weir_hal::{DmaMemory, Error, Iova};
use zerocopy::{FromBytes, IntoBytes};

use crate::MAX_ENTRIES;

/// What may stand in shared memory: plain numbers, for which any bytes are a value.
pub trait Shareable: FromBytes + IntoBytes + Copy + Send + 'static {}
impl<T: FromBytes + IntoBytes + Copy + Send + 'static> Shareable for T {}

/// A power-of-two number of `T` in DMA memory, indexed by the low bits of any number.
///
/// **Invariant: `base` points to `mask + 1` aligned, initialized `T`, which live as long as `memory`.**
pub struct SharedRing<T> {
    base: NonNull<T>,
    mask: u16,
    memory: DmaMemory,
}

// SAFETY: it owns its DMA memory, which belongs to no thread; `T: Shareable` is `Send`.
unsafe impl<T: Shareable> Send for SharedRing<T> {}

impl<T: Shareable> SharedRing<T> {
    /// Bytes that `entries` take.
    #[must_use]
    pub const fn bytes(entries: u16) -> usize {
        entries as usize * size_of::<T>()
    }

    /// Takes a ring of `entries` off the front of `memory`.
    ///
    /// # Errors
    /// `OutOfRange` where `entries` is not a power of two or above [`MAX_ENTRIES`], or the memory is too short
    /// or not aligned for `T`.
    pub fn take_from(memory: &mut DmaMemory, entries: u16) -> Result<SharedRing<T>, Error> {
        let base = memory.base().cast::<T>();
        if !entries.is_power_of_two() || entries > MAX_ENTRIES || !base.is_aligned() {
            return Err(Error::OutOfRange);
        }
        let memory = memory.split_to(Self::bytes(entries))?;
        Ok(SharedRing { base, mask: entries - 1, memory })
    }

    /// Where the device finds it.
    #[must_use]
    pub fn iova(&self) -> Iova {
        self.memory.iova()
    }

    /// The same ring, for a loop: what it consists of may stay in registers there.
    #[inline]
    pub fn view(&mut self) -> SharedView<'_, T> {
        SharedView { base: self.base, mask: self.mask.into(), ring: PhantomData }
    }

    /// Reads the entry `index` falls on: one volatile load, unordered.
    #[inline]
    pub fn load(&self, index: u16) -> T {
        // SAFETY: `entry` is in the ring; any bytes are a `T`.
        unsafe { self.entry(index).read_volatile() }
    }

    /// Writes the entry `index` falls on: one volatile store, unordered.
    #[inline]
    pub fn store(&mut self, index: u16, value: T) {
        // SAFETY: `entry` is in the ring, which no Rust reference points into.
        unsafe { self.entry(index).write_volatile(value) }
    }

    #[inline]
    fn entry(&self, index: u16) -> NonNull<T> {
        // SAFETY: the masked index is at most `mask`, so the entry is in the ring (type invariant).
        unsafe { self.base.add(usize::from(index & self.mask)) }
    }
}

/// A [`SharedRing`] by value.
///
/// **Invariant: `base` points to `mask + 1` aligned, initialized `T`, which live through `'a`.**
pub struct SharedView<'a, T> {
    base: NonNull<T>,
    mask: usize,
    ring: PhantomData<&'a mut SharedRing<T>>,
}

impl<T: Shareable> SharedView<'_, T> {
    /// Reads the entry `index` falls on: one volatile load, unordered.
    #[inline]
    pub fn load(&self, index: usize) -> T {
        // SAFETY: `entry` is in the ring; any bytes are a `T`.
        unsafe { self.entry(index).read_volatile() }
    }

    /// Writes the entry `index` falls on: one volatile store, unordered.
    #[inline]
    pub fn store(&mut self, index: usize, value: T) {
        // SAFETY: `entry` is in the ring, which no Rust reference points into.
        unsafe { self.entry(index).write_volatile(value) }
    }

    #[inline]
    fn entry(&self, index: usize) -> NonNull<T> {
        // SAFETY: the masked index is at most `mask`, so the entry is in the ring (type invariant).
        unsafe { self.base.add(index & self.mask) }
    }
}

impl SharedView<'_, [u64; 2]> {
    /// Reads the second word of the pair that `index` falls on: one volatile load, unordered.
    #[inline]
    pub fn load_second(&self, index: usize) -> u64 {
        // SAFETY: `word` is in the ring.
        unsafe { self.word(index, 1).read_volatile() }
    }

    /// Writes the first word of the pair that `index` falls on: one volatile store, unordered.
    #[inline]
    pub fn store_first(&mut self, index: usize, value: u64) {
        // SAFETY: `word` is in the ring, which no Rust reference points into.
        unsafe { self.word(index, 0).write_volatile(value) }
    }

    /// Writes the second word of the pair that `index` falls on: one volatile store, unordered.
    #[inline]
    pub fn store_second(&mut self, index: usize, value: u64) {
        // SAFETY: `word` is in the ring, which no Rust reference points into.
        unsafe { self.word(index, 1).write_volatile(value) }
    }

    #[inline]
    fn word(&self, index: usize, number: usize) -> NonNull<u64> {
        // SAFETY: a pair has two words.
        unsafe { self.entry(index).cast::<u64>().add(number) }
    }
}

/// A 16-bit word in DMA memory, with which driver and device publish positions.
///
/// **Invariant: `word` is aligned, initialized, and lives as long as `memory`.**
pub struct SharedU16 {
    word: NonNull<AtomicU16>,
    memory: DmaMemory,
}

// SAFETY: it owns its DMA memory, which belongs to no thread.
unsafe impl Send for SharedU16 {}

impl SharedU16 {
    /// Takes a word off the front of `memory`.
    ///
    /// # Errors
    /// `OutOfRange` where the memory is too short or not aligned.
    pub fn take_from(memory: &mut DmaMemory) -> Result<SharedU16, Error> {
        let word = memory.base().cast::<AtomicU16>();
        if !word.is_aligned() {
            return Err(Error::OutOfRange);
        }
        Ok(SharedU16 { word, memory: memory.split_to(size_of::<u16>())? })
    }

    /// Where the device finds it.
    #[must_use]
    pub fn iova(&self) -> Iova {
        self.memory.iova()
    }

    /// Reads it; what the device wrote before this value is visible to loads that follow.
    #[inline]
    pub fn load_acquire(&self) -> u16 {
        self.atomic().load(Ordering::Acquire)
    }

    /// Writes it; stores made before are visible to a device that sees this value.
    #[inline]
    pub fn store_release(&mut self, value: u16) {
        self.atomic().store(value, Ordering::Release);
    }

    #[inline]
    fn atomic(&self) -> &AtomicU16 {
        // SAFETY: valid by the type's invariant; an atomic may change under a shared reference.
        unsafe { self.word.as_ref() }
    }
}
