//! The machine's remapping units: set up at boot, then attach, detach, map, unmap on behalf of processes.
//!
//! **Invariant: before any function can master the bus, every unit translates with everything blocked.**
//! A unit that fails is isolated by [`weir_iommu`]; what its devices may still reach is never given back.

use core::sync::atomic::{AtomicBool, Ordering};

use alloc::vec::Vec;
use heapless::Vec as FixedVec;
use spin::Once;

use weir_abi::Error;
use weir_abi::layout::DMA_WINDOW_END;
use weir_abi::page::IommuMode;
use weir_iommu::acpi::{self as dmar, Dmar};
use weir_iommu::address::{Iova, PhysAddr as UnitPhysAddr, UnitIndex};
use weir_iommu::domain::{self, DomainIds, Invalidation, Permissions};
use weir_iommu::environment::{Clock, Registers, TableMemory};
use weir_iommu::vtd::{self, ApicMode, Capabilities, Fault, InterruptHandle, InterruptRoute};
use weir_kernel::pci::Function;

use crate::arch::cpu::features;
use crate::arch::{apic, time};
use crate::boot::acpi::Tables;
use crate::mm::address::{Direct, PhysAddr, PhysRange};
use crate::mm::{ram, tlb, vmap};
use crate::object::device;
use crate::pci::{self, Hierarchy};
use crate::sync::Lock;
use crate::{cpus, kernel_page};

/// What the devices of one process reach.
pub(crate) type Domain = domain::Domain<TableFrames>;
type Unit = vtd::Unit<UnitRegisters, TableFrames, UnitClock>;

struct Units {
    units: Vec<Lock<Unit>>,
    table: Dmar<'static>,
    capabilities: Capabilities,
    ids: Lock<DomainIds>,
}

static UNITS: Once<Units> = Once::new();
static HAS_INTERRUPT_REMAPPING: AtomicBool = AtomicBool::new(false);

/// What a caller is told of a unit's error.
fn caller_error(error: weir_iommu::Error) -> Error {
    match error.blame() {
        weir_iommu::Blame::Resources => Error::NoMemory,
        weir_iommu::Blame::Caller => Error::BadArgument,
        weir_iommu::Blame::Firmware | weir_iommu::Blame::Unit => Error::Hardware,
    }
}

/// Finds the units and switches them on, everything blocked. Where that fails no device can be granted.
pub(crate) fn set_up(tables: &Tables) {
    let Some(bytes) = tables.dmar() else {
        log::warn!("no IOMMU (no ACPI table DMAR): devices cannot be confined, so none is granted");
        return;
    };
    match start(bytes) {
        Ok(units) => {
            kernel_page::set_iommu_mode(IommuMode::VtdLegacy);
            log::info!(
                "IOMMU: VT-d legacy mode, {} unit(s), interrupt remapping {}",
                units.units.len(),
                if HAS_INTERRUPT_REMAPPING.load(Ordering::Relaxed) { "on" } else { "off" }
            );
        }
        Err(error) => log::error!("IOMMU: {error}; devices cannot be confined, so none is granted"),
    }
}

fn start(bytes: &'static [u8]) -> weir_iommu::Result<&'static Units> {
    let table = Dmar::parse(bytes)?;
    let mut units = Vec::new();
    for description in table.units() {
        let index = UnitIndex::new(description.index).ok_or(weir_iommu::Error::Unsupported)?;
        let registers = UnitRegisters::map(description.base, description.register_bytes);
        units.push(Unit::new(index, registers, TableFrames, UnitClock, table.host_address_bits())?);
    }
    let all = units.iter().map(Unit::capabilities).reduce(Capabilities::intersection);
    let capabilities = all.ok_or(weir_iommu::Error::Unsupported)?;
    for unit in &mut units {
        unit.enable_translation()?;
    }
    start_interrupt_remapping(&mut units)?;
    for unit in &mut units {
        unit.enable_fault_event(apic_mode(), apic::IOMMU, cpus::apic_id(0))?;
    }
    let units = units.into_iter().map(Lock::new).collect();
    Ok(UNITS.call_once(|| Units { units, table, capabilities, ids: Lock::new(DomainIds::new()) }))
}

/// Interrupt remapping on all units, or on none: a machine where some remap would be confined in part only.
fn start_interrupt_remapping(units: &mut [Unit]) -> weir_iommu::Result<()> {
    for unit in units {
        unit.enable_interrupt_remapping(apic_mode())?;
    }
    HAS_INTERRUPT_REMAPPING.store(true, Ordering::Relaxed);
    Ok(())
}

fn apic_mode() -> ApicMode {
    if features().x2apic { ApicMode::X2Apic } else { ApicMode::XApic }
}

/// Registers of the units, which no device may claim.
pub(crate) fn reserved(tables: &Tables) -> Vec<PhysRange> {
    let Some(Ok(table)) = tables.dmar().map(Dmar::parse) else { return Vec::new() };
    table.units().map(|unit| PhysRange::new(unit.base, unit.register_bytes)).collect()
}

/// The unit that covers a function, if it may be granted.
pub(crate) fn unit_of(function: &Function) -> Option<usize> {
    let units = UNITS.get()?;
    let address =
        dmar::PciAddress { segment: function.address.segment(), id: pci::requester(function.address) };
    if let Some(region) = units.table.reserved_regions_of(address, &Hierarchy).next() {
        // Firmware goes on using the device behind everybody's back.
        log::warn!(
            "{}: firmware keeps memory {:x?} for it; it is not granted",
            function.address,
            region.range()
        );
        return None;
    }
    units.table.unit_of(address, &Hierarchy).map(|unit| unit.index)
}

fn units() -> Result<&'static Units, Error> {
    UNITS.get().ok_or(Error::NoIommu)
}

