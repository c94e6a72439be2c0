//! Rings of descriptors of two words.
#![expect(unsafe_code, reason = "device memory is reached by pointers")]

use core::ptr::NonNull;
use core::sync::atomic::{AtomicU64, Ordering};

use weir_hal::{DmaMemory, Error, Iova};

use crate::MAX_ENTRIES;

/// A power-of-two number of pairs of 64-bit words in DMA memory, indexed by the low bits of any number. The second word
/// hands a pair over: who sees it sees the first.
///
/// **Invariant: `base` points to `mask + 1` aligned, initialized pairs, which live as long as `memory`.**
pub struct SharedPairs {
    base: NonNull<[AtomicU64; 2]>,
    mask: u16,
    memory: DmaMemory,
}

// SAFETY: it owns its DMA memory, which belongs to no thread.
unsafe impl Send for SharedPairs {}

impl SharedPairs {
    /// Bytes that `entries` take.
    #[must_use]
    pub const fn bytes(entries: u16) -> usize {
        entries as usize * size_of::<[AtomicU64; 2]>()
    }

    /// Takes a ring of `entries` off the front of `memory`.
    ///
    /// # Errors
    /// `OutOfRange` where `entries` is not a power of two or above [`MAX_ENTRIES`], or the memory is too short
    /// or not aligned.
    pub fn take_from(memory: &mut DmaMemory, entries: u16) -> Result<SharedPairs, Error> {
        let base = memory.base().cast::<[AtomicU64; 2]>();
        if !entries.is_power_of_two() || entries > MAX_ENTRIES || !base.is_aligned() {
            return Err(Error::OutOfRange);
        }
        let memory = memory.split_to(Self::bytes(entries))?;
        Ok(SharedPairs { base, mask: entries - 1, memory })
    }

    /// Where the device finds it.
    #[must_use]
    pub fn iova(&self) -> Iova {
        self.memory.iova()
    }

    /// Reads the second word of the pair that `index` falls on, once; what the device wrote before it is visible to
    /// loads that follow.
    #[inline]
    #[must_use]
    pub fn load_second(&self, index: u16) -> u64 {
        self.pair(index)[1].load(Ordering::Acquire)
    }

    /// Writes the pair that `index` falls on, the second word last; stores made before are visible to a device that
    /// sees it.
    #[inline]
    pub fn store(&mut self, index: u16, first: u64, second: u64) {
        let pair = self.pair(index);
        pair[0].store(first, Ordering::Relaxed);
        pair[1].store(second, Ordering::Release);
    }

    #[inline]
    fn pair(&self, index: u16) -> &[AtomicU64; 2] {
        // SAFETY: the masked index is at most `mask`, so the pair is in the ring (type invariant).
        let pair = unsafe { self.base.add(usize::from(index & self.mask)) };
        // SAFETY: valid by the type's invariant; an atomic may change under a shared reference.
        unsafe { pair.as_ref() }
    }
}
