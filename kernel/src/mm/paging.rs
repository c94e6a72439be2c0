//! CPU page tables (Intel SDM volume 3, "4-Level Paging").
//!
//! **Invariant: a table page that left the tree is freed only after CPUs, and devices where they walk it, have
//! forgotten it**: removing gives [`Removed`], which must be flushed.
//! **Invariant: what the first entry of a process's root leads to holds user data of [`Memory`] objects and nothing
//! else**: [`PageTables::map_memory`] alone writes there, and takes its frames from a `Memory`. Devices may be led to
//! the same table ([`PageTables::window`]).
//!
//! Accessed and dirty bits are set when an entry is made, so the CPU never writes a table: a device that
//! shares the tables finds them final.

use core::ops::Range;
use core::sync::atomic::{AtomicU64, Ordering};

use x86_64::PhysAddr as CratePhysAddr;
use x86_64::structures::paging::PageTableFlags as Flags;
use x86_64::structures::paging::page_table::{PageTable, PageTableEntry};

use weir_abi::layout::{DMA_WINDOW_END, PAGE_BYTES};

use super::address::{Direct, PhysAddr, PhysRange};
use super::memory::Memory;
use super::{ram, tlb};
use crate::arch::cpu::{self, features};
use crate::cpus::CpuSet;
use crate::iommu;

/// How a mapping may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Access {
    pub(crate) write: bool,
    pub(crate) execute: bool,
    pub(crate) user: bool,
    pub(crate) cache: Cache,
}

/// Memory type, as the PAT set up in [`crate::arch::cpu`] numbers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cache {
    WriteBack,
    Uncached,
    WriteCombining,
}

impl Access {
    /// The kernel's data.
    pub(crate) const KERNEL_DATA: Access =
        Access { write: true, execute: false, user: false, cache: Cache::WriteBack };
    /// The kernel's constants.
    pub(crate) const KERNEL_CONSTANTS: Access = Access { write: false, ..Access::KERNEL_DATA };
    /// The kernel's code.
    pub(crate) const KERNEL_CODE: Access = Access { execute: true, ..Access::KERNEL_CONSTANTS };
    /// Registers the kernel drives.
    pub(crate) const KERNEL_REGISTERS: Access = Access { cache: Cache::Uncached, ..Access::KERNEL_DATA };

    fn flags(self, is_large: bool) -> Flags {
        let mut flags = Flags::PRESENT | Flags::ACCESSED;
        flags.set(Flags::WRITABLE | Flags::DIRTY, self.write);
        flags.set(Flags::NO_EXECUTE, !self.execute);
        flags.set(Flags::USER_ACCESSIBLE, self.user);
        flags.set(Flags::GLOBAL, !self.user);
        flags.set(Flags::HUGE_PAGE, is_large);
        match self.cache {
            Cache::WriteBack => {}
            Cache::Uncached => flags |= Flags::NO_CACHE | Flags::WRITE_THROUGH,
            // The PAT bit of a 4 KiB entry is where a large entry has its size bit; only 4 KiB is used.
            Cache::WriteCombining => flags |= Flags::HUGE_PAGE,
        }
        flags
    }

    /// The highest level of leaves. Registers go up to 2 MiB, which can be redirected in place
    /// ([`PageTables::redirect`]); where a large entry has its memory type, a 4 KiB one has another bit.
    fn highest_leaf(self) -> u8 {
        match self.cache {
            Cache::WriteBack => 2,
            Cache::Uncached => 1,
            Cache::WriteCombining => 0,
        }
    }
}

/// The tables could not grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NoFrame;

/// A tree of page tables.
pub(crate) struct PageTables {
    root: PhysAddr,
    /// Table pages below the root.
    tables: u64,
    /// Of a process's tree.
    window: Option<Window>,
    blank: Option<Blank>,
}

/// What takes the place of registers: a frame of all ones, and a table whose entries all lead there, which stands in
/// the tree as often as needed.
#[derive(Clone, Copy)]
struct Blank {
    frame: PhysAddr,
    table: PhysAddr,
}

impl Blank {
    /// What the process writes there lands in the frame, which is its own.
    const ACCESS: Access = Access { write: true, execute: false, user: true, cache: Cache::WriteBack };

    fn new() -> Result<Blank, NoFrame> {
        let frame = ram::allocate(0).ok_or(NoFrame)?;
        let Some(at) = ram::allocate(0) else {
            ram::free(frame, 0);
            return Err(NoFrame);
        };
        let blank = Blank { frame, table: at };
        blank.fill();
        table(at).iter_mut().for_each(|entry| *entry = blank.entry());
        Ok(blank)
    }

