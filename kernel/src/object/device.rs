//! Devices: PCI functions, each with one owner at most.
//!
//! **Invariant: a function masters the bus only while it has an owner, and then reaches only what its owner
//! mapped for DMA** (unless the supervisor asked for an unconfined grant, which is said everywhere).
//!
//! Taking a function back is one function, [`Device::revoke`], in the order of the design's revocation steps.

use core::sync::atomic::{AtomicU64, Ordering};

use alloc::vec::Vec;
use spin::Once;

use weir_abi::device::{BarInfo, DeviceInfo};
use weir_abi::info::{FaultInfo, TraceKind};
use weir_abi::page::FaultRecord;
use weir_abi::{Error, Handle, Rights, call};
use weir_iommu::vtd::{Fault, FaultKind, InterruptHandle};
use weir_kernel::pci::{BarKind, Function, Message, MsixState, MsixTable, TableRegisters};
use weir_kernel::refs::Ref;

use super::Object;
use super::event::Event;
use super::interrupt::{Interrupt, Route};
use super::process::Process;
use crate::arch::time;
use crate::mm::address::PhysAddr;
use crate::mm::paging::Cache;
use crate::mm::vmap;
use crate::pci::{self, Clock, pci};
use crate::sched::SCHED;
use crate::sync::Lock;
use crate::{faults, iommu, trace};

/// A function and who owns it.
pub(crate) struct Device {
    index: usize,
    /// The unit that covers it; `None` where it may be granted unconfined only.
    unit: Option<usize>,
    msix: Option<MsixTable<Registers>>,
    /// Blocked accesses so far.
    faults: AtomicU64,
    /// Held while the function changes hands, reset included; never by who only uses it.
    change: Lock<()>,
    owner: Lock<Option<Owner>>,
}

/// The current grant.
struct Owner {
    process: Ref<Process>,
    /// The owner's handle.
    handle: Handle,
    /// Distinguishes this grant from earlier ones.
    grant: u64,
    watcher: Option<Ref<Event>>,
    /// By MSI-X entry or MSI vector.
    interrupts: Vec<Option<Bound>>,
    /// The last fault, to count repetitions in place.
    last_fault: Option<FaultRecord>,
}

/// An interrupt that leads somewhere.
struct Bound {
    route: Route,
    entry: Option<InterruptHandle>,
    message: Message,
    is_masked: bool,
}

/// A handle's view of a device: the supervisor's, or that of one grant.
#[derive(Clone)]
pub(crate) struct DeviceRef {
    device: &'static Device,
    /// `None` for the supervisor.
    grant: Option<u64>,
}

static DEVICES: Once<Vec<Device>> = Once::new();

/// Makes a device of every function, once the units are known.
pub(crate) fn set_up() {
    let functions = pci().inventory.functions();
    let device = |(index, function): (usize, &'static Function)| Device {
        index,
        unit: iommu::unit_of(function),
        msix: Registers::map(function),
        faults: AtomicU64::new(0),
        change: Lock::new(()),
        owner: Lock::new(None),
    };
    DEVICES.call_once(|| functions.iter().enumerate().map(device).collect());
}

fn devices() -> &'static [Device] {
    DEVICES.get().map_or(&[], Vec::as_slice)
}

/// How many there are.
pub(crate) fn count() -> usize {
    devices().len()
}

/// The supervisor's view of device `position`.
pub(crate) fn at(position: usize) -> Option<DeviceRef> {
    devices().get(position).map(|device| DeviceRef { device, grant: None })
}

/// How many devices `process` owns.
pub(crate) fn owned_by(process: &Process) -> u32 {
    devices().iter().filter(|d| d.is_owned_by(process)).count() as u32
}

/// Takes everything away from a process that has ended.
pub(crate) fn revoke_all(process: &Ref<Process>) {
    for device in devices() {
        // An assignment under way ends first; then it is seen here, or has seen that the process has ended.
        let _change = device.change.lock();
        if device.is_owned_by(process) {
            // It is owned: just seen.
            let _ = device.take_away();
        }
    }
}

