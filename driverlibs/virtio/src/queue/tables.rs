//! Tables of descriptors outside a ring (virtio 1.2 §2.7.5.3 "Indirect Descriptors", §2.8.7 "Indirect Flag:
//! Scatter-Gather Support"): what consists of several buffers takes one descriptor of the ring.
//!
//! **Invariant: a table is on the free list, or belongs to one id of the ring and holds the buffers behind its first.**

use alloc::boxed::Box;
use alloc::vec::Vec;

use weir_hal::DmaWindow;
use weir_pool::{InFlight, Pool};
use weir_ring::{LocalRing, SharedRing};

use super::desc::{Access, Desc, PackedWord};
use super::{Offer, Queue};
use crate::Error;

/// Most buffers of a table.
pub(crate) const PARTS: u16 = 64;
const NO_TABLE: u16 = u16::MAX;
const ENTRY_BYTES: u64 = 16;

/// The tables of a queue.
pub(crate) struct Tables {
    entries: SharedRing<[u64; 2]>,
    is_packed: bool,
    free: Vec<u16>,
    /// Buffers behind the first, by table.
    rest: Box<[Vec<InFlight>]>,
    /// Table of each id.
    of: LocalRing<u16>,
}

impl Tables {
    /// Allocates `count` tables, a power of two.
    pub(crate) fn new(window: &impl DmaWindow, queue: &Queue, count: u16) -> Result<Tables, Error> {
        let bad = weir_hal::Error::OutOfRange;
        let entries = count.checked_mul(PARTS).ok_or(bad)?;
        let mut memory = window.allocate(SharedRing::<[u64; 2]>::bytes(entries))?;
        Ok(Tables {
            entries: SharedRing::take_from(&mut memory, entries)?,
            is_packed: matches!(queue, Queue::Packed(_)),
            free: (0..count).collect(),
            // Room for all, so that filling a table allocates nothing.
            rest: (0..count).map(|_| Vec::with_capacity(PARTS.into())).collect(),
            of: LocalRing::new(queue.entries(), |_| NO_TABLE).ok_or(bad)?,
        })
    }

    pub(crate) fn has_free(&self) -> bool {
        !self.free.is_empty()
    }

    /// Makes a table of `parts`, at most [`PARTS`], and at least one: what to offer, and the table's number for
    /// [`Tables::belongs_to`]. `None` where no table is free; then nothing was taken.
    pub(crate) fn fill(&mut self, parts: impl Iterator<Item = (Offer, Access)>) -> Option<(Offer, u16)> {
        let table = self.free.pop()?;
        let rest = self.rest.get_mut(usize::from(table))?;
        let mut parts = parts.take(PARTS.into()).peekable();
        let (mut first, mut number) = (None, 0);
        while let Some((offer, access)) = parts.next() {
            let next = parts.peek().map(|_| number + 1);
            let entry = entry(&offer, access, next, self.is_packed);
            self.entries.store(table * PARTS + number, entry);
            number += 1;
            match first {
                None => first = Some(offer.buffer),
                Some(_) => rest.push(offer.buffer),
            }
        }
        let Some(buffer) = first else {
            self.free.push(table);
            return None;
        };
        let addr = self.entries.iova().add(u64::from(table) * u64::from(PARTS) * ENTRY_BYTES);
        Some((Offer { buffer, addr, len: u32::from(number) * 16 }, table))
    }

    /// The table was offered under `id`.
    pub(crate) fn belongs_to(&mut self, table: u16, id: u16) {
        *self.of.at(id) = table;
    }

    /// Whether tables are with the device, so that [`Tables::take_back`] may find one.
    #[inline]
    pub(crate) fn are_out(&self) -> bool {
        self.free.len() < self.rest.len()
    }

    /// The device gave `id` back: passes the buffers behind the first to `give`, if a table was offered under it.
    pub(crate) fn take_back(&mut self, id: u16, give: impl FnMut(InFlight)) {
        let table = core::mem::replace(self.of.at(id), NO_TABLE);
        if let Some(rest) = self.rest.get_mut(usize::from(table)) {
            rest.drain(..).for_each(give);
            self.free.push(table);
        }
    }

    /// Makes all of them free, for a device that has been reset. Buffers go back to `pool`.
    pub(crate) fn empty(&mut self, pool: &mut Pool, entries: u16) {
        for id in 0..entries {
            self.take_back(id, |buffer| pool.put(buffer.complete_empty()));
        }
    }
}

/// A table's entry as the layout has it: linked to `next`, or one after the other.
fn entry(offer: &Offer, access: Access, next: Option<u16>, is_packed: bool) -> [u64; 2] {
    if is_packed {
        let word = PackedWord::new().with_len(offer.len).with_device_writes(access == Access::Writes);
        return [offer.addr.0, word.into_bits()];
    }
    let desc = Desc::of(offer.addr, offer.len, access);
    let desc = desc.with_has_next(next.is_some()).with_next(next.unwrap_or(0)).into_bits();
    #[expect(clippy::cast_possible_truncation, reason = "the halves of the descriptor")]
    [desc as u64, (desc >> 64) as u64]
}
