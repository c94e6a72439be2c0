//! Address spaces: a process's mappings, for its threads and, in the DMA window, for its devices.
//!
//! **Invariant: a range is in the book, in the CPU's tables and (if for DMA) in the devices' tables, or in none
//! of them**; and memory is given back only after both have forgotten it.

use core::sync::atomic::{AtomicU64, Ordering};

use weir_abi::layout::{HUGE_PAGE_BYTES, KERNEL_PAGE, LARGE_PAGE_BYTES, PAGE_BYTES};
use weir_abi::{Error, call};
use weir_kernel::refs::Ref;
use weir_kernel::regions::{AREAS, DMA_WINDOW, PRIVATE, REGISTERS, Regions};

use super::address::PhysAddr;
use super::device_root;
use super::memory::Memory;
use super::paging::{Access, Cache, NoFrame, PageTables};
use super::{ram, tlb};
use crate::cpus::{self, CpuSet};
use crate::iommu::{self, Cover, Domain};
use crate::kernel_page;

impl From<NoFrame> for Error {
    fn from(_: NoFrame) -> Error {
        Error::NoMemory
    }
}

/// What is mapped in a region.
pub(super) enum Mapping {
    /// A part of a `Memory`, which it keeps alive.
    Memory { memory: Ref<Memory>, offset: u64, is_writable: bool },
    /// Registers of the device with this address.
    Registers { device: u32 },
    /// What were registers, of a device that is gone.
    Poison,
}

/// An address space.
pub(crate) struct Space {
    pub(super) tables: PageTables,
    pub(super) regions: Regions<Mapping>,
    page: PhysAddr,
    /// What the process's devices reach: the regions of the DMA window. Made with the first device.
    pub(super) domain: Option<Domain>,
    /// It has a device that nothing confines.
    is_unconfined: bool,
    /// A unit did not confirm that a device was cut off: the frames mapped for DMA are never given back.
    is_quarantined: bool,
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
        let mut space = Space {
            tables,
            regions: Regions::new(AREAS, limit),
            page,
            domain: None,
            is_unconfined: false,
            is_quarantined: false,
        };
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

    /// Frames it takes itself: page tables, the kernel page.
    pub(crate) fn own_frames(&self) -> u64 {
        self.tables.frames() + (1 << kernel_page::ORDER)
    }

    /// How many mappings it has.
    pub(crate) fn mappings(&self) -> u32 {
        self.regions.len()
    }

    /// Maps a part of `memory`; returns where. On failure nothing has changed. `active`: the CPUs that run this space.
    pub(crate) fn map(
        &mut self,
        memory: &Ref<Memory>,
        request: Request,
        active: &CpuSet,
    ) -> Result<u64, Error> {
        let access = request.access()?;
        let end = request.offset.checked_add(request.bytes).ok_or(Error::BadArgument)?;
        let is_whole = request.bytes > 0 && (request.offset | request.bytes).is_multiple_of(PAGE_BYTES);
        if !is_whole || end > memory.bytes() {
            return Err(Error::BadArgument);
        }
        let mapping =
            Mapping::Memory { memory: memory.clone(), offset: request.offset, is_writable: access.write };
        let address = self.reserve(request, mapping)?;
        let Request { offset, bytes, .. } = request;
        let mapped = self.tables.map_memory(address, memory, (offset, bytes), access);
        let mapped = mapped.map_err(Error::from).and_then(|()| match self.domain.as_mut() {
            Some(domain) if request.is_dma() => domain.added(address, memory, offset, bytes, access.write),
            _ => Ok(()),
        });
        if let Err(error) = mapped {
            self.take_back(address, active, Domain::take_back)?;
            return Err(error);
        }
        self.check_device_tables();
        Ok(address)
    }

    /// Removes a range that CPUs, and devices in the window, may have used; `active`: the CPUs that run this space.
    /// What devices may still reach after an error stays out of use for ever.
    fn take_back(
        &mut self,
        address: u64,
        active: &CpuSet,
        forget: impl FnOnce(&mut Domain, u64, u64) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let (bytes, mapping) = self.regions.remove(address).ok_or(Error::NotFound)?;
        let domain = self.domain.as_mut().filter(|_| DMA_WINDOW.contains(&address));
        let confirm = || domain.map_or(Ok(()), |domain| forget(domain, address, bytes));
        self.tables.remove(address, bytes).flush(active, confirm).inspect_err(|error| {
            log::error!("{bytes} bytes at {address:#x} are in quarantine: {error}");
            quarantine(bytes);
            core::mem::forget(mapping);
        })
    }

    /// Puts a function's requests into this process's domain, which is made if it is the first.
    pub(crate) fn attach(&mut self, cover: &Cover) -> Result<(), Error> {
        if self.domain.is_none() {
            self.domain = Some(self.new_domain()?);
        }
        self.domain.as_mut().ok_or(Error::Gone)?.attach(cover)?;
        self.check_device_tables();
        Ok(())
    }

    fn new_domain(&self) -> Result<Domain, Error> {
        let mut domain = Domain::new(self.tables.window().ok_or(Error::Gone)?)?;
        for region in self.regions.iter().filter(|r| DMA_WINDOW.contains(&r.range().start)) {
            let Mapping::Memory { memory, offset, is_writable } = region.value() else { continue };
            let start = region.range().start;
            if let Err(error) = domain.added(start, memory, *offset, region.bytes(), *is_writable) {
                domain.destroy()?;
                return Err(error);
            }
        }
        Ok(domain)
    }

    /// Cuts a function off. After an error its frames are in quarantine.
    pub(crate) fn detach(&mut self, cover: &Cover) -> Result<(), Error> {
        let Some(domain) = self.domain.as_mut() else { return Ok(()) };
        domain.detach(cover).inspect_err(|_| self.is_quarantined = true)
    }

