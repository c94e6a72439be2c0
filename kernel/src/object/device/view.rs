//! What holders of a handle do with a device.

use core::ops::Range;

use weir_abi::device::{BarInfo, DeviceInfo};
use weir_abi::info::InterruptInfo;
use weir_abi::{Error, Handle, call};
use weir_kernel::pci::{Bar, BarKind};
use weir_kernel::refs::Ref;

use super::{Condition, Device, DeviceRef, Owner};
use crate::mm::address::PhysAddr;
use crate::mm::paging::Cache;
use crate::object::event::Event;
use crate::object::interrupt::{Interrupt, Route};
use crate::object::process::Process;
use crate::pci::{self, pci};

impl Owner {
    /// `Busy` while a reset that it asked for is under way.
    pub(super) fn check_ready(&self) -> Result<(), Error> {
        if self.is_resetting { Err(Error::Busy) } else { Ok(()) }
    }
}

impl DeviceRef {
    /// PCI address, as one number.
    pub(crate) fn address(&self) -> u32 {
        self.device.number()
    }

    /// See [`Device::assign`]; for the supervisor only.
    pub(crate) fn assign(&self, process: &Ref<Process>, flags: u64) -> Result<Handle, Error> {
        Device::assign(&self.device, process, flags)
    }

    /// See [`Device::revoke`].
    pub(crate) fn revoke(&self) -> Result<(), Error> {
        self.device.revoke()
    }

    /// Runs `with` on the grant this is a view of; `Gone` if that is over.
    pub(super) fn with_owner<T>(
        &self,
        with: impl FnOnce(&Device, &mut Owner) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let mut guard = self.device.owner.lock();
        let owner = guard.as_mut().filter(|owner| Some(owner.grant) == self.grant).ok_or(Error::Gone)?;
        with(&self.device, owner)
    }

    /// Whether the grant still stands; the supervisor's view does as long as the function is there.
    fn check(&self) -> Result<(), Error> {
        match self.grant {
            Some(_) => self.with_owner(|_, _| Ok(())),
            None if self.device.is_gone() => Err(Error::Gone),
            None => Ok(()),
        }
    }

    /// Its description; `Gone` where the function left or the grant is over.
    pub(crate) fn info(&self) -> Result<DeviceInfo, Error> {
        self.check()?;
        let function = self.device.function();
        let mut flags = 0;
        let mut set = |condition: bool, flag| flags |= if condition { flag } else { 0 };
        set(self.device.has_reset(), DeviceInfo::HAS_RESET);
        set(self.device.cover.is_ok(), DeviceInfo::HAS_IOMMU);
        set(function.capabilities.msix.is_some(), DeviceInfo::HAS_MSIX);
        let condition = self.device.change.lock();
        let is_resetting = matches!(*condition, Condition::Resetting(_));
        set(is_resetting, DeviceInfo::IS_RESETTING);
        set(matches!(*condition, Condition::Clean), DeviceInfo::IS_CLEAN);
        set(matches!(*condition, Condition::Failed), DeviceInfo::HAS_FAILED);
        set(!is_resetting && function.read_bus_master(&pci().ecam), DeviceInfo::BUS_MASTER);
        drop(condition);
        let oversight = self.device.oversight.lock();
        set(oversight.is_muted(), DeviceInfo::IS_MUTED);
        let (faults, policy) = (oversight.faults, oversight.policy);
        let (fault_storms, interrupt_storms) = (oversight.fault_storms, oversight.interrupt_storms);
        drop(oversight);
        let bar = |bar: &Option<Bar>| match bar {
            Some(bar) if bar.memory().is_some() => BarInfo {
                bytes: bar.bytes,
                flags: match bar.kind {
                    BarKind::Memory { is_prefetchable: true, .. } => BarInfo::PREFETCHABLE,
                    _ => 0,
                },
            },
            _ => BarInfo::default(),
        };
        Ok(DeviceInfo {
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
            group: self.group(),
            owner: self.device.owner.lock().as_ref().map_or(0, |owner| owner.process.id),
            physical: function.virtual_of.map_or(DeviceInfo::NOT_VIRTUAL, |of| pci::number(of.physical)),
            virtual_number: function.virtual_of.map_or(0, |of| of.number),
            virtual_functions: function.capabilities.sriov.map_or(0, |sriov| sriov.functions),
            faults,
            fault_storms,
            interrupt_storms,
            policy,
            bars: function.bars.each_ref().map(bar),
        })
    }

    fn group(&self) -> u32 {
        let inventory = pci().inventory();
        self.device.index(&inventory).map_or(u32::MAX, |index| inventory.group(index) as u32)
    }

    /// Interrupt `number`, else the first bound one with a higher number.
    pub(crate) fn interrupt_info(&self, number: usize) -> Option<InterruptInfo> {
        let guard = self.device.owner.lock();
        let owner = guard.as_ref()?;
        let bound = owner.interrupts.iter().enumerate().skip(number);
        let (number, bound) = bound.filter_map(|(at, bound)| Some((at, bound.as_ref()?))).next()?;
        Some(InterruptInfo {
            device: self.address(),
            number: number as u32,
            owner: owner.process.id,
            cpu: bound.route.cpu,
            vector: bound.route.vector().into(),
            data: bound.message.data,
            message: bound.message.address,
        })
    }