    /// Writes the ones.
    fn fill(self) {
        let words = self.frame.direct().cast::<AtomicU64>();
        for at in 0..PAGE_BYTES as usize / size_of::<AtomicU64>() {
            // SAFETY: a word of a whole frame, which lies in the direct map; the process may write it, too, and so it is
            // an atomic.
            unsafe { &*words.add(at) }.store(u64::MAX, Ordering::Relaxed);
        }
    }

    /// The entry of one page.
    fn entry(self) -> PageTableEntry {
        let mut entry = PageTableEntry::new();
        entry.set_addr(CratePhysAddr::new(self.frame.0), Blank::ACCESS.flags(false));
        entry
    }
}

/// The table that the DMA window is found through, the first of the root's.
struct Window {
    at: PhysAddr,
    writer: Writer,
}

/// Entry of the root that leads to the DMA window.
const WINDOW_SLOT: usize = 0;
const _: () = assert!(DMA_WINDOW_END <= level_bytes(ROOT_LEVEL));

/// Levels: 3 is the root; a leaf at level 0 is 4 KiB, at 1 2 MiB, at 2 1 GiB.
const ROOT_LEVEL: u8 = 3;

const fn level_bytes(level: u8) -> u64 {
    PAGE_BYTES << (9 * level)
}

fn index(address: u64, level: u8) -> usize {
    (address / level_bytes(level)) as usize & 511
}

fn table(address: PhysAddr) -> &'static mut PageTable {
    // SAFETY: only tables of this tree are passed here, whole frames that the tree owns; the borrow is used
    // at once and never kept beside another of the same table.
    unsafe { &mut *address.direct().cast::<PageTable>() }
}

fn entry_table(entry: &PageTableEntry) -> Option<PhysAddr> {
    let is_table = entry.flags().contains(Flags::PRESENT) && !entry.flags().contains(Flags::HUGE_PAGE);
    is_table.then(|| PhysAddr(entry.addr().as_u64()))
}

impl PageTables {
    /// An empty tree, of the kernel.
    pub(crate) fn new() -> Result<PageTables, NoFrame> {
        Ok(PageTables { root: ram::allocate_zeroed(0).ok_or(NoFrame)?, tables: 0, window: None, blank: None })
    }

    /// A tree that shares the kernel's upper half, with a table for the DMA window, which stays as long as the tree.
    pub(crate) fn for_process(kernel: PhysAddr) -> Result<PageTables, NoFrame> {
        let mut tables = PageTables::new()?;
        for slot in 256..512 {
            table(tables.root)[slot] = table(kernel)[slot].clone();
        }
        let writer = Writer { is_flushing: iommu::sharing().is_some_and(|sharing| !sharing.is_coherent) };
        match tables.new_table(writer) {
            Ok(at) => {
                writer.link(&mut table(tables.root)[WINDOW_SLOT], at);
                tables.window = Some(Window { at, writer });
                Ok(tables)
            }
            Err(error) => {
                ram::free(tables.root, 0);
                Err(error)
            }
        }
    }

    /// Where the root is.
    pub(crate) fn root(&self) -> PhysAddr {
        self.root
    }

    /// Where the table of the DMA window is, for a process's tree.
    pub(crate) fn window(&self) -> Option<PhysAddr> {
        self.window.as_ref().map(|window| window.at)
    }

    /// Frames held: tables, the root included, and what takes the place of registers.
    pub(crate) fn frames(&self) -> u64 {
        self.tables + 1 + if self.blank.is_some() { 2 } else { 0 }
    }

    /// Maps `bytes` from `address` to physical memory from `frame` on, with the largest pages that fit.
    /// All three are multiples of 4 KiB, and the range is unmapped before. After a failure a part may be mapped:
    /// [`remove`](PageTables::remove) the range.
    ///
    /// # Panics
    /// In the part of the address space that devices may share: only [`map_memory`](PageTables::map_memory) maps there.
    pub(crate) fn map(
        &mut self,
        address: u64,
        frame: PhysAddr,
        bytes: u64,
        access: Access,
    ) -> Result<(), NoFrame> {
        assert!(index(address, ROOT_LEVEL) != WINDOW_SLOT, "only memory for devices belongs there");
        let leaves = Leaves { access, largest: access.highest_leaf() };
        self.map_run(address, PhysRange::new(frame.0, bytes), leaves, Writer::PLAIN)
    }

