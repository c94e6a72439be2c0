//! The words of a ring, wherever they are.
//!
//! The ring is written over [`Cells`], so that the very same code runs in shared memory ([`Mapped`]) and under a checker
//! of all interleavings (`tests/interleavings.rs`).
#![expect(unsafe_code, reason = "shared memory is reached by pointers")]

use core::ptr::NonNull;
use core::sync::atomic::{AtomicU64, Ordering, fence};

use weir_hal::{DmaMemory, Error};

use crate::MAX_ENTRIES;

/// A word of a ring. Each has one writer, but for the flag, which both write; each is on a cache line of its own. An index
/// has the generation in which it was written in its upper half: one of another generation says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// How many entries were written, modulo 2³²: the producer's.
    Tail,
    /// How many entries were read, modulo 2³²: the consumer's.
    Head,
    /// 1 where the consumer sleeps, or is about to: it sets it, either clears it.
    Asleep,
}

/// The words and entries of one ring.
///
/// Implementations do what the methods say, atomically, with the ordering given; the other side may change every word and
/// entry at any time.
pub trait Cells {
    /// How many entries there are: a power of two, always the same, at most [`MAX_ENTRIES`].
    fn entries(&self) -> u32;
    /// Reads a word.
    fn load(&self, word: Word, order: Ordering) -> u64;
    /// Writes a word.
    fn store(&self, word: Word, value: u64, order: Ordering);
    /// Reads the entry that `index` falls on, relaxed.
    fn load_entry(&self, index: u32) -> u64;
    /// Writes the entry that `index` falls on, relaxed.
    fn store_entry(&self, index: u32, value: u64);
    /// A sequentially consistent fence.
    fn fence(&self);
}

/// Bytes of a cache line; two are fetched at once.
const LINE_BYTES: usize = 128;
/// Bytes before the entries.
const WORDS_BYTES: usize = 3 * LINE_BYTES;

/// A ring in memory that another owner maps, too.
///
/// **Invariant: `base` points to the words and `mask + 1` entries, 8-byte aligned and initialized, which live as long as
/// `memory` and are reached from here through atomics only.**
pub struct Mapped {
    base: NonNull<u8>,
    mask: u32,
    #[expect(dead_code, reason = "kept mapped")]
    memory: DmaMemory,
}

// SAFETY: it owns its part of the memory, which belongs to no thread; it reaches it through atomics.
unsafe impl Send for Mapped {}

impl Mapped {
    /// Bytes that a ring of `entries` takes.
    #[must_use]
    pub const fn bytes(entries: u32) -> usize {
        (WORDS_BYTES + entries as usize * size_of::<u64>()).next_multiple_of(LINE_BYTES)
    }

    /// Takes a ring of `entries` off the front of `memory`.
    ///
    /// # Errors
    /// `OutOfRange` where `entries` is not a power of two or above [`MAX_ENTRIES`], or the memory is too short or not
    /// aligned.
    pub fn take_from(memory: &mut DmaMemory, entries: u32) -> Result<Mapped, Error> {
        let base = memory.base();
        let is_aligned = base.cast::<AtomicU64>().is_aligned();
        if !entries.is_power_of_two() || entries > MAX_ENTRIES || !is_aligned {
            return Err(Error::OutOfRange);
        }
        let memory = memory.split_to(Mapped::bytes(entries))?;
        Ok(Mapped { base, mask: entries - 1, memory })
    }

    #[inline]
    fn word(&self, word: Word) -> &AtomicU64 {
        let offset = match word {
            Word::Tail => 0,
            Word::Head => LINE_BYTES,
            Word::Asleep => 2 * LINE_BYTES,
        };
        // SAFETY: the three lines lie before the entries (type invariant).
        let place = unsafe { self.base.add(offset) }.cast::<AtomicU64>();
        // SAFETY: aligned and initialized; an atomic may change under a shared reference.
        unsafe { place.as_ref() }
    }

    #[inline]
    fn entry(&self, index: u32) -> &AtomicU64 {
        let offset = WORDS_BYTES + (index & self.mask) as usize * size_of::<u64>();
        // SAFETY: the masked index is at most `mask`, so the entry is in the ring (type invariant).
        let place = unsafe { self.base.add(offset) }.cast::<AtomicU64>();
        // SAFETY: aligned and initialized; an atomic may change under a shared reference.
        unsafe { place.as_ref() }
    }
}

impl Cells for Mapped {
    #[inline]
    fn entries(&self) -> u32 {
        self.mask + 1
    }

    #[inline]
    fn load(&self, word: Word, order: Ordering) -> u64 {
        self.word(word).load(order)
    }

    #[inline]
    fn store(&self, word: Word, value: u64, order: Ordering) {
        self.word(word).store(value, order);
    }

    #[inline]
    fn load_entry(&self, index: u32) -> u64 {
        self.entry(index).load(Ordering::Relaxed)
    }

    #[inline]
    fn store_entry(&self, index: u32, value: u64) {
        self.entry(index).store(value, Ordering::Relaxed);
    }

    #[inline]
    fn fence(&self) {
        fence(Ordering::SeqCst);
    }
}

/// Words in shared memory, each on a cache line of its own, with which users of a pool tell each other how far they are.
///
/// **Invariant: `base` points to `count` lines, 8-byte aligned and initialized, which live as long as `memory` and are
/// reached from here through atomics only.**
pub struct SharedWords {
    base: NonNull<u8>,
    count: usize,
    #[expect(dead_code, reason = "kept mapped")]
    memory: DmaMemory,
}

// SAFETY: as `Mapped`.
unsafe impl Send for SharedWords {}

impl SharedWords {
    /// Bytes that `count` words take.
    #[must_use]
    pub const fn bytes(count: usize) -> usize {
        count * LINE_BYTES
    }

    /// Takes `count` words off the front of `memory`.
    ///
    /// # Errors
    /// `OutOfRange` where it is too short or not aligned.
    pub fn take_from(memory: &mut DmaMemory, count: usize) -> Result<SharedWords, Error> {
        let base = memory.base();
        if !base.cast::<AtomicU64>().is_aligned() {
            return Err(Error::OutOfRange);
        }
        Ok(SharedWords { base, count, memory: memory.split_to(SharedWords::bytes(count))? })
    }

    /// Word `index`; `None` where there is none.
    #[must_use]
    pub fn word(&self, index: usize) -> Option<&AtomicU64> {
        if index >= self.count {
            return None;
        }
        // SAFETY: one of the lines (type invariant).
        let place = unsafe { self.base.add(index * LINE_BYTES) }.cast::<AtomicU64>();
        // SAFETY: aligned and initialized; an atomic may change under a shared reference.
        Some(unsafe { place.as_ref() })
    }
}
