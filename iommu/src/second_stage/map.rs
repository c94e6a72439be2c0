//! Adding to a second-stage table: check and count, reserve, fill.
//!
//! **Invariant: `count` and `fill` take the same decision for every piece**, so the reserve is exactly what is used.

use super::entry::{self, Entry};
use super::{SecondStage, Span};
use crate::address::{Iova, PhysAddr};
use crate::domain::Permissions;
use crate::environment::TableMemory;
use crate::error::{Error, Result};
use crate::tables::Chain;

impl<M: TableMemory> SecondStage<M> {
    /// Maps a span that [`Format::check_mapping`](super::Format::check_mapping) accepted.
    ///
    /// # Errors
    /// `AlreadyMapped`, `OutOfFrames`; nothing was changed.
    pub(crate) fn map(&mut self, span: Span, permissions: Permissions) -> Result<()> {
        let top = self.format.levels();
        let needed = self.count(top, Some(self.root), span)?;
        let mut spare = self.reserve(needed)?;
        self.fill(top, self.root, span, permissions, &mut spare);
        // Empty unless our own invariant is broken; then the rest goes back rather than being lost.
        spare.free_all(&self.tables);
        Ok(())
    }

    /// Counts the tables the span lacks below `table` (`None`: one that does not exist yet).
    fn count(&self, level: u8, table: Option<PhysAddr>, span: Span) -> Result<usize> {
        let mut needed = 0;
        for piece in span.pieces(level) {
            let entry =
                table.map_or(Entry::Empty, |at| self.read(level, at, super::index_of(level, piece.iova)));
            let is_leaf = self.format.fits_leaf(level, piece);
            needed += match entry {
                Entry::Empty if is_leaf => 0,
                Entry::Empty => 1 + self.count(level - 1, None, piece)?,
                Entry::Table(child) if !is_leaf => self.count(level - 1, Some(child), piece)?,
                Entry::Table(_) | Entry::Page => {
                    return Err(Error::AlreadyMapped { iova: Iova(piece.iova) });
                }
            };
        }
        Ok(needed)
    }

    fn reserve(&self, frames: usize) -> Result<Chain> {
        let mut spare = Chain::default();
        while spare.frames() < frames {
            match self.tables.alloc(1) {
                Ok(frame) => spare.push(&self.tables, frame),
                Err(error) => {
                    spare.free_all(&self.tables);
                    return Err(error);
                }
            }
        }
        Ok(spare)
    }

    fn fill(&self, level: u8, table: PhysAddr, span: Span, permissions: Permissions, spare: &mut Chain) {
        for piece in span.pieces(level) {
            let index = super::index_of(level, piece.iova);
            if self.format.fits_leaf(level, piece) {
                let page = self.format.page(PhysAddr(piece.phys), level, permissions);
                self.write(table, index, page);
            } else if let Some(child) = self.read(level, table, index).table() {
                self.fill(level - 1, child, piece, permissions, spare);
            } else {
                let child = spare.pop(&self.tables).expect("count reserved a frame for each new table");
                self.fill(level - 1, child, piece, permissions, spare);
                self.write(table, index, entry::link(self.format.kind(), child, level));
            }
        }
        self.flush(level, table, span);
    }
}
