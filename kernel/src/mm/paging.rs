//! CPU page tables (Intel SDM volume 3, "4-Level Paging").
//!
//! **Invariant: a table page that left the tree is freed only after the TLB shootdown that follows**: removing
//! gives [`Removed`], which must be flushed.
//!
//! Accessed and dirty bits are set when an entry is made, so the CPU never writes a table: a device that
//! shares the tables finds them final.

use x86_64::PhysAddr as CratePhysAddr;
use x86_64::structures::paging::PageTableFlags as Flags;
use x86_64::structures::paging::page_table::{PageTable, PageTableEntry};

use weir_abi::layout::{HUGE_PAGE_BYTES, LARGE_PAGE_BYTES, PAGE_BYTES};

use super::address::{Direct, PhysAddr};
use super::{ram, tlb};
use crate::arch::cpu::features;
use crate::cpus::CpuSet;

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
        // SAFETY: the frame is ours alone and lies in the direct map.
        unsafe { core::ptr::write_bytes(frame.direct(), 0xff, PAGE_BYTES as usize) };
        let Some(at) = ram::allocate(0) else {
            ram::free(frame, 0);
            return Err(NoFrame);
        };
        let blank = Blank { frame, table: at };
        table(at).iter_mut().for_each(|entry| *entry = blank.entry());
        Ok(blank)
    }

    /// The entry of one page.
    fn entry(self) -> PageTableEntry {
        let mut entry = PageTableEntry::new();
        entry.set_addr(CratePhysAddr::new(self.frame.0), Blank::ACCESS.flags(false));
        entry
    }
}

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
    /// An empty tree.
    pub(crate) fn new() -> Result<PageTables, NoFrame> {
        Ok(PageTables { root: ram::allocate_zeroed(0).ok_or(NoFrame)?, tables: 0, blank: None })
    }

    /// A tree that shares the kernel's upper half.
    pub(crate) fn for_process(kernel: PhysAddr) -> Result<PageTables, NoFrame> {
        let tables = PageTables::new()?;
        for slot in 256..512 {
            table(tables.root)[slot] = table(kernel)[slot].clone();
        }
        Ok(tables)
    }

    /// Where the root is.
    pub(crate) fn root(&self) -> PhysAddr {
        self.root
    }

    /// Frames held: tables, the root included, and what takes the place of registers.
    pub(crate) fn frames(&self) -> u64 {
        self.tables + 1 + if self.blank.is_some() { 2 } else { 0 }
    }

    /// Maps `bytes` from `address` to physical memory from `frame` on, with the largest pages that fit.
    /// All three are multiples of 4 KiB, and the range is unmapped before. On failure nothing stays mapped.
    pub(crate) fn map(
        &mut self,
        address: u64,
        frame: PhysAddr,
        bytes: u64,
        access: Access,
    ) -> Result<(), NoFrame> {
        let mut done = 0;
        while done < bytes {
            let (at, to) = (address + done, PhysAddr(frame.0 + done));
            let level = self.leaf_level(at, to, bytes - done, access);
            if let Err(error) = self.map_leaf(at, to, level, access) {
                // Nobody has used the range yet: what was cached of it is "not present" only.
                self.remove(address, done).free_unused();
                return Err(error);
            }
            done += level_bytes(level);
        }
        Ok(())
    }

    fn leaf_level(&self, address: u64, frame: PhysAddr, bytes: u64, access: Access) -> u8 {
        let fits = |size: u64| (address | frame.0).is_multiple_of(size) && bytes >= size;
        let fitting = if features().huge_pages && fits(HUGE_PAGE_BYTES) {
            2
        } else if fits(LARGE_PAGE_BYTES) {
            1
        } else {
            0
        };
        access.highest_leaf().min(fitting)
    }

    fn map_leaf(&mut self, address: u64, frame: PhysAddr, leaf: u8, access: Access) -> Result<(), NoFrame> {
        let mut at = self.root;
        let mut level = ROOT_LEVEL;
        while level > leaf {
            let slot = index(address, level);
            at = match entry_table(&table(at)[slot]) {
                Some(next) => next,
                None => {
                    debug_assert!(table(at)[slot].is_unused(), "mapping over a mapping");
                    let child = self.new_table()?;
                    table(at)[slot].set_addr(child, table_flags());
                    PhysAddr(child.as_u64())
                }
            };
            level -= 1;
        }
        let entry = &mut table(at)[index(address, leaf)];
        debug_assert!(entry.is_unused(), "mapping over a mapping");
        entry.set_addr(CratePhysAddr::new(frame.0), access.flags(leaf > 0));
        Ok(())
    }

    fn new_table(&mut self) -> Result<CratePhysAddr, NoFrame> {
        let frame = ram::allocate_zeroed(0).ok_or(NoFrame)?;
        self.tables += 1;
        Ok(CratePhysAddr::new(frame.0))
    }

    /// Gets ready for [`PageTables::redirect`], which must not depend on free memory.
    pub(crate) fn prepare_redirect(&mut self) -> Result<(), NoFrame> {
        if self.blank.is_none() {
            self.blank = Some(Blank::new()?);
        }
        Ok(())
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

    /// Removes every leaf in the range, which must start and end on leaf boundaries; unmapped parts are fine.
    pub(crate) fn remove(&mut self, address: u64, bytes: u64) -> Removed {
        let mut removed = self.nothing_removed();
        if bytes > 0 {
            remove_in(self.root, ROOT_LEVEL, address, address + bytes, &mut removed);
        }
        self.tables -= removed.count;
        removed
    }

    fn nothing_removed(&self) -> Removed {
        Removed { tables: None, count: 0, blank: self.blank.map(|blank| blank.table) }
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
        next_leaf_in(self.root, ROOT_LEVEL, 0, address)
    }

    /// Frees the tree of a process. No CPU may have it loaded.
    pub(crate) fn free(self) {
        let lower = 256 * level_bytes(ROOT_LEVEL);
        let mut removed = self.nothing_removed();
        remove_in(self.root, ROOT_LEVEL, 0, lower, &mut removed);
        removed.free_unused();
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

/// Clears `[start, end)` in the table at `at`; empty tables below it go to `removed`.
fn remove_in(at: PhysAddr, level: u8, start: u64, end: u64, removed: &mut Removed) {
    let size = level_bytes(level);
    let mut address = start;
    while address < end {
        let next = (address / size + 1) * size;
        let entry = &mut table(at)[index(address, level)];
        match entry_table(entry).filter(|child| level > 0 && Some(*child) != removed.blank) {
            Some(child) => {
                remove_in(child, level - 1, address, next.min(end), removed);
                if table(child).iter().all(PageTableEntry::is_unused) {
                    entry.set_unused();
                    removed.push(child);
                }
            }
            None => entry.set_unused(),
        }
        address = next;
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
#[must_use = "CPUs may still use the mapping: shoot it down"]
pub(crate) struct Removed {
    /// Table pages that left the tree, chained through their first word, which reads as "not present".
    tables: Option<PhysAddr>,
    count: u64,
    /// The table that stays, whose place in the tree is taken by large pages: see [`Blank`].
    blank: Option<PhysAddr>,
}

impl Removed {
    fn push(&mut self, page: PhysAddr) {
        let next = self.tables.map_or(0, |p| p.0);
        // SAFETY: the page is a table of ours, empty, and now out of the tree.
        unsafe { page.direct().cast::<u64>().write_volatile(next) };
        self.tables = Some(page);
        self.count += 1;
    }

    /// Makes the CPUs in `active` forget the mappings, then frees the table pages.
    pub(crate) fn flush(self, active: &CpuSet) {
        tlb::shoot_down(active);
        self.free_unused();
    }

    /// Frees the table pages. For trees that no CPU has loaded, or ranges that nobody has used.
    fn free_unused(self) {
        let mut next = self.tables;
        while let Some(page) = next {
            // SAFETY: as in `push`.
            let link = unsafe { page.direct().cast::<u64>().read_volatile() };
            ram::free(page, 0);
            next = (link != 0).then_some(PhysAddr(link));
        }
    }
}