    /// Reads configuration space.
    pub(crate) fn config_read(&self, offset: u64, width: u64) -> Result<u64, Error> {
        self.check()?;
        if matches!(*self.device.change.lock(), Condition::Resetting(_)) {
            return Err(Error::Busy);
        }
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
        let pages = self.mappable(bar, offset, bytes)?;
        // The address space is locked before the grant is looked at, and revocation ends the grant before it
        // locks the address space: so it finds what is mapped here.
        caller.change_space(|space| {
            self.with_owner(
                |_, owner| if owner.process.is_same(caller) { Ok(()) } else { Err(Error::Gone) },
            )?;
            space.map_registers(self.address(), PhysAddr(pages.start.0), bytes, cache, &caller.active)
        })
    }

    fn mappable(&self, bar: u8, offset: u64, bytes: u64) -> Result<Range<PhysAddr>, Error> {
        let inventory = pci().inventory();
        let index = self.device.index(&inventory)?;
        inventory.mappable(index, bar, offset, bytes, &pci().reserved).map_err(|_| Error::BadArgument)
    }

    fn is_prefetchable(&self, bar: u8) -> bool {
        let bar = self.device.function().bars.get(usize::from(bar)).copied().flatten();
        bar.is_some_and(|bar| matches!(bar.kind, BarKind::Memory { is_prefetchable: true, .. }))
    }

    /// Performs a device operation.
    pub(crate) fn control(&self, operation: u64) -> Result<(), Error> {
        if operation == call::DEVICE_RESET {
            return self.reset();
        }
        self.with_owner(|device, owner| {
            let is_on = match operation {
                call::DEVICE_BUS_MASTER_ON => true,
                call::DEVICE_BUS_MASTER_OFF => false,
                _ => return Err(Error::BadArgument),
            };
            owner.check_ready()?;
            Ok(device.function().set_bus_master(&pci().ecam, is_on)?)
        })
    }

    /// Begins a reset that the owner wants.
    fn reset(&self) -> Result<(), Error> {
        let mut condition = self.device.change.lock();
        let grant = self.with_owner(|device, owner| {
            owner.check_ready()?;
            if !device.has_reset() {
                return Err(Error::Unsupported);
            }
            owner.is_resetting = true;
            Ok(owner.grant)
        })?;
        self.device.begin_reset(&mut condition, Some(grant));
        Ok(())
    }

    /// See [`Device::prepare`]; for the supervisor only.
    pub(crate) fn prepare(&self) -> Result<bool, Error> {
        self.device.prepare()
    }

    /// Sets or clears who is told: of faults and of revocation, or, for the supervisor, of resets and storms.
    pub(crate) fn watch(&self, event: Option<Ref<Event>>) -> Result<(), Error> {
        let old = match self.grant {
            None => core::mem::replace(&mut self.device.oversight.lock().watcher, event),
            Some(_) => self.with_owner(|_, owner| Ok(core::mem::replace(&mut owner.watcher, event)))?,
        };
        drop(old);
        Ok(())
    }

    /// Leads interrupt `index` to `event`, masked.
    pub(crate) fn bind(&self, index: u64, event: &Ref<Event>) -> Result<Interrupt, Error> {
        let index = u16::try_from(index).map_err(|_| Error::BadArgument)?;
        let budget = self.device.oversight.lock().policy.interrupt_budget;
        let route = Route::to(event, Interrupt::source(self, index), budget)?;
        self.with_owner(|device, owner| {
            owner.check_ready()?;
            let slot =
                owner.interrupts.get_mut(usize::from(index)).ok_or(match device.function().interrupts() {
                    0 => Error::Unsupported,
                    _ => Error::BadArgument,
                })?;
            if slot.is_some() {
                return Err(Error::Busy);
            }
            let bound = device.lead(route)?;
            if let Err(error) = device.program(index, bound.message) {
                bound.free(device.cover.as_ref().ok());
                return Err(error);
            }
            *slot = Some(bound);
            Ok(Interrupt { device: self.clone(), index })
        })
    }

    /// Frees an interrupt whose last handle is gone. After a revocation there is nothing left to free.
    pub(crate) fn unbind(&self, index: u16) {
        let freed = self.with_owner(|device, owner| {
            if !owner.is_resetting {
                // A function that is gone sends nothing; its entry is freed all the same.
                let _ = device.set_masked(index, true);
            }
            let slot = &mut owner.interrupts[usize::from(index)];
            slot.take().map(|bound| bound.free(device.cover.as_ref().ok())).ok_or(Error::Gone)
        });
        let _ = freed;
    }

    /// Masks or unmasks a bound interrupt.
    pub(crate) fn mask(&self, index: u16, is_masked: bool) -> Result<(), Error> {
        self.with_owner(|device, owner| {
            let bound = owner.interrupts[usize::from(index)].as_mut().ok_or(Error::Gone)?;
            // While it is being reset, or the interrupt is stopped, the wish is kept for later.
            if !owner.is_resetting && bound.stopped_until_ns.is_none() {
                device.set_masked(index, is_masked)?;
            }
            bound.is_masked = is_masked;
            Ok(())
        })
    }
}