    /// The process gets a device that nothing confines.
    pub(crate) fn set_unconfined(&mut self) {
        self.is_unconfined = true;
    }

    /// What a device uses for `address` in the DMA window.
    pub(crate) fn io_address(&self, address: u64) -> Result<u64, Error> {
        self.regions
            .find_containing(address)
            .filter(|_| DMA_WINDOW.contains(&address))
            .ok_or(Error::BadAddress)?;
        match self.is_unconfined {
            true => self.tables.translate(address).map(|at| at.0).ok_or(Error::BadAddress),
            false => Ok(address),
        }
    }

    /// Walks what devices walk, where tests ask for it and devices share these tables.
    ///
    /// # Panics
    /// Where a device could reach what is not mapped for it.
    fn check_device_tables(&self) {
        let Some(window) = self.tables.window() else { return };
        if !iommu::checks_tables() || iommu::sharing().is_none() {
            return;
        }
        let in_window = || self.regions.iter().filter(|r| DMA_WINDOW.contains(&r.range().start));
        let expected = in_window().map(|region| region.bytes()).sum();
        let checked = device_root::check(window, expected, &|address| self.memory_at(address));
        let leaves = checked.unwrap_or_else(|violation| panic!("tables of devices: {violation}"));
        let Some(root) = self.domain.as_ref().and_then(Domain::shared_root) else { return };
        if let Err(violation) = device_root::check_root(root, window) {
            panic!("tables of devices: {violation}");
        }
        if leaves > 0 {
            log::debug!("device root {root:?}: {leaves} leaves, all of them memory mapped for DMA");
        }
    }

    /// The frame of a page of a `Memory` in the DMA window, and whether it may be written.
    fn memory_at(&self, address: u64) -> Option<(u64, bool)> {
        let region = self.regions.find_containing(address).filter(|_| DMA_WINDOW.contains(&address))?;
        let Mapping::Memory { memory, offset, is_writable } = region.value() else { return None };
        let at = offset + (address - region.range().start);
        memory.runs(at, PAGE_BYTES).next().map(|run| (run.start, *is_writable))
    }

    fn reserve(&mut self, request: Request, mapping: Mapping) -> Result<u64, Error> {
        let area = if request.is_dma() { DMA_WINDOW } else { PRIVATE };
        if request.address == 0 {
            let align = [HUGE_PAGE_BYTES, LARGE_PAGE_BYTES].into_iter().find(|size| request.bytes >= *size);
            return self.regions.insert_anywhere(area, request.bytes, align.unwrap_or(PAGE_BYTES), mapping);
        }
        let is_in_window = DMA_WINDOW.contains(&request.address);
        if is_in_window != request.is_dma() || REGISTERS.contains(&request.address) {
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
        active: &CpuSet,
    ) -> Result<u64, Error> {
        let access = Access { write: true, execute: false, user: true, cache };
        // Taken now: taking the device away must not depend on free memory.
        self.tables.prepare_redirect()?;
        // Now, not when the device goes, which is to be quick: the process may have written to what it saw when it
        // lost another one.
        self.tables.fill_blank();
        let align = if bytes < LARGE_PAGE_BYTES { PAGE_BYTES } else { LARGE_PAGE_BYTES };
        let address = self.regions.insert_anywhere(REGISTERS, bytes, align, Mapping::Registers { device })?;
        if let Err(error) = self.tables.map(address, at, bytes, access) {
            self.take_back(address, active, Domain::take_back)?;
            return Err(error.into());
        }
        Ok(address)
    }

    /// Removes the mapping that starts at `address`. `active`: the CPUs that run this space.
    pub(crate) fn unmap(&mut self, address: u64, active: &CpuSet) -> Result<(), Error> {
        self.take_back(address, active, Domain::removed)?;
        self.check_device_tables();
        Ok(())
    }

    /// Takes the registers of a device out of reach: every mapping of them shows all ones from now on, as after a
    /// surprise removal. What the process writes there lands in a frame of its own.
    pub(crate) fn poison_registers(&mut self, device: u32, active: &CpuSet) {
        let is_its = |mapping: &Mapping| matches!(mapping, Mapping::Registers { device: d } if *d == device);
        let mut from = REGISTERS.start;
        loop {
            let rest = from..REGISTERS.end;
            let range = self.regions.iter_in(rest).find(|r| is_its(r.value())).map(|r| r.range());
            let Some(range) = range else { break };
            self.tables.redirect(range.start, range.end - range.start);
            self.regions.replace(range.start, Mapping::Poison);
            from = range.end;
        }
        tlb::shoot_down(active);
    }

    /// Frees everything. No CPU has the tables loaded.
    pub(crate) fn free(mut self) {
        if let Some(domain) = self.domain.take() {
            self.is_quarantined |= domain.destroy().is_err();
        }
        if !self.is_quarantined {
            // Else a unit may still walk the window's tables: they stay out of use.
            self.tables.free();
        }
        while let Some(region) = self.regions.pop_first() {
            if self.is_quarantined && DMA_WINDOW.contains(&region.range().start) {
                log::error!("{} bytes at {:#x} are in quarantine", region.bytes(), region.range().start);
                quarantine(region.bytes());
                core::mem::forget(region);
            }
        }
        ram::free(self.page, kernel_page::ORDER);
    }
}

static QUARANTINED: AtomicU64 = AtomicU64::new(0);

fn quarantine(bytes: u64) {
    QUARANTINED.fetch_add(bytes / PAGE_BYTES, Ordering::Relaxed);
}

/// Frames that are out of use for ever.
pub(crate) fn quarantined_frames() -> u64 {
    QUARANTINED.load(Ordering::Relaxed)
}
