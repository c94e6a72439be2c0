//! Which addresses of a process are taken, and by what.
//!
//! **Invariant: regions are whole pages, lie inside one allowed area each, and never overlap.**
//!
//! Knows nothing of page tables: mapping and unmapping are the caller's, in step with this book. Does not lock.

#[cfg(test)]
mod tests;

use alloc::boxed::Box;
use core::ops::Range;

use intrusive_collections::{Bound, KeyAdapter, RBTree, RBTreeLink, intrusive_adapter};
use weir_abi::Error;
use weir_abi::layout::{
    DMA_WINDOW_END, DMA_WINDOW_START, PAGE_BYTES, PRIVATE_END, PRIVATE_START, PROGRAM_BASE, PROGRAM_END,
    REGISTERS_END, REGISTERS_START,
};

use crate::try_box::try_box;

/// Where a process's devices and threads see the same memory.
pub const DMA_WINDOW: Range<u64> = DMA_WINDOW_START..DMA_WINDOW_END;
/// Where the kernel places ordinary mappings.
pub const PRIVATE: Range<u64> = PRIVATE_START..PRIVATE_END;
/// Where the kernel places device registers.
pub const REGISTERS: Range<u64> = REGISTERS_START..REGISTERS_END;
/// Where programs are.
pub const PROGRAM: Range<u64> = PROGRAM_BASE..PROGRAM_END;
/// All that a process may have mapped.
pub const AREAS: &[Range<u64>] = &[DMA_WINDOW, PRIVATE, REGISTERS, PROGRAM];

/// A range of addresses that is taken.
pub struct Region<T> {
    link: RBTreeLink,
    start: u64,
    end: u64,
    value: T,
}

impl<T> Region<T> {
    /// Its addresses.
    #[must_use]
    pub fn range(&self) -> Range<u64> {
        self.start..self.end
    }

    /// Its length in bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.end - self.start
    }

    /// What is there.
    #[must_use]
    pub fn value(&self) -> &T {
        &self.value
    }

    /// What is there, taken out of the region.
    #[must_use]
    pub fn into_value(self) -> T {
        self.value
    }
}

intrusive_adapter!(ByStart<T> = Box<Region<T>>: Region<T> { link => RBTreeLink });

impl<'a, T> KeyAdapter<'a> for ByStart<T> {
    type Key = u64;

    fn get_key(&self, region: &'a Region<T>) -> u64 {
        region.start
    }
}

/// The regions of one process, in order of address.
pub struct Regions<T> {
    tree: RBTree<ByStart<T>>,
    areas: &'static [Range<u64>],
    count: u32,
    limit: u32,
}

impl<T> Regions<T> {
    /// Makes an empty book: at most `limit` regions, each inside one of `areas` ([`AREAS`] for a process).
    #[must_use]
    pub fn new(areas: &'static [Range<u64>], limit: u32) -> Regions<T> {
        Regions { tree: RBTree::new(ByStart::new()), areas, count: 0, limit }
    }

    /// Takes `start .. start + bytes`. Neighbours may touch. Cost: O(log regions).
    ///
    /// # Errors
    ///
    /// [`Error::BadArgument`] unless both are whole pages, not 0 pages, in one allowed area; [`Error::Busy`]
    /// where any of it is taken; [`Error::Quota`]; [`Error::NoMemory`].
    pub fn insert_at(&mut self, start: u64, bytes: u64, value: T) -> Result<(), Error> {
        let end = start.checked_add(bytes).ok_or(Error::BadArgument)?;
        let is_whole = start.is_multiple_of(PAGE_BYTES) && bytes.is_multiple_of(PAGE_BYTES) && bytes > 0;
        if !is_whole || !self.is_allowed(&(start..end)) {
            return Err(Error::BadArgument);
        }
        if self.is_taken(&(start..end)) {
            return Err(Error::Busy);
        }
        if self.count >= self.limit {
            return Err(Error::Quota);
        }
        self.tree.insert(try_box(Region { link: RBTreeLink::new(), start, end, value })?);
        self.count += 1;
        Ok(())
    }