/// Tells the owner and the supervisor of an access that unit `unit` blocked.
pub(crate) fn deliver_fault(unit: usize, fault: Fault, is_overflow: bool) {
    let is_its =
        |d: &&Device| d.unit == Some(unit) && pci::requester(d.function().address) == fault.requester;
    let time_ns = time::now_ns();
    let mut info = FaultInfo {
        requester: u32::from(fault.requester.0),
        owner: 0,
        iova: fault_address(&fault),
        is_write: fault.is_write.into(),
        reason: fault.reason.0.into(),
        time_ns,
    };
    if let Some(device) = devices().iter().find(is_its) {
        info.requester = pci::number(device.function().address);
        info.owner = device.tell_owner(&info, is_overflow);
    }
    trace::record(TraceKind::Fault, info.owner, [info.requester.into(), info.iova]);
    faults::push(info);
}

fn fault_address(fault: &Fault) -> u64 {
    match fault.kind {
        FaultKind::Dma => fault.iova.0,
        FaultKind::Interrupt { index } => u64::from(index) << 48,
    }
}

impl Device {
    fn function(&self) -> &'static Function {
        &pci().inventory.functions()[self.index]
    }

    fn number(&self) -> u32 {
        pci::number(self.function().address)
    }

    fn has_reset(&self) -> bool {
        pci().inventory.has_reset(self.index)
    }

    fn is_owned_by(&self, process: &Process) -> bool {
        self.owner.lock().as_ref().is_some_and(|o| core::ptr::eq(&*o.process, process))
    }

    /// Makes `process` the owner.
    pub(crate) fn assign(&'static self, process: &Ref<Process>, flags: u64) -> Result<Handle, Error> {
        if flags & !call::ASSIGN_UNCONFINED != 0 {
            return Err(Error::BadArgument);
        }
        let accept_unconfined = flags & call::ASSIGN_UNCONFINED != 0;
        let _change = self.change.lock();
        let function = self.function();
        if self.owner.lock().is_some() {
            return Err(Error::Busy);
        }
        const BRIDGE_CLASS: u32 = 0x06;
        if function.is_bridge() || function.class >> 16 == BRIDGE_CLASS || function.is_malformed {
            return Err(Error::Unsupported);
        }
        if self.unit.is_none() && !accept_unconfined {
            return Err(Error::NoIommu);
        }
        if !self.has_reset() && !accept_unconfined {
            // The next owner would find what this one left.
            return Err(Error::NotIsolated);
        }
        self.check_group(process)?;
        self.reset()?;
        function.set_memory_decode(&pci().ecam, true)?;
        process.change_space(|space| match self.unit {
            Some(unit) => space.attach(unit, function),
            None => {
                space.set_unconfined();
                Ok(())
            }
        })?;
        let handle = self.hand_over(process);
        if handle.is_err()
            && let Some(unit) = self.unit
        {
            process.change_space(|space| space.detach(unit, function))?;
        }
        handle
    }

    fn hand_over(&'static self, process: &Ref<Process>) -> Result<Handle, Error> {
        static GRANTS: AtomicU64 = AtomicU64::new(1);
        let grant = GRANTS.fetch_add(1, Ordering::Relaxed);
        let mut interrupts = Vec::new();
        let count = usize::from(self.function().interrupts());
        interrupts.try_reserve_exact(count).map_err(|_| Error::NoMemory)?;
        interrupts.resize_with(count, || None);
        let view = DeviceRef { device: self, grant: Some(grant) };
        let handle = process.adopt(Object::Device(view), Rights::READ.union(Rights::USE))?;
        let owner =
            Owner { process: process.clone(), handle, grant, watcher: None, interrupts, last_fault: None };
        *self.owner.lock() = Some(owner);
        trace::record(TraceKind::DeviceAssigned, process.id, [self.number().into(), handle.0]);
        Ok(handle)
    }

    /// Functions that can reach each other past the IOMMU have one owner.
    fn check_group(&self, process: &Ref<Process>) -> Result<(), Error> {
        let group = pci().groups[self.index];
        let in_group = devices().iter().filter(|d| pci().groups[d.index] == group);
        let foreign = |d: &Device| d.owner.lock().as_ref().is_some_and(|o| !o.process.is_same(process));
        if in_group.into_iter().any(foreign) { Err(Error::NotIsolated) } else { Ok(()) }
    }

    /// Gives the next owner a function without a past.
    fn reset(&self) -> Result<(), Error> {
        let function = self.function();
        function.set_bus_master(&pci().ecam, false)?;
        if self.has_reset() {
            pci().inventory.reset(self.index, &pci().ecam, &Clock)?;
        }
        if let Some(table) = &self.msix {
            table.mask_all();
        }
        Ok(())
    }

    /// Takes the function away from its owner.
    pub(crate) fn revoke(&self) -> Result<(), Error> {
        let _change = self.change.lock();
        self.take_away()
    }

    /// The revocation itself; the caller holds `change`.
    fn take_away(&self) -> Result<(), Error> {
        let start_ns = time::now_ns();
        // 1: the grant is dead: every later use of the owner's handle fails.
        let mut owner = self.owner.lock().take().ok_or(Error::NotFound)?;
        let function = self.function();
        let number = self.number();
        // 2: the owner no longer reaches the registers.
        let process = owner.process.clone();
        let zapped = process.change_space(|space| {
            space.unmap_registers(number, &process.active);
            Ok(())
        });
        // 3: no new transfers. A function that is gone makes none.
        let quiet = function.set_bus_master(&pci().ecam, false);
        // 4 and 5: blocked, and the unit has forgotten and drained. If it does not confirm, it is isolated, and
        // the address space keeps its frames for ever.
        let detached = self.unit.map(|unit| process.change_space(|space| space.detach(unit, function)));
        // 6: no interrupt of it arrives.
        self.silence(&mut owner);
        let quiet_ns = time::now_ns() - start_ns;
        // 7: the next owner finds it reset; here so that it forgets this one's data now.
        let reset = self.reset();
        if let Some(error) =
            [zapped.err(), quiet.err().map(Error::from), detached.and_then(Result::err), reset.err()]
                .into_iter()
                .flatten()
                .find(|e| *e != Error::Gone)
        {
            log::error!("{}: revocation: {error}", function.address);
        }
        // 8: the owner and the supervisor are told.
        trace::record(TraceKind::DeviceRevoked, process.id, [number.into(), quiet_ns]);
        if let Some(event) = owner.watcher.take() {
            // An owner that is ending needs no telling.
            let _ = event.signal();
        }
        let closed = process.handles.lock().remove(owner.handle);
        drop(closed);
        Ok(())
    }

    /// Masks and frees every interrupt of the grant.
    fn silence(&self, owner: &mut Owner) {
        let function = self.function();
        let ecam = &pci().ecam;
        let masked = if self.msix.is_some() {
            function.set_msix(ecam, MsixState::Masked)
        } else if function.capabilities.msi.is_some() {
            function.set_msi(ecam, false)
        } else {
            Ok(())
        };
        if let Err(error) = masked {
            log::warn!("{}: interrupts not masked at the device: {error}", function.address);
        }
        for bound in owner.interrupts.iter_mut().filter_map(Option::take) {
            bound.free(self.unit);
        }
    }

    /// Counts a fault and puts it into the owner's ring; returns the owner's number, 0 for nobody.
    fn tell_owner(&self, info: &FaultInfo, is_overflow: bool) -> u32 {
        self.faults.fetch_add(1, Ordering::Relaxed);
        let mut guard = self.owner.lock();
        let Some(owner) = guard.as_mut() else { return 0 };
        owner.process.faults.fetch_add(1, Ordering::Relaxed);
        let mut record = FaultRecord {
            device: owner.handle,
            requester: info.requester,
            iova: info.iova,
            is_write: info.is_write != 0,
            reason: info.reason as u8,
            count: 1,
            time_ns: info.time_ns,
        };
        let repeats = owner.last_fault.filter(|last| last.is_same_access(&record));
        record.count += repeats.map_or(0, |last| last.count);
        owner.last_fault = Some(record);
        let mut sched = SCHED.lock();
        if !owner.process.is_running(&sched) {
            return owner.process.id;
        }
        let ring = &owner.process.page().faults;
        if repeats.is_some() {
            ring.replace_last(&record);
        } else {
            ring.push(&record);
        }
        if is_overflow {
            ring.lost.fetch_add(1, Ordering::Relaxed);
        }
        if let Some(event) = &owner.watcher {
            // Its process runs: just seen under the same lock.
            let _ = event.signal_locked(&mut sched);
        }
        owner.process.id
    }
}

