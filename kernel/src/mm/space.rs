//! Address spaces: a process's mappings, for its threads and, in the DMA window, for its devices.
//!
//! **Invariant: a range is in the book, in the CPU's tables and (if for DMA) in the devices' tables, or in none
//! of them**; and memory is given back only after both have forgotten it.

use weir_abi::layout::{HUGE_PAGE_BYTES, KERNEL_PAGE, LARGE_PAGE_BYTES, PAGE_BYTES};
use weir_abi::{Error, call};
use weir_kernel::refs::Ref;
use weir_kernel::regions::{AREAS, DMA_WINDOW, PRIVATE, Regions};

use super::address::PhysAddr;
use super::memory::Memory;
use super::paging::{Access, Cache, NoFrame, PageTables};
use super::ram;
use crate::cpus::{self, CpuSet};
use crate::kernel_page;

impl From<NoFrame> for Error {
    fn from(_: NoFrame) -> Error {
        Error::NoMemory
    }
}

/// What is mapped in a region.
enum Mapping {
    /// A part of a `Memory`, which it keeps alive.
    Memory {
        /// Held, not used: the frames must outlive the mapping.
        _memory: Ref<Memory>,
    },
    /// Registers of the device with this address.
    Registers { device: u32 },
}

/// An address space.
pub(crate) struct Space {
    tables: PageTables,
    regions: Regions<Mapping>,
    page: PhysAddr,
}

/// A request to map a part of a `Memory`.
#[derive(Clone, Copy)]
pub(crate) struct Request {
    pub(crate) offset: u64,
    pub(crate) bytes: u64,
    /// 0: anywhere.
    pub(crate) address: u64,
    pub(crate) flags: u64,
}

impl Request {
    /// The access asked for, where the flags make sense together.
    fn access(self) -> Result<Access, Error> {
        const KNOWN: u64 = call::MAP_READ | call::MAP_WRITE | call::MAP_EXECUTE | call::MAP_DMA;
        let has = |flag| self.flags & flag != 0;
        let is_valid = self.flags & !KNOWN == 0
            && has(call::MAP_READ)
            && !(has(call::MAP_WRITE) && has(call::MAP_EXECUTE))
            && !(has(call::MAP_DMA) && has(call::MAP_EXECUTE));
        if !is_valid {
            return Err(Error::BadArgument);
        }
        let (write, execute) = (has(call::MAP_WRITE), has(call::MAP_EXECUTE));
        Ok(Access { write, execute, user: true, cache: Cache::WriteBack })
    }

    fn is_dma(self) -> bool {
        self.flags & call::MAP_DMA != 0
    }
}

impl Space {
    /// The address space of process `id`: empty but for its kernel page.
    pub(crate) fn new(id: u32, limit: u32) -> Result<Space, Error> {
        let page = kernel_page::create(id).ok_or(Error::NoMemory)?;
        let tables = match PageTables::for_process(cpus::kernel_root()) {
            Ok(tables) => tables,
            Err(error) => {
                ram::free(page, kernel_page::ORDER);
                return Err(error.into());
            }
        };
        let mut space = Space { tables, regions: Regions::new(AREAS, limit), page };
        let access = Access { user: true, ..Access::KERNEL_CONSTANTS };
        match space.tables.map(KERNEL_PAGE, page, PAGE_BYTES << kernel_page::ORDER, access) {
            Ok(()) => Ok(space),
            Err(error) => {
                space.free();
                Err(error.into())
            }
        }
    }

    /// Its page-table root.
    pub(crate) fn root(&self) -> PhysAddr {
        self.tables.root()
    }

    /// Where its kernel page is.
    pub(crate) fn kernel_page(&self) -> PhysAddr {
        self.page
    }

    /// Frames it takes itself: page tables and the kernel page.
    pub(crate) fn own_frames(&self) -> u64 {
        self.tables.frames() + (1 << kernel_page::ORDER)
    }