    /// Maps a part of `memory` for a process. In the DMA window, where devices may walk these tables, the pages are
    /// those of user data whatever `access` says otherwise. Fails as [`map`](PageTables::map) does.
    pub(crate) fn map_memory(
        &mut self,
        address: u64,
        memory: &Memory,
        (offset, bytes): (u64, u64),
        access: Access,
    ) -> Result<(), NoFrame> {
        let window = self.window.as_ref().filter(|_| index(address, ROOT_LEVEL) == WINDOW_SLOT);
        let (leaves, writer) = match window {
            Some(window) => (Leaves::of_window(access), window.writer),
            None => (Leaves { access: Access { user: true, ..access }, largest: 2 }, Writer::PLAIN),
        };
        let mut at = address;
        for run in memory.runs(offset, bytes) {
            self.map_run(at, run, leaves, writer)?;
            at += run.bytes();
        }
        Ok(())
    }

    fn map_run(
        &mut self,
        address: u64,
        run: PhysRange,
        leaves: Leaves,
        writer: Writer,
    ) -> Result<(), NoFrame> {
        let mut done = 0;
        while done < run.bytes() {
            let (at, to) = (address + done, PhysAddr(run.start + done));
            let level = leaves.level(at, to, run.bytes() - done);
            self.map_leaf(at, to, level, leaves.access, writer)?;
            done += level_bytes(level);
        }
        Ok(())
    }

    fn map_leaf(
        &mut self,
        address: u64,
        frame: PhysAddr,
        leaf: u8,
        access: Access,
        writer: Writer,
    ) -> Result<(), NoFrame> {
        let mut at = self.root;
        for level in (leaf + 1..=ROOT_LEVEL).rev() {
            let slot = index(address, level);
            at = match entry_table(&table(at)[slot]) {
                Some(next) => next,
                None => {
                    debug_assert!(table(at)[slot].is_unused(), "mapping over a mapping");
                    let child = self.new_table(writer)?;
                    writer.link(&mut table(at)[slot], child);
                    child
                }
            };
        }
        let entry = &mut table(at)[index(address, leaf)];
        debug_assert!(entry.is_unused(), "mapping over a mapping");
        writer.write(entry, frame, access.flags(leaf > 0));
        Ok(())
    }

    fn new_table(&mut self, writer: Writer) -> Result<PhysAddr, NoFrame> {
        let frame = ram::allocate_zeroed(0).ok_or(NoFrame)?;
        writer.flush(frame.direct(), PAGE_BYTES as usize);
        self.tables += 1;
        Ok(frame)
    }

    /// Gets ready for [`PageTables::redirect`], which must not depend on free memory.
    pub(crate) fn prepare_redirect(&mut self) -> Result<(), NoFrame> {
        if self.blank.is_none() {
            self.blank = Some(Blank::new()?);
        }
        Ok(())
    }

    /// Makes what takes the place of registers all ones again.
    pub(crate) fn fill_blank(&self) {
        self.blank.iter().for_each(|blank| blank.fill());
    }

    /// Leads every page of a mapped range to a frame of all ones. Needs no memory. The CPUs that run this tree must be
    /// told ([`tlb::shoot_down`]) before the old frames count as out of reach. Cost: per large page a walk, per other
    /// page a store.
    pub(crate) fn redirect(&mut self, address: u64, bytes: u64) {
        let Some(blank) = self.blank else { return };
        let leaf = blank.entry();
        let (mut page, end) = (address, address + bytes);
        while page < end {
            let part_end = end.min((page / level_bytes(1) + 1) * level_bytes(1));
            let directory = (2..=ROOT_LEVEL)
                .rev()
                .try_fold(self.root, |at, level| entry_table(&table(at)[index(page, level)]));
            if let Some(entry) = directory.map(|at| &mut table(at)[index(page, 1)]) {
                match entry_table(entry) {
                    Some(pages) => {
                        let (first, count) = (index(page, 0), (part_end - page) / PAGE_BYTES);
                        let pages = table(pages).iter_mut().skip(first).take(count as usize);
                        pages.for_each(|entry| *entry = leaf.clone());
                    }
                    // A leaf, all of which is in the range: mappings are redirected whole.
                    None => entry.set_addr(CratePhysAddr::new(blank.table.0), table_flags()),
                }
            }
            page = part_end;
        }
    }