fn unit(index: usize) -> Result<&'static Lock<Unit>, Error> {
    units()?.units.get(index).ok_or(Error::NoIommu)
}

/// An empty domain.
pub(crate) fn new_domain() -> Result<Domain, Error> {
    let units = units()?;
    let bits = DMA_WINDOW_END.ilog2() as u8;
    Domain::new(TableFrames, &mut units.ids.lock(), units.capabilities, bits).map_err(caller_error)
}

/// Gives a domain's tables back; fails while something is attached, and then keeps them for ever.
pub(crate) fn destroy_domain(domain: Domain) -> Result<(), Error> {
    let units = units()?;
    // A domain that is not destroyed keeps its tables: a unit may still walk them.
    domain.destroy(&mut units.ids.lock()).map_err(|_kept| Error::Hardware)
}

/// Lets a domain's devices reach `at`, at `iova`. On failure nothing has changed.
pub(crate) fn map(domain: &mut Domain, iova: u64, at: PhysRange, is_writable: bool) -> Result<(), Error> {
    let permissions = if is_writable { Permissions::ReadWrite } else { Permissions::ReadOnly };
    let change = domain.map(Iova(iova), UnitPhysAddr(at.start), at.bytes(), permissions);
    change.and_then(|change| change.flush(invalidate)).map_err(caller_error)
}

/// Takes a range away. After an error the devices may still reach it: its frames must not be used again.
pub(crate) fn unmap(domain: &mut Domain, iova: u64, bytes: u64) -> Result<(), Error> {
    let change = domain.unmap(Iova(iova), bytes);
    change.and_then(|change| change.flush(invalidate)).map_err(caller_error)
}

fn invalidate(index: UnitIndex, change: &Invalidation) -> weir_iommu::Result<()> {
    let unit = UNITS.get().and_then(|units| units.units.get(index.get()));
    unit.ok_or(weir_iommu::Error::NotThisUnit)?.lock().invalidate(change)
}

/// Puts a function's requests into a domain.
pub(crate) fn attach(index: usize, function: &Function, domain: &mut Domain) -> Result<(), Error> {
    unit(index)?.lock().attach(pci::requester(function.address), domain).map_err(caller_error)
}

/// Blocks a function that was in a domain; when this has returned, no access of it lands.
pub(crate) fn detach(index: usize, function: &Function, domain: &mut Domain) -> Result<(), Error> {
    unit(index)?.lock().detach(pci::requester(function.address), domain).map_err(caller_error)
}

/// Stops recording the faults of a function, or starts again; they are blocked either way.
pub(crate) fn mute_faults(index: usize, function: &Function, is_muted: bool) -> Result<(), Error> {
    unit(index)?.lock().mute_faults(pci::requester(function.address), is_muted).map_err(caller_error)
}

/// Lets a function raise `vector` on CPU `cpu`.
pub(crate) fn allocate_interrupt(
    index: usize,
    function: &Function,
    vector: u8,
    cpu: u32,
) -> Result<InterruptHandle, Error> {
    let route = InterruptRoute {
        requester: pci::requester(function.address),
        vector,
        apic_id: cpus::apic_id(cpu),
        trigger: vtd::Trigger::Edge,
    };
    unit(index)?.lock().allocate_interrupt(route).map_err(caller_error)
}

/// Whether the machine's devices are confined.
pub(crate) fn is_on() -> bool {
    UNITS.is_completed()
}

/// Lets I/O interrupt controller `id` raise `vector` on the first CPU; `None` where no unit covers it.
pub(crate) fn allocate_line(id: u8, vector: u8) -> Option<InterruptHandle> {
    let units = UNITS.get()?;
    let (unit, requester) = units.table.unit_of_io_apic(id, &Hierarchy)?;
    let route = InterruptRoute { requester, vector, apic_id: cpus::apic_id(0), trigger: vtd::Trigger::Edge };
    units.units.get(unit.index)?.lock().allocate_interrupt(route).ok()
}

/// Takes an interrupt away; when this has returned, it no longer arrives.
pub(crate) fn free_interrupt(index: usize, handle: InterruptHandle) -> Result<(), Error> {
    unit(index)?.lock().free_interrupt(handle).map_err(caller_error)
}