    /// How many mappings it has.
    pub(crate) fn mappings(&self) -> u32 {
        self.regions.len()
    }

    /// Maps a part of `memory`; returns where. On failure nothing has changed.
    pub(crate) fn map(&mut self, memory: &Ref<Memory>, request: Request) -> Result<u64, Error> {
        let access = request.access()?;
        let end = request.offset.checked_add(request.bytes).ok_or(Error::BadArgument)?;
        let is_whole = request.bytes > 0 && (request.offset | request.bytes) % PAGE_BYTES == 0;
        if !is_whole || end > memory.bytes() {
            return Err(Error::BadArgument);
        }
        let address = self.reserve(request, Mapping::Memory { _memory: memory.clone() })?;
        let mut done = 0;
        for run in memory.runs(request.offset, request.bytes) {
            if self.tables.map(address + done, PhysAddr(run.start), run.bytes(), access).is_err() {
                // The range has never been used: no CPU caches more than "not present".
                self.tables.remove(address, done).flush(&CpuSet::new());
                self.regions.remove(address);
                return Err(Error::NoMemory);
            }
            done += run.bytes();
        }
        Ok(address)
    }

    fn reserve(&mut self, request: Request, mapping: Mapping) -> Result<u64, Error> {
        let area = if request.is_dma() { DMA_WINDOW } else { PRIVATE };
        if request.address == 0 {
            let align = [HUGE_PAGE_BYTES, LARGE_PAGE_BYTES].into_iter().find(|size| request.bytes >= *size);
            return self.regions.insert_anywhere(area, request.bytes, align.unwrap_or(PAGE_BYTES), mapping);
        }
        let is_in_window = DMA_WINDOW.contains(&request.address);
        if is_in_window != request.is_dma() {
            return Err(Error::BadArgument);
        }
        self.regions.insert_at(request.address, request.bytes, mapping)?;
        Ok(request.address)
    }

    /// Maps registers of the device with PCI address `device`; returns where.
    pub(crate) fn map_registers(
        &mut self,
        device: u32,
        at: PhysAddr,
        bytes: u64,
        cache: Cache,
    ) -> Result<u64, Error> {
        let access = Access { write: true, execute: false, user: true, cache };
        let address =
            self.regions.insert_anywhere(PRIVATE, bytes, PAGE_BYTES, Mapping::Registers { device })?;
        if let Err(error) = self.tables.map(address, at, bytes, access) {
            self.regions.remove(address);
            return Err(error.into());
        }
        Ok(address)
    }

    /// Removes the mapping that starts at `address`. `active`: the CPUs that run this space.
    pub(crate) fn unmap(&mut self, address: u64, active: &CpuSet) -> Result<(), Error> {
        let (bytes, mapping) = self.regions.remove(address).ok_or(Error::NotFound)?;
        self.tables.remove(address, bytes).flush(active);
        // Only now may the frames be used for something else.
        drop(mapping);
        Ok(())
    }

    /// Removes every register mapping of a device.
    pub(crate) fn unmap_registers(&mut self, device: u32, active: &CpuSet) {
        let is_its = |mapping: &Mapping| matches!(mapping, Mapping::Registers { device: d } if *d == device);
        loop {
            let start = self.regions.iter().find(|r| is_its(r.value())).map(|r| r.range().start);
            let Some(start) = start else { return };
            // Just found: it is there.
            let _ = self.unmap(start, active);
        }
    }

    /// Where `address` is in physical memory.
    pub(crate) fn translate(&self, address: u64) -> Option<PhysAddr> {
        self.tables.translate(address)
    }

    /// Frees everything. No CPU has the tables loaded.
    pub(crate) fn free(mut self) {
        self.tables.free();
        while let Some(region) = self.regions.pop_first() {
            drop(region);
        }
        ram::free(self.page, kernel_page::ORDER);
    }
}