impl Bound {
    fn free(self, unit: Option<usize>) {
        if let (Some(unit), Some(entry)) = (unit, self.entry)
            && let Err(error) = iommu::free_interrupt(unit, entry)
        {
            // The unit is isolated now, and the entry stays out of use.
            log::error!("interrupt of a revoked device: {error}");
        }
        drop(self.route);
    }
}

impl DeviceRef {
    /// PCI address, as one number.
    pub(crate) fn address(&self) -> u32 {
        self.device.number()
    }

    /// See [`Device::assign`]; for the supervisor only.
    pub(crate) fn assign(&self, process: &Ref<Process>, flags: u64) -> Result<Handle, Error> {
        self.device.assign(process, flags)
    }

    /// See [`Device::revoke`].
    pub(crate) fn revoke(&self) -> Result<(), Error> {
        self.device.revoke()
    }

    /// Runs `with` on the grant this is a view of; `Gone` if that is over.
    fn with_owner<T>(
        &self,
        with: impl FnOnce(&'static Device, &mut Owner) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let mut guard = self.device.owner.lock();
        let owner = guard.as_mut().filter(|owner| Some(owner.grant) == self.grant).ok_or(Error::Gone)?;
        with(self.device, owner)
    }

    /// Whether the grant still stands; the supervisor's view always does.
    fn check(&self) -> Result<(), Error> {
        if self.grant.is_none() { Ok(()) } else { self.with_owner(|_, _| Ok(())) }
    }

    /// Its description.
    pub(crate) fn info(&self) -> DeviceInfo {
        let function = self.device.function();
        let mut flags = 0;
        let mut set = |condition: bool, flag| flags |= if condition { flag } else { 0 };
        set(self.device.has_reset(), DeviceInfo::HAS_RESET);
        set(self.device.unit.is_some(), DeviceInfo::HAS_IOMMU);
        set(function.capabilities.msix.is_some(), DeviceInfo::HAS_MSIX);
        set(function.read_bus_master(&pci().ecam), DeviceInfo::BUS_MASTER);
        let bar = |bar: &Option<weir_kernel::pci::Bar>| match bar {
            Some(bar) if bar.memory().is_some() => BarInfo {
                bytes: bar.bytes,
                flags: match bar.kind {
                    BarKind::Memory { is_prefetchable: true, .. } => BarInfo::PREFETCHABLE,
                    _ => 0,
                },
            },
            _ => BarInfo::default(),
        };
        DeviceInfo {
            address: self.address(),
            vendor: function.vendor,
            device: function.device,
            subsystem_vendor: function.subsystem_vendor,
            subsystem: function.subsystem,
            class: function.class,
            revision: function.revision,
            header_type: function.header.number(),
            interrupts: function.interrupts(),
            flags,
            group: pci().groups[self.device.index] as u32,
            owner: self.device.owner.lock().as_ref().map_or(0, |owner| owner.process.id),
            faults: self.device.faults.load(Ordering::Relaxed),
            bars: function.bars.each_ref().map(bar),
        }
    }

    /// Reads configuration space.
    pub(crate) fn config_read(&self, offset: u64, width: u64) -> Result<u64, Error> {
        self.check()?;
        let offset = u16::try_from(offset).map_err(|_| Error::BadArgument)?;
        let width = u8::try_from(width).map_err(|_| Error::BadArgument)?;
        Ok(self.device.function().read_config(&pci().ecam, offset, width)?.into())
    }

    /// Maps registers into the owner's address space.
    pub(crate) fn map_bar(
        &self,
        caller: &Ref<Process>,
        bar: u64,
        offset: u64,
        bytes: u64,
        flags: u64,
    ) -> Result<u64, Error> {
        let bar = u8::try_from(bar).map_err(|_| Error::BadArgument)?;
        let cache = match flags {
            0 => Cache::Uncached,
            call::MAP_WRITE_COMBINING if self.is_prefetchable(bar) => Cache::WriteCombining,
            _ => return Err(Error::BadArgument),
        };
        let pages = pci().inventory.mappable(self.device.index, bar, offset, bytes, &pci().reserved);
        let pages = pages.map_err(|_| Error::BadArgument)?;
        // The address space is locked before the grant is looked at, and revocation ends the grant before it
        // locks the address space: so it finds what is mapped here.
        caller.change_space(|space| {
            self.with_owner(
                |_, owner| if owner.process.is_same(caller) { Ok(()) } else { Err(Error::Gone) },
            )?;
            space.map_registers(self.address(), PhysAddr(pages.start.0), bytes, cache)
        })
    }

    fn is_prefetchable(&self, bar: u8) -> bool {
        let bar = self.device.function().bars.get(usize::from(bar)).copied().flatten();
        bar.is_some_and(|bar| matches!(bar.kind, BarKind::Memory { is_prefetchable: true, .. }))
    }

    /// Performs a device operation.
    pub(crate) fn control(&self, operation: u64) -> Result<(), Error> {
        self.with_owner(|device, owner| {
            let function = device.function();
            match operation {
                call::DEVICE_BUS_MASTER_ON => Ok(function.set_bus_master(&pci().ecam, true)?),
                call::DEVICE_BUS_MASTER_OFF => Ok(function.set_bus_master(&pci().ecam, false)?),
                call::DEVICE_RESET if device.has_reset() => {
                    device.reset()?;
                    function.set_memory_decode(&pci().ecam, true)?;
                    device.program_again(owner)
                }
                call::DEVICE_RESET => Err(Error::Unsupported),
                _ => Err(Error::BadArgument),
            }
        })
    }

    /// Sets or clears who is told of faults and of revocation.
    pub(crate) fn watch(&self, event: Option<Ref<Event>>) -> Result<(), Error> {
        let old = self.with_owner(|_, owner| Ok(core::mem::replace(&mut owner.watcher, event)))?;
        drop(old);
        Ok(())
    }

    /// Leads interrupt `index` to `event`, masked.
    pub(crate) fn bind(&self, index: u64, event: &Ref<Event>) -> Result<Interrupt, Error> {
        let route = Route::to(event)?;
        self.with_owner(|device, owner| {
            let index = u16::try_from(index).map_err(|_| Error::BadArgument)?;
            let slot =
                owner.interrupts.get_mut(usize::from(index)).ok_or(match device.function().interrupts() {
                    0 => Error::Unsupported,
                    _ => Error::BadArgument,
                })?;
            if slot.is_some() {
                return Err(Error::Busy);
            }
            let (entry, message) = device.message(&route)?;
            let bound = Bound { route, entry, message, is_masked: true };
            if let Err(error) = device.program(index, &bound) {
                bound.free(device.unit);
                return Err(error);
            }
            *slot = Some(bound);
            Ok(Interrupt { device: self.clone(), index })
        })
    }

    /// Frees an interrupt whose last handle is gone. After a revocation there is nothing left to free.
    pub(crate) fn unbind(&self, index: u16) {
        let freed = self.with_owner(|device, owner| {
            let slot = &mut owner.interrupts[usize::from(index)];
            // A function that is gone sends nothing; its entry is freed all the same.
            let _ = device.set_masked(index, true);
            slot.take().map(|bound| bound.free(device.unit)).ok_or(Error::Gone)
        });
        let _ = freed;
    }

    /// Masks or unmasks a bound interrupt.
    pub(crate) fn mask(&self, index: u16, is_masked: bool) -> Result<(), Error> {
        self.with_owner(|device, owner| {
            let bound = owner.interrupts[usize::from(index)].as_mut().ok_or(Error::Gone)?;
            device.set_masked(index, is_masked)?;
            bound.is_masked = is_masked;
            Ok(())
        })
    }
}

impl Device {
    /// The message that leads to `route`: through the unit, or directly where there is none.
    fn message(&self, route: &Route) -> Result<(Option<InterruptHandle>, Message), Error> {
        let Some(unit) = self.unit else {
            return Ok((None, direct_message(route)?));
        };
        let entry = iommu::allocate_interrupt(unit, self.function(), route.vector(), route.cpu)?;
        let msi = entry.msi();
        Ok((Some(entry), Message { address: msi.address, data: msi.data }))
    }

