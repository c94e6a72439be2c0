//! The CPU's tables below the first entry of a root, as a kernel keeps them: bits after the processor's manual, written
//! without the library's types.

use weir_iommu::address::{Iova, PhysAddr};
use weir_iommu::environment::TableMemory;
use weir_iommu::{Error, Result, Sharing};

const PRESENT: u64 = 1;
const WRITABLE: u64 = 1 << 1;
const USER: u64 = 1 << 2;
const ACCESSED: u64 = 1 << 5;
const DIRTY: u64 = 1 << 6;
const LARGE: u64 = 1 << 7;
const NO_EXECUTE: u64 = 1 << 63;
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;
const LINK: u64 = PRESENT | WRITABLE | USER | ACCESSED;
/// Level of the table that the root's first entry leads to.
const TOP: u32 = 3;

pub(crate) struct CpuTable<M> {
    memory: M,
    sharing: Sharing,
    lower: u64,
    /// Taken out, but units may still walk them.
    removed: Vec<u64>,
}

/// What an entry is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Entry {
    Empty,
    Table(u64),
    Page,
}

impl<M: TableMemory> CpuTable<M> {
    pub(crate) fn new(memory: M, sharing: Sharing) -> Result<Self> {
        let mut table = CpuTable { memory, sharing, lower: 0, removed: Vec::new() };
        table.lower = table.alloc().ok_or(Error::OutOfFrames)?;
        Ok(table)
    }

    pub(crate) fn lower(&self) -> PhysAddr {
        PhysAddr(self.lower)
    }

    pub(crate) fn removed_frames(&self) -> usize {
        self.removed.len()
    }

    /// Frees what was taken out, where all units have confirmed.
    pub(crate) fn reap(&mut self, is_confirmed: bool) {
        if is_confirmed {
            std::mem::take(&mut self.removed).into_iter().for_each(|frame| self.give_back(frame));
        }
    }

    /// Frees everything: no unit walks it any more.
    pub(crate) fn free(mut self) {
        self.reap(true);
        self.free_below(TOP, self.lower);
    }

    pub(crate) fn map(&mut self, iova: u64, phys: u64, bytes: u64, is_writable: bool) -> Result<()> {
        let mut at = iova;
        while at < iova + bytes {
            let (_, entry, size) = self.find(at);
            if entry == Entry::Page {
                return Err(Error::AlreadyMapped { iova: Iova(at) });
            }
            at = (at / size + 1) * size;
        }
        let mut done = 0;
        while done < bytes {
            let (from, to, rest) = (iova + done, phys + done, bytes - done);
            let fits = |size: u64| (from | to).is_multiple_of(size) && rest >= size;
            let level = match () {
                () if fits(1 << 30) && self.sharing.allows_huge_pages && self.can_hold(from, 3) => 3,
                () if fits(1 << 21) && self.can_hold(from, 2) => 2,
                () => 1,
            };
            self.map_leaf(from, to, level, is_writable).ok_or(Error::OutOfFrames)?;
            done += size_of(level);
        }
        Ok(())
    }

    pub(crate) fn unmap(&mut self, iova: u64, bytes: u64) -> Result<()> {
        let mut at = iova;
        while at < iova + bytes {
            let (_, entry, size) = self.find(at);
            if entry != Entry::Page {
                return Err(Error::NotMapped { iova: Iova(at) });
            }
            if !at.is_multiple_of(size) || at + size > iova + bytes {
                return Err(Error::SplitsLargePage { iova: Iova(at) });
            }
            at += size;
        }
        self.clear(TOP, self.lower, iova, iova + bytes);
        Ok(())
    }

    /// Whether nothing is in the way of a leaf at `level`.
    fn can_hold(&self, iova: u64, level: u32) -> bool {
        self.find(iova).2 >= size_of(level)
    }

    /// The lowest entry there is for `iova`: where, what, and how much it translates.
    fn find(&self, iova: u64) -> (u64, Entry, u64) {
        let (mut table, mut level) = (self.lower, TOP);
        loop {
            let slot = slot(table, iova, level);
            match self.entry(slot, level) {
                Entry::Table(next) => (table, level) = (next, level - 1),
                entry => return (slot, entry, size_of(level)),
            }
        }
    }

    fn map_leaf(&mut self, iova: u64, phys: u64, leaf: u32, is_writable: bool) -> Option<()> {
        let (mut table, mut level) = (self.lower, TOP);
        while level > leaf {
            let slot = slot(table, iova, level);
            table = match self.entry(slot, level) {
                Entry::Table(next) => next,
                _ => {
                    let next = self.alloc()?;
                    self.write(slot, next | LINK);
                    next
                }
            };
            level -= 1;
        }
        let rights = if is_writable { WRITABLE | DIRTY } else { 0 };
        let size = if leaf > 1 { LARGE } else { 0 };
        let bits = phys | PRESENT | USER | ACCESSED | NO_EXECUTE | rights | size;
        self.write(slot(table, iova, leaf), bits);
        Some(())
    }

    fn clear(&mut self, level: u32, table: u64, start: u64, end: u64) {
        let size = size_of(level);
        let mut at = start;
        while at < end {
            let next = (at / size + 1) * size;
            let slot = slot(table, at, level);
            match self.entry(slot, level) {
                Entry::Table(child) => {
                    self.clear(level - 1, child, at, next.min(end));
                    if (0..512).all(|index| self.entry(child + index * 8, level - 1) == Entry::Empty) {
                        self.write(slot, 0);
                        self.removed.push(child);
                    }
                }
                _ => self.write(slot, 0),
            }
            at = next;
        }
    }

    fn free_below(&self, level: u32, table: u64) {
        for index in 0..512 {
            if let Entry::Table(child) = self.entry(table + index * 8, level) {
                self.free_below(level - 1, child);
            }
        }
        self.give_back(table);
    }

    fn entry(&self, slot: u64, level: u32) -> Entry {
        // SAFETY: a slot of a table this type allocated and has not freed.
        let bits = unsafe { self.memory.read64(PhysAddr(slot)) };
        match bits {
            _ if bits & PRESENT == 0 => Entry::Empty,
            _ if level == 1 || bits & LARGE != 0 => Entry::Page,
            _ => Entry::Table(bits & ADDRESS),
        }
    }

    fn write(&self, slot: u64, bits: u64) {
        // SAFETY: as in `entry`.
        unsafe { self.memory.write64(PhysAddr(slot), bits) }
        self.write_back(slot, 8);
    }

    fn alloc(&self) -> Option<u64> {
        let frame = self.memory.alloc(1)?.0;
        self.write_back(frame, 4096);
        Some(frame)
    }

    fn write_back(&self, at: u64, bytes: u64) {
        if !self.sharing.is_coherent {
            // SAFETY: inside a frame this type allocated.
            unsafe { self.memory.flush(PhysAddr(at), bytes) }
        }
    }

    fn give_back(&self, frame: u64) {
        // SAFETY: allocated here, linked nowhere, and confirmed by every unit.
        unsafe { self.memory.free(PhysAddr(frame), 1) }
    }
}

/// Bytes one entry at `level` translates.
const fn size_of(level: u32) -> u64 {
    4096 << (9 * (level - 1))
}

const fn slot(table: u64, iova: u64, level: u32) -> u64 {
    table + iova / size_of(level) % 512 * 8
}
