//! Reading a second-stage table back, as a unit would: for those who check what devices reach.

use super::entry;
use super::{ENTRIES, SecondStage, entry_bytes, index_of};
use crate::address::{Iova, PhysAddr};
use crate::domain::Leaf;
use crate::environment::TableMemory;

impl<M: TableMemory> SecondStage<M> {
    /// The leaf that `from` lies in, else the first one above.
    pub(crate) fn next_leaf(&self, from: Iova) -> Option<Leaf> {
        let top = self.format.levels();
        (from.0 >> 12 >> (9 * top) == 0).then(|| self.next_leaf_in(top, self.root, 0, from.0))?
    }

    /// The same below `table`, whose first entry translates `base`.
    fn next_leaf_in(&self, level: u8, table: PhysAddr, base: u64, from: u64) -> Option<Leaf> {
        let first = if from > base { index_of(level, from) } else { 0 };
        (first..ENTRIES).find_map(|index| {
            let iova = base + index * entry_bytes(level);
            match self.read(level, table, index) {
                entry::Entry::Empty => None,
                entry::Entry::Table(child) => self.next_leaf_in(level - 1, child, iova, from),
                entry::Entry::Page => {
                    let bits = self.tables.read64(table.offset(index * 8));
                    let (phys, permissions) = entry::leaf(self.format.kind(), bits);
                    Some(Leaf {
                        iova: Iova(iova),
                        phys,
                        bytes: entry_bytes(level),
                        permissions: permissions?,
                    })
                }
            }
        })
    }
}