/// A unit has recorded faults: tells whom they concern.
pub(crate) fn handle_fault_interrupt() {
    /// The most records a unit has (CAP.NFR).
    const RECORDS: usize = 256;
    let Some(units) = UNITS.get() else { return };
    for (index, unit) in units.units.iter().enumerate() {
        let mut faults: FixedVec<Fault, RECORDS> = FixedVec::new();
        let drained = unit.lock().drain_faults(|fault| {
            // Each record is reported once, so all fit.
            let _ = faults.push(fault);
        });
        if drained.is_overflow {
            crate::faults::count_lost();
        }
        for fault in faults {
            device::deliver_fault(index, fault, drained.is_overflow);
        }
    }
}

/// A unit's registers, mapped for ever.
struct UnitRegisters {
    base: *mut u8,
    bytes: usize,
}

// SAFETY: device registers belong to no CPU; the unit is used under its lock.
unsafe impl Send for UnitRegisters {}

impl UnitRegisters {
    fn map(base: u64, bytes: u64) -> UnitRegisters {
        UnitRegisters { base: vmap::map_registers(base, bytes), bytes: bytes as usize }
    }

    fn at<T>(&self, offset: usize) -> *mut T {
        assert!(offset + size_of::<T>() <= self.bytes, "register beyond the unit");
        // SAFETY: inside the mapped range.
        unsafe { self.base.add(offset) }.cast()
    }
}

impl Registers for UnitRegisters {
    fn bytes(&self) -> usize {
        self.bytes
    }
    fn read32(&self, offset: usize) -> u32 {
        // SAFETY: `at` is inside the mapped registers.
        unsafe { self.at::<u32>(offset).read_volatile() }
    }
    fn read64(&self, offset: usize) -> u64 {
        // SAFETY: as above.
        unsafe { self.at::<u64>(offset).read_volatile() }
    }
    fn write32(&mut self, offset: usize, value: u32) {
        // SAFETY: as above.
        unsafe { self.at::<u32>(offset).write_volatile(value) }
    }
    fn write64(&mut self, offset: usize, value: u64) {
        // SAFETY: as above.
        unsafe { self.at::<u64>(offset).write_volatile(value) }
    }
}

/// Frames for tables, from the one allocator, through the direct map.
#[derive(Clone, Copy)]
pub(crate) struct TableFrames;

fn order_of(frames: usize) -> u8 {
    frames.next_power_of_two().ilog2() as u8
}

// SAFETY: the allocator hands a frame out once; the direct map reaches it; x86 stores are seen in order.
unsafe impl TableMemory for TableFrames {
    fn alloc(&self, frames: usize) -> Option<UnitPhysAddr> {
        ram::allocate_zeroed(order_of(frames)).map(|at| UnitPhysAddr(at.0))
    }
    unsafe fn free(&self, at: UnitPhysAddr, frames: usize) {
        ram::free(PhysAddr(at.0), order_of(frames));
    }
    unsafe fn read64(&self, at: UnitPhysAddr) -> u64 {
        // SAFETY: the caller's promise: an aligned word of a table frame.
        unsafe { PhysAddr(at.0).direct().cast::<u64>().read_volatile() }
    }
    unsafe fn write64(&self, at: UnitPhysAddr, value: u64) {
        // SAFETY: as above.
        unsafe { PhysAddr(at.0).direct().cast::<u64>().write_volatile(value) }
    }
    unsafe fn write128(&self, at: UnitPhysAddr, value: u128) {
        let target = PhysAddr(at.0).direct().cast::<u128>();
        let [low, high] = [value as u64, (value >> 64) as u64];
        // SAFETY: the caller's promise: 16 aligned bytes of a table frame. `cmpxchg16b` writes them at once; the
        // comparison value is what is there, so that the second try at the latest succeeds (nobody else writes).
        unsafe {
            core::arch::asm!(
                "xchg rbx, {low}",
                "mov rax, [rdi]",
                "mov rdx, [rdi + 8]",
                "2: lock cmpxchg16b [rdi]",
                "jnz 2b",
                "mov rbx, {low}",
                low = inout(reg) low => _,
                in("rdi") target,
                in("rcx") high,
                out("rax") _,
                out("rdx") _,
                options(nostack),
            );
        }
    }
    unsafe fn flush(&self, at: UnitPhysAddr, bytes: u64) {
        const LINE: u64 = 64;
        let start = at.0 & !(LINE - 1);
        for line in (start..at.0 + bytes).step_by(LINE as usize) {
            // SAFETY: flushing a cache line of our own memory changes nothing but where it is.
            unsafe { core::arch::asm!("clflush [{}]", in(reg) PhysAddr(line).direct(), options(nostack)) };
        }
        // SAFETY: a fence.
        unsafe { core::arch::asm!("mfence", options(nostack)) };
    }
}

/// The kernel's clock.
struct UnitClock;

impl Clock for UnitClock {
    fn now_us(&self) -> u64 {
        time::now_ns() / 1000
    }
    fn spin(&self) {
        tlb::serve();
        core::hint::spin_loop();
    }
}