    /// Writes a bound interrupt to the device, masked.
    fn program(&self, index: u16, bound: &Bound) -> Result<(), Error> {
        let (function, ecam) = (self.function(), &pci().ecam);
        match &self.msix {
            Some(table) => {
                table.program(index, bound.message)?;
                Ok(function.set_msix(ecam, MsixState::On)?)
            }
            // MSI messages differ in the low data bits, which remapping by one entry each has no use for: one.
            None if index == 0 => Ok(function.program_msi(ecam, bound.message, 0)?),
            None => Err(Error::Unsupported),
        }
    }

    fn set_masked(&self, index: u16, is_masked: bool) -> Result<(), Error> {
        let (function, ecam) = (self.function(), &pci().ecam);
        match &self.msix {
            Some(table) => Ok(table.set_masked(index, is_masked)?),
            None => {
                if function.capabilities.msi.is_some_and(|msi| msi.has_mask) {
                    function.set_msi_masked(ecam, index, is_masked)?;
                }
                Ok(function.set_msi(ecam, !is_masked)?)
            }
        }
    }

    /// After a reset the device has forgotten its interrupts.
    fn program_again(&self, owner: &Owner) -> Result<(), Error> {
        for (index, bound) in (0u16..).zip(&owner.interrupts) {
            let Some(bound) = bound else { continue };
            self.program(index, bound)?;
            self.set_masked(index, bound.is_masked)?;
        }
        Ok(())
    }
}

/// An ordinary message (Intel SDM volume 3, "Message Signalled Interrupts"), for functions without a unit.
fn direct_message(route: &Route) -> Result<Message, Error> {
    let apic_id = u8::try_from(crate::cpus::apic_id(route.cpu)).map_err(|_| Error::Unsupported)?;
    Ok(Message { address: 0xfee0_0000 | u64::from(apic_id) << 12, data: route.vector().into() })
}

/// An MSI-X table, mapped for ever.
struct Registers(*mut u8);

// SAFETY: device registers belong to no CPU; each access is one whole register.
unsafe impl Send for Registers {}
// SAFETY: as above.
unsafe impl Sync for Registers {}

impl Registers {
    fn map(function: &Function) -> Option<MsixTable<Registers>> {
        let msix = function.capabilities.msix?;
        let bar = function.bars.get(usize::from(msix.table.bar))?.as_ref()?.memory()?;
        let at = bar.start.0.checked_add(msix.table.offset)?;
        Some(MsixTable::new(&msix, Registers(vmap::map_registers(at, msix.table.bytes))))
    }
}

impl TableRegisters for Registers {
    fn read(&self, offset: u64) -> u32 {
        // SAFETY: `MsixTable` stays within the table, which is mapped whole.
        unsafe { self.0.add(offset as usize).cast::<u32>().read_volatile() }
    }

    fn write(&self, offset: u64, value: u32) {
        // SAFETY: as above.
        unsafe { self.0.add(offset as usize).cast::<u32>().write_volatile(value) }
    }
}