    /// Leads one mapped 4 KiB page elsewhere. Needs no memory. Whoever translates it must forget it.
    pub(crate) fn point(&mut self, page: u64, to: PhysAddr, access: Access) {
        let pages = (1..=ROOT_LEVEL)
            .rev()
            .try_fold(self.root, |at, level| entry_table(&table(at)[index(page, level)]));
        if let Some(at) = pages {
            table(at)[index(page, 0)].set_addr(CratePhysAddr::new(to.0), access.flags(false));
        }
    }

    /// Removes every leaf in the range, which must start and end on leaf boundaries; unmapped parts are fine.
    pub(crate) fn remove(&mut self, address: u64, bytes: u64) -> Removed {
        let mut removed = Removed { tables: None, count: 0 };
        if bytes > 0 {
            self.remove_in(self.root, ROOT_LEVEL, address..address + bytes, &mut removed);
        }
        self.tables -= removed.count;
        removed
    }

    /// Clears a range in the table at `at`; empty tables below it go to `removed`, but for the window's own.
    fn remove_in(&self, at: PhysAddr, level: u8, range: Range<u64>, removed: &mut Removed) {
        let size = level_bytes(level);
        let mut address = range.start;
        while address < range.end {
            let next = (address / size + 1) * size;
            let slot = index(address, level);
            let writer = self.writer_for(address);
            match entry_table(&table(at)[slot]).filter(|child| level > 0 && !self.is_blank(*child)) {
                Some(child) => {
                    self.remove_in(child, level - 1, address..next.min(range.end), removed);
                    let is_empty = table(child).iter().all(PageTableEntry::is_unused);
                    if is_empty && self.window() != Some(child) {
                        writer.clear(&mut table(at)[slot]);
                        removed.push(child);
                    }
                }
                None => writer.clear(&mut table(at)[slot]),
            }
            address = next;
        }
    }

    /// Whether a table is the one that stands in the tree as often as needed, and is not of the tree's own.
    fn is_blank(&self, at: PhysAddr) -> bool {
        self.blank.is_some_and(|blank| blank.table == at)
    }

    fn writer_for(&self, address: u64) -> Writer {
        let window = self.window.as_ref().filter(|_| index(address, ROOT_LEVEL) == WINDOW_SLOT);
        window.map_or(Writer::PLAIN, |window| window.writer)
    }

    /// What `address` maps to, and whether user mode may write there.
    pub(crate) fn translate(&self, address: u64) -> Option<PhysAddr> {
        let mut at = self.root;
        for level in (0..=ROOT_LEVEL).rev() {
            let entry = &table(at)[index(address, level)];
            if !entry.flags().contains(Flags::PRESENT) {
                return None;
            }
            match entry_table(entry) {
                Some(next) if level > 0 => at = next,
                _ => return Some(PhysAddr(entry.addr().as_u64() + address % level_bytes(level))),
            }
        }
        None
    }

    /// The leaf that `address`, of the lower half, lies in, else the first one above in that half.
    pub(crate) fn next_leaf(&self, address: u64) -> Option<Leaf> {
        next_leaf(self.root, address)
    }

    /// Frees the tree of a process. No CPU may have it loaded, and no unit may have a way to the window's table.
    pub(crate) fn free(mut self) {
        self.window = None;
        let lower = 256 * level_bytes(ROOT_LEVEL);
        self.remove(0, lower).free();
        ram::free(self.root, 0);
        for frame in self.blank.into_iter().flat_map(|blank| [blank.frame, blank.table]) {
            ram::free(frame, 0);
        }
    }
}

/// Table entries permit everything; leaves restrict.
fn table_flags() -> Flags {
    Flags::PRESENT | Flags::WRITABLE | Flags::USER_ACCESSIBLE | Flags::ACCESSED
}

/// Which leaves a range gets.
#[derive(Clone, Copy)]
struct Leaves {
    access: Access,
    /// Level of the largest.
    largest: u8,
}

impl Leaves {
    /// In the DMA window: user data, never code, ordinary memory, of a size that devices can walk, too.
    fn of_window(access: Access) -> Leaves {
        let access = Access { write: access.write, execute: false, user: true, cache: Cache::WriteBack };
        let allows_huge = iommu::sharing().is_none_or(|sharing| sharing.allows_huge_pages);
        Leaves { access, largest: if allows_huge { 2 } else { 1 } }
    }

    fn level(self, address: u64, frame: PhysAddr, bytes: u64) -> u8 {
        let fits = |level: &u8| {
            let size = level_bytes(*level);
            (address | frame.0).is_multiple_of(size) && bytes >= size && (*level < 2 || features().huge_pages)
        };
        (0..=self.largest).rev().find(fits).unwrap_or(0)
    }
}

