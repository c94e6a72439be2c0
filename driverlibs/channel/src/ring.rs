//! One ring: one side writes, the other reads.
//!
//! **Invariant: each side keeps its own index privately and only tells it; of the other's it believes a value that the
//! ring's size allows, read once.** Indices count entries modulo 2³²; their low bits name the entry.
//!
//! No wake-up is lost: the consumer sets its flag, then looks at the tail; the producer writes the tail, then looks at the
//! flag; a sequentially consistent fence stands between the two on both sides, so at least one sees the other's.

use core::sync::atomic::Ordering;

use crate::cells::{Cells, Word};
use crate::{Desc, PeerCorrupt};

/// An index as it stands in a word.
const fn stamped(generation: u32, index: u32) -> u64 {
    (generation as u64) << 32 | index as u64
}

/// The index in a word, if it was written in this generation.
#[expect(clippy::cast_possible_truncation, reason = "the halves of a word")]
const fn index_of(generation: u32, word: u64) -> Option<u32> {
    if (word >> 32) as u32 == generation { Some(word as u32) } else { None }
}

/// The writing side.
pub struct Producer<C> {
    cells: C,
    /// Entries written, published or not.
    tail: u32,
    /// Entries published.
    published: u32,
    /// Entries that the consumer had read when it was looked at last.
    head: u32,
    generation: u32,
}

impl<C: Cells> Producer<C> {
    /// Begins with an empty ring, in generation 0.
    pub fn new(cells: C) -> Producer<C> {
        Producer { cells, tail: 0, published: 0, head: 0, generation: 0 }
    }

    /// Begins again with an empty ring. Nothing need be written: what stands in the words is of other generations.
    pub fn reset(&mut self, generation: u32) {
        (self.tail, self.published, self.head, self.generation) = (0, 0, 0, generation);
    }

    /// How many entries can be written now. Looks at the consumer's index only where `wanted` did not fit before.
    ///
    /// # Errors
    /// That index is none.
    #[inline]
    pub fn room(&mut self, wanted: u32) -> Result<u32, PeerCorrupt> {
        let entries = self.cells.entries();
        let known = entries - self.tail.wrapping_sub(self.head);
        if known >= wanted {
            return Ok(known);
        }
        let word = self.cells.load(Word::Head, Ordering::Acquire);
        let head = index_of(self.generation, word).unwrap_or(self.head);
        let used = self.tail.wrapping_sub(head);
        if used > entries {
            return Err(PeerCorrupt::Index { ahead: head.wrapping_sub(self.tail), entries });
        }
        self.head = head;
        Ok(entries - used)
    }

    /// Takes back the oldest entry that the consumer has not told to be read; it may have read it all the same. For when it
    /// has ended; what stands in the entry, it may have changed.
    pub fn take_back(&mut self) -> Option<Desc> {
        let known = self.published.wrapping_sub(self.head);
        let word = self.cells.load(Word::Head, Ordering::Acquire);
        // An index that is none is no nearer than the one that was good.
        let told = index_of(self.generation, word).map_or(known, |head| self.published.wrapping_sub(head));
        self.head = self.published.wrapping_sub(told.min(known));
        if self.head == self.published {
            return None;
        }
        let desc = Desc::from_bits(self.cells.load_entry(self.head));
        self.head = self.head.wrapping_add(1);
        Some(desc)
    }

    /// Writes an entry; [`Producer::room`] has said that there is room. It is seen after [`Producer::publish`].
    #[inline]
    pub fn write(&mut self, desc: Desc) {
        debug_assert!(self.tail.wrapping_sub(self.head) < self.cells.entries(), "no room");
        self.cells.store_entry(self.tail, desc.into_bits());
        self.tail = self.tail.wrapping_add(1);
    }

    /// Lets the consumer see what was written; `true` where it sleeps and must be woken.
    #[inline]
    #[must_use]
    pub fn publish(&mut self) -> bool {
        if self.tail == self.published {
            return false;
        }
        self.published = self.tail;
        self.cells.store(Word::Tail, stamped(self.generation, self.tail), Ordering::Release);
        self.cells.fence();
        let is_asleep = self.cells.load(Word::Asleep, Ordering::Relaxed) != 0;
        if is_asleep {
            // Once is enough: it sets the flag again before it sleeps again.
            self.cells.store(Word::Asleep, 0, Ordering::Relaxed);
        }
        is_asleep
    }
}

/// The reading side.
pub struct Consumer<C> {
    cells: C,
    /// Entries read, told or not.
    head: u32,
    /// Entries told to be read.
    told: u32,
    /// Entries that the producer had published when it was looked at last.
    tail: u32,
    generation: u32,
}

impl<C: Cells> Consumer<C> {
    /// Begins with an empty ring, in generation 0.
    pub fn new(cells: C) -> Consumer<C> {
        Consumer { cells, head: 0, told: 0, tail: 0, generation: 0 }
    }

    /// Begins again with an empty ring.
    pub fn reset(&mut self, generation: u32) {
        (self.head, self.told, self.tail, self.generation) = (0, 0, 0, generation);
        self.stay_awake();
    }

    /// How many entries there are to read. Looks at the producer's index only where all known ones are read.
    ///
    /// # Errors
    /// That index is none.
    #[inline]
    pub fn available(&mut self) -> Result<u32, PeerCorrupt> {
        let known = self.tail.wrapping_sub(self.head);
        if known > 0 {
            return Ok(known);
        }
        let word = self.cells.load(Word::Tail, Ordering::Acquire);
        let tail = index_of(self.generation, word).unwrap_or(self.tail);
        let (ahead, entries) = (tail.wrapping_sub(self.head), self.cells.entries());
        if ahead > entries {
            return Err(PeerCorrupt::Index { ahead, entries });
        }
        self.tail = tail;
        Ok(ahead)
    }

    /// Reads an entry, once; [`Consumer::available`] has said that there is one.
    #[inline]
    pub fn read(&mut self) -> Desc {
        debug_assert!(self.tail != self.head, "nothing to read");
        let desc = Desc::from_bits(self.cells.load_entry(self.head));
        self.head = self.head.wrapping_add(1);
        desc
    }

    /// Lets the producer use the entries that were read.
    #[inline]
    pub fn release(&mut self) {
        if self.head != self.told {
            self.told = self.head;
            self.cells.store(Word::Head, stamped(self.generation, self.head), Ordering::Release);
        }
    }

    /// Says that this side is about to sleep, and looks once more: `true` where it may, because the next entry will be
    /// told of. Otherwise, and after the sleep, [`Consumer::stay_awake`].
    ///
    /// # Errors
    /// As [`Consumer::available`].
    pub fn may_sleep(&mut self) -> Result<bool, PeerCorrupt> {
        self.cells.store(Word::Asleep, 1, Ordering::Relaxed);
        self.cells.fence();
        Ok(self.available()? == 0)
    }

    /// Says that this side does not sleep.
    pub fn stay_awake(&mut self) {
        self.cells.store(Word::Asleep, 0, Ordering::Relaxed);
    }
}
