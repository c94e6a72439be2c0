//! Which register pages an owner may have.
//!
//! **Invariant: a page that is given out holds registers of one BAR and nothing else: no other BAR, no memory, no
//! MSI-X table or pending bits.**
//!
//! A device chooses the addresses that its BARs read; so where they lie is checked, not believed.

use core::ops::Range;

use super::bar::Bar;
use super::capability::BarRange;
use super::enumerate::Inventory;
use super::error::PciError;
use super::function::Function;
use crate::frames::{FRAME_BYTES, PhysAddr};

impl Inventory {
    /// The pages that hold `bytes` bytes at `offset` of BAR number `bar` of function `index`, if its owner may have
    /// them. `reserved` is what no device may claim: memory, and registers that are the kernel's.
    ///
    /// `offset` and `bytes` are whole pages. A BAR smaller than a page, or one that starts within a page, counts as
    /// reaching to the end of its last page; its registers then start `address % 4096` into the first page.
    ///
    /// # Errors
    ///
    /// [`PciError::OutOfRange`], [`PciError::NotPresent`] where there is no such function or memory BAR or it has no
    /// address, [`PciError::Malformed`], [`PciError::HoldsInterruptTable`], [`PciError::SharesPage`].
    pub fn mappable(
        &self,
        index: usize,
        bar: u8,
        offset: u64,
        bytes: u64,
        reserved: &[Range<PhysAddr>],
    ) -> Result<Range<PhysAddr>, PciError> {
        let function = self.functions.get(index).ok_or(PciError::NotPresent)?;
        if function.is_malformed {
            return Err(PciError::Malformed);
        }
        let memory = function.bar_memory(bar).ok_or(PciError::NotPresent)?;
        let pages = pages_within(&whole_pages(&memory), offset, bytes).ok_or(PciError::OutOfRange)?;
        if function.interrupt_tables().any(|held| overlap(&held, &pages)) {
            return Err(PciError::HoldsInterruptTable);
        }
        if self.memory_except(index, bar).chain(reserved.iter().cloned()).any(|other| overlap(&other, &pages))
        {
            return Err(PciError::SharesPage);
        }
        Ok(pages)
    }

    /// What all memory BARs of all functions decode, but one.
    fn memory_except(&self, index: usize, bar: u8) -> impl Iterator<Item = Range<PhysAddr>> {
        self.functions.iter().enumerate().flat_map(move |(its_index, function)| {
            let others =
                (0u8..).zip(&function.bars).filter(move |(its_bar, _)| (its_index, *its_bar) != (index, bar));
            others.filter_map(|(_, other)| other.as_ref().and_then(Bar::memory))
        })
    }
}

impl Function {
    /// The physical addresses of a memory BAR.
    fn bar_memory(&self, bar: u8) -> Option<Range<PhysAddr>> {
        self.bars.get(usize::from(bar))?.as_ref()?.memory()
    }

    /// Where the MSI-X table and its pending bits are.
    fn interrupt_tables(&self) -> impl Iterator<Item = Range<PhysAddr>> {
        let ranges = self.capabilities.msix.map(|msix| [msix.table, msix.pending]);
        ranges.into_iter().flatten().filter_map(|BarRange { bar, offset, bytes }| {
            let start = self.bar_memory(bar)?.start.0 + offset;
            Some(PhysAddr(start)..PhysAddr(start + bytes))
        })
    }
}

/// The pages that `range` touches. BARs end below 2⁵², so nothing wraps.
pub(super) fn whole_pages(range: &Range<PhysAddr>) -> Range<PhysAddr> {
    let start = range.start.0 / FRAME_BYTES * FRAME_BYTES;
    PhysAddr(start)..PhysAddr(range.end.0.next_multiple_of(FRAME_BYTES))
}

/// `bytes` bytes at `offset` of `pages`, if they are whole pages, not 0, and inside.
fn pages_within(pages: &Range<PhysAddr>, offset: u64, bytes: u64) -> Option<Range<PhysAddr>> {
    let is_whole = offset.is_multiple_of(FRAME_BYTES) && bytes.is_multiple_of(FRAME_BYTES) && bytes > 0;
    let start = pages.start.0.checked_add(offset)?;
    let end = start.checked_add(bytes)?;
    (is_whole && end <= pages.end.0).then_some(PhysAddr(start)..PhysAddr(end))
}

pub(super) fn overlap(a: &Range<PhysAddr>, b: &Range<PhysAddr>) -> bool {
    a.start < b.end && b.start < a.end
}