    /// Takes the lowest `bytes` in `area` that start at a multiple of `align` and have a free page on each side,
    /// and returns their address. Cost: O(regions).
    ///
    /// The free pages make a run past either end a fault instead of an access to somebody else's mapping.
    ///
    /// # Errors
    ///
    /// [`Error::BadArgument`] unless `bytes` is whole pages, not 0, `align` a power of two of at least a page,
    /// `area` within an allowed one; [`Error::NoMemory`] also where no gap is large enough; [`Error::Quota`].
    pub fn insert_anywhere(
        &mut self,
        area: Range<u64>,
        bytes: u64,
        align: u64,
        value: T,
    ) -> Result<u64, Error> {
        let is_whole = bytes.is_multiple_of(PAGE_BYTES) && bytes > 0;
        if !is_whole || !align.is_power_of_two() || align < PAGE_BYTES || !self.is_allowed(&area) {
            return Err(Error::BadArgument);
        }
        let start = self.first_gap(&area, bytes, align).ok_or(Error::NoMemory)?;
        self.insert_at(start, bytes, value)?;
        Ok(start)
    }

    /// Gives back the region that starts at `start`: its bytes and value. Cost: O(log regions).
    pub fn remove(&mut self, start: u64) -> Option<(u64, T)> {
        let region = self.tree.find_mut(&start).remove()?;
        self.count -= 1;
        Some((region.bytes(), region.into_value()))
    }

    /// Puts another value into the region that starts at `start`; gives back the old one.
    pub fn replace(&mut self, start: u64, value: T) -> Option<T> {
        let mut cursor = self.tree.find_mut(&start);
        let mut region = cursor.remove()?;
        let old = core::mem::replace(&mut region.value, value);
        self.tree.insert(region);
        Some(old)
    }

    /// Gives back the region with the lowest address.
    pub fn pop_first(&mut self) -> Option<Region<T>> {
        let region = self.tree.front_mut().remove()?;
        self.count -= 1;
        Some(*region)
    }

    /// The region that starts at `start`.
    #[must_use]
    pub fn get(&self, start: u64) -> Option<&Region<T>> {
        self.tree.find(&start).get()
    }

    /// The region that `address` lies in.
    #[must_use]
    pub fn find_containing(&self, address: u64) -> Option<&Region<T>> {
        self.tree.upper_bound(Bound::Included(&address)).get().filter(|region| address < region.end)
    }

    /// All regions, in order of address.
    pub fn iter(&self) -> impl Iterator<Item = &Region<T>> {
        self.tree.iter()
    }

    /// Those that start in `area`, in order of address. Cost: O(log regions), and what is looked at.
    pub fn iter_in(&self, area: Range<u64>) -> impl Iterator<Item = &Region<T>> {
        let mut cursor = self.tree.lower_bound(Bound::Included(&area.start));
        core::iter::from_fn(move || {
            let region = cursor.get().filter(|region| region.start < area.end);
            cursor.move_next();
            region
        })
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> u32 {
        self.count
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    fn is_allowed(&self, range: &Range<u64>) -> bool {
        self.areas.iter().any(|area| area.start <= range.start && range.end <= area.end)
    }

    /// Whether a region overlaps `range`: only the last that starts before its end can be the one.
    fn is_taken(&self, range: &Range<u64>) -> bool {
        let last = self.tree.upper_bound(Bound::Excluded(&range.end)).get();
        last.is_some_and(|region| range.start < region.end)
    }

    fn first_gap(&self, area: &Range<u64>, bytes: u64, align: u64) -> Option<u64> {
        let mut start = area.start.checked_next_multiple_of(align)?;
        for region in self.tree.iter() {
            let guard_end = region.end.checked_add(PAGE_BYTES)?;
            if guard_end <= start {
                continue;
            }
            if start.checked_add(bytes)?.checked_add(PAGE_BYTES)? <= region.start {
                break;
            }
            start = guard_end.checked_next_multiple_of(align)?;
        }
        (start.checked_add(bytes)? <= area.end).then_some(start)
    }
}