/// How entries are written.
#[derive(Clone, Copy)]
struct Writer {
    /// Units walk these tables and do not look into the CPU's caches: each write goes to memory before the next.
    is_flushing: bool,
}

impl Writer {
    /// For tables that CPUs alone walk.
    const PLAIN: Writer = Writer { is_flushing: false };

    /// Leads an entry to a table, whose content is in place.
    fn link(self, entry: &mut PageTableEntry, to: PhysAddr) {
        self.write(entry, to, table_flags());
    }

    fn write(self, entry: &mut PageTableEntry, to: PhysAddr, flags: Flags) {
        let mut value = PageTableEntry::new();
        value.set_addr(CratePhysAddr::new(to.0), flags);
        self.store(entry, value);
    }

    fn clear(self, entry: &mut PageTableEntry) {
        self.store(entry, PageTableEntry::new());
    }

    /// One store, in program order: who walks the tables at this moment sees the old entry or the new one.
    fn store(self, entry: &mut PageTableEntry, value: PageTableEntry) {
        // SAFETY: a valid entry, borrowed for this.
        unsafe { core::ptr::from_mut(entry).write_volatile(value) };
        self.flush(core::ptr::from_ref(entry).cast(), size_of::<PageTableEntry>());
    }

    fn flush(self, start: *const u8, bytes: usize) {
        if self.is_flushing {
            cpu::write_back(start, bytes);
        }
    }
}

/// A page that is mapped.
#[derive(Clone, Copy)]
pub(crate) struct Leaf {
    pub(crate) address: u64,
    pub(crate) to: PhysAddr,
    pub(crate) bytes: u64,
    pub(crate) write: bool,
    pub(crate) execute: bool,
}

/// As [`PageTables::next_leaf`], of the tree that a device walks from `root` ([`crate::iommu::Domain`]).
pub(crate) fn next_leaf(root: PhysAddr, address: u64) -> Option<Leaf> {
    next_leaf_in(root, ROOT_LEVEL, 0, address)
}

/// The leaf at or above `from` in the table at `at`, whose first entry translates `base`.
fn next_leaf_in(at: PhysAddr, level: u8, base: u64, from: u64) -> Option<Leaf> {
    let slots = if level == ROOT_LEVEL { 256 } else { 512 };
    let first = if from > base { ((from - base) / level_bytes(level)) as usize } else { 0 };
    (first..slots).find_map(|slot| {
        let entry = &table(at)[slot];
        let address = base + slot as u64 * level_bytes(level);
        if let Some(child) = entry_table(entry).filter(|_| level > 0) {
            return next_leaf_in(child, level - 1, address, from);
        }
        let flags = entry.flags();
        flags.contains(Flags::PRESENT).then(|| Leaf {
            address,
            to: PhysAddr(entry.addr().as_u64()),
            bytes: level_bytes(level),
            write: flags.contains(Flags::WRITABLE),
            execute: !flags.contains(Flags::NO_EXECUTE),
        })
    })
}

/// Mappings that were taken out of a tree, but may still be cached.
#[must_use = "CPUs and devices may still use the mapping: flush it"]
pub(crate) struct Removed {
    /// Table pages that left the tree, chained through their first word, which reads as "not present".
    tables: Option<PhysAddr>,
    count: u64,
}

impl Removed {
    fn push(&mut self, page: PhysAddr) {
        let next = self.tables.map_or(0, |p| p.0);
        // SAFETY: the page is a table of ours, empty, and now out of the tree.
        unsafe { page.direct().cast::<u64>().write_volatile(next) };
        self.tables = Some(page);
        self.count += 1;
    }

    /// Makes the CPUs in `active` forget the mappings, then whoever `confirm` asks, then frees the table pages. Where
    /// that fails they are never used again.
    pub(crate) fn flush<E>(self, active: &CpuSet, confirm: impl FnOnce() -> Result<(), E>) -> Result<(), E> {
        tlb::shoot_down(active);
        confirm()?;
        self.free();
        Ok(())
    }

    /// Frees the table pages. Nobody has a way to them.
    fn free(self) {
        let mut next = self.tables;
        while let Some(page) = next {
            // SAFETY: as in `push`.
            let link = unsafe { page.direct().cast::<u64>().read_volatile() };
            ram::free(page, 0);
            next = (link != 0).then_some(PhysAddr(link));
        }
    }
}
