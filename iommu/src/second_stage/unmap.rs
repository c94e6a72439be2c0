//! Taking away from a second-stage table: check, clear, unlink.
//!
//! **Invariant: a table that became empty is unlinked but not freed here**; it goes to the `dead` chain, because a
//! unit may hold its address until the invalidation is confirmed.

use super::entry::Entry;
use super::{ENTRIES, SecondStage, Span};
use crate::address::{Iova, PhysAddr};
use crate::environment::TableMemory;
use crate::error::{Error, Result};
use crate::tables::Chain;

impl<M: TableMemory> SecondStage<M> {
    /// Unmaps a span that is mapped from end to end and cuts no leaf.
    ///
    /// # Errors
    /// `NotMapped`, `SplitsLargePage`; nothing was changed.
    pub(crate) fn unmap(&mut self, span: Span, dead: &mut Chain) -> Result<()> {
        let top = self.format.levels();
        self.check_mapped(top, self.root, span)?;
        self.clear(top, self.root, span, dead);
        Ok(())
    }

    fn check_mapped(&self, level: u8, table: PhysAddr, span: Span) -> Result<()> {
        for piece in span.pieces(level) {
            let iova = Iova(piece.iova);
            match self.read(level, table, super::index_of(level, piece.iova)) {
                Entry::Empty => return Err(Error::NotMapped { iova }),
                Entry::Page if !piece.fills_entry(level) => return Err(Error::SplitsLargePage { iova }),
                Entry::Page => {}
                Entry::Table(child) => self.check_mapped(level - 1, child, piece)?,
            }
        }
        Ok(())
    }

    /// Clears the span; says whether the table is empty now.
    fn clear(&self, level: u8, table: PhysAddr, span: Span, dead: &mut Chain) -> bool {
        let mut is_empty = true;
        for piece in span.pieces(level) {
            let index = super::index_of(level, piece.iova);
            let child = self.read(level, table, index).table();
            let is_gone = child.is_none_or(|child| self.clear(level - 1, child, piece, dead));
            if is_gone {
                self.write(table, index, 0);
                self.flush(level, table, piece);
                child.into_iter().for_each(|child| dead.push(&self.tables, child));
            }
            is_empty &= is_gone;
        }
        is_empty && self.is_empty(level, table)
    }

    fn is_empty(&self, level: u8, table: PhysAddr) -> bool {
        (0..ENTRIES).all(|index| self.read(level, table, index) == Entry::Empty)
    }
}
