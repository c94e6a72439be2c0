//! The second-stage page table: what one domain's devices reach (VT-d 5.10 §3.7 "Second-Stage Translation"; AMD
//! 48882 §2.2.3 "I/O Page Tables for Host Translations"). The formats differ in their entries alone.
//!
//! **Invariant 1: `map` publishes nothing until it can no longer fail**: the range is checked and every new table
//! reserved first, so a refused call leaves no trace a unit could have cached.
//! **Invariant 2: a linked table below the root is never empty**, so a table in the way is a mapping in the way.
//! **Invariant 3: an entry that links a table is written after the table's content is visible to the unit.**
//!
//! Leaves are the largest that fit both addresses. A leaf is removed whole or not at all: `unmap` what was mapped.
//! Invalidation is the business of [`Domain`](crate::domain::Domain), which owns the table.

mod entry;
mod format;
mod map;
mod unmap;
mod walk;

use crate::address::PhysAddr;
use crate::environment::TableMemory;
use crate::error::Result;
use crate::tables::{Chain, Tables};
use entry::Entry;
pub(crate) use format::Format;

/// Entries of one table.
const ENTRIES: u64 = 512;

/// One page table, for all units its domain is attached to.
pub(crate) struct SecondStage<M> {
    tables: Tables<M>,
    format: Format,
    root: PhysAddr,
}

impl<M: TableMemory> SecondStage<M> {
    pub(crate) fn new(memory: M, format: Format) -> Result<Self> {
        let tables = Tables::new(memory, format.is_coherent());
        let root = tables.alloc(1)?;
        Ok(SecondStage { tables, format, root })
    }

    pub(crate) fn root(&self) -> PhysAddr {
        self.root
    }

    pub(crate) fn format(&self) -> Format {
        self.format
    }

    /// Gives frames back that were unlinked by `unmap` and are confirmed invalidated.
    pub(crate) fn free(&self, dead: &mut Chain) {
        dead.free_all(&self.tables);
    }

    /// Gives back every table. No unit may have a way to them any more.
    pub(crate) fn destroy(self) {
        self.free_below(self.format.levels(), self.root);
    }

    fn free_below(&self, level: u8, table: PhysAddr) {
        for index in 0..ENTRIES {
            if let Some(child) = self.read(level, table, index).table() {
                self.free_below(level - 1, child);
            }
        }
        self.tables.free(table, 1);
    }

    fn read(&self, level: u8, table: PhysAddr, index: u64) -> Entry {
        Entry::from_memory(self.format.kind(), self.tables.read64(table.offset(index * 8)), level)
    }

    fn write(&self, table: PhysAddr, index: u64, bits: u64) {
        self.tables.write64(table.offset(index * 8), bits);
    }

    /// Makes the entries that translate `span` visible to the unit.
    fn flush(&self, level: u8, table: PhysAddr, span: Span) {
        let (first, last) = (index_of(level, span.iova), index_of(level, span.iova + span.bytes - 1));
        self.tables.flush(table.offset(first * 8), (last - first + 1) * 8);
    }
}

/// Bytes one entry of a table at `level` translates; level 1 holds 4 KiB pages.
const fn entry_bytes(level: u8) -> u64 {
    4096 << (9 * (level - 1))
}

/// Which entry of a table at `level` translates `iova`.
const fn index_of(level: u8, iova: u64) -> u64 {
    iova / entry_bytes(level) % ENTRIES
}

/// A part of a range, and where it leads (0 where that does not matter).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) iova: u64,
    pub(crate) phys: u64,
    pub(crate) bytes: u64,
}

impl Span {
    /// Cuts the span at the entries of `level`: one piece per entry.
    fn pieces(self, level: u8) -> impl Iterator<Item = Span> {
        let step = entry_bytes(level);
        let end = self.iova + self.bytes;
        let first = self.iova / step;
        let last = (end - 1) / step;
        (first..=last).map(move |entry| {
            let iova = self.iova.max(entry * step);
            let bytes = end.min((entry + 1) * step) - iova;
            Span { iova, phys: self.phys + (iova - self.iova), bytes }
        })
    }

    /// Whether the span is all that an entry of `level` translates.
    fn fills_entry(self, level: u8) -> bool {
        self.bytes == entry_bytes(level)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_cut_at_entries() {
        let span = Span { iova: 0x1f_f000, phys: 0x5000, bytes: 0x20_2000 };
        let pieces: [Span; 3] = {
            let mut pieces = span.pieces(2);
            [pieces.next().unwrap(), pieces.next().unwrap(), pieces.next().unwrap()]
        };
        assert_eq!(pieces[0], Span { iova: 0x1f_f000, phys: 0x5000, bytes: 0x1000 });
        assert_eq!(pieces[1], Span { iova: 0x20_0000, phys: 0x6000, bytes: 0x20_0000 });
        assert_eq!(pieces[2], Span { iova: 0x40_0000, phys: 0x20_6000, bytes: 0x1000 });
        assert_eq!(span.pieces(2).count(), 3);
        assert!(pieces[1].fills_entry(2) && !pieces[2].fills_entry(2));
    }

    #[test]
    fn geometry_of_levels() {
        assert_eq!([1, 2, 3, 4, 5].map(entry_bytes), [1 << 12, 1 << 21, 1 << 30, 1 << 39, 1 << 48]);
        assert_eq!(index_of(1, 0x1f_f000), 511);
        assert_eq!(index_of(4, 0xff80_0000_0000), 511);
    }
}
