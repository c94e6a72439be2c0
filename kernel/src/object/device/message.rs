//! A device's interrupts: vectors, remapping entries and the registers that hold the messages.

use weir_abi::Error;
use weir_kernel::pci::{Function, Message, Msix, MsixState, MsixTable, PciError, TableRegisters};

use super::{Device, Owner};
use crate::cpus;
use crate::iommu::{self, Cover, InterruptHandle};
use crate::mm::address::PhysAddr;
use crate::mm::vmap;
use crate::object::interrupt::Route;
use crate::pci::pci;

/// An interrupt that leads somewhere.
pub(super) struct Bound {
    pub(super) route: Route,
    /// `None` without a unit, and while the interrupt is stopped.
    entry: Option<InterruptHandle>,
    pub(super) message: Message,
    /// By the owner.
    pub(super) is_masked: bool,
    /// It came too often: it is stopped until then.
    pub(super) stopped_until_ns: Option<u64>,
    /// The unit did not confirm that it forgot an entry: the vector must lead nowhere else, ever.
    is_tainted: bool,
}

impl Bound {
    /// Takes the interrupt away from the device.
    pub(super) fn free(mut self, cover: Option<&Cover>) {
        self.close(cover);
        if self.is_tainted {
            core::mem::forget(self.route);
        }
    }

    /// Blocks the interrupt at the unit, whatever the device does.
    pub(super) fn close(&mut self, cover: Option<&Cover>) {
        if let (Some(cover), Some(entry)) = (cover, self.entry.take())
            && let Err(error) = iommu::free_interrupt(cover, entry)
        {
            log::error!("interrupt of a device: {error}; its vector stays out of use");
            self.is_tainted = true;
        }
    }
}

impl Device {
    /// An interrupt that leads to `route`: through the unit, or directly where there is none.
    pub(super) fn lead(&self, route: Route) -> Result<Bound, Error> {
        let (entry, message) = self.message(&route)?;
        Ok(Bound { route, entry, message, is_masked: true, stopped_until_ns: None, is_tainted: false })
    }

    fn message(&self, route: &Route) -> Result<(Option<InterruptHandle>, Message), Error> {
        let Ok(cover) = &self.cover else {
            return Ok((None, direct_message(route)?));
        };
        let entry = iommu::allocate_interrupt(cover, route.vector(), route.cpu)?;
        let msi = entry.msi();
        Ok((Some(entry), Message { address: msi.address, data: msi.data }))
    }

    /// Leads an interrupt of a function that the kernel itself uses to `vector` of the first CPU, for ever. A function
    /// without MSI-X has one, whatever `index`.
    pub(super) fn bind_for_kernel(&self, index: u16, vector: u8) -> Result<(), Error> {
        let cover = self.cover.as_ref().map_err(|_| Error::NoIommu)?;
        let function = self.function();
        let index = if self.msix.is_some() { index } else { 0 };
        let msi = iommu::allocate_interrupt(cover, vector, 0)?.msi();
        function.set_memory_decode(&pci().ecam, true)?;
        self.program(index, Message { address: msi.address, data: msi.data })?;
        // Messages are transfers, too.
        function.set_bus_master(&pci().ecam, true)?;
        self.set_masked(index, false)
    }

    /// Writes an interrupt's message to the device, masked.
    pub(super) fn program(&self, index: u16, message: Message) -> Result<(), Error> {
        let (function, ecam) = (self.function(), &pci().ecam);
        match &self.msix {
            Some(table) => {
                table.program(index, message)?;
                Ok(function.set_msix(ecam, MsixState::On)?)
            }
            // MSI messages differ in the low data bits, which remapping by one entry each has no use for: one.
            None if index == 0 => Ok(function.program_msi(ecam, message, 0)?),
            None => Err(Error::Unsupported),
        }
    }

    pub(super) fn set_masked(&self, index: u16, is_masked: bool) -> Result<(), Error> {
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
    pub(super) fn program_again(&self, owner: &Owner) -> Result<(), Error> {
        for (index, bound) in (0u16..).zip(&owner.interrupts) {
            // One that is stopped comes back with the end of its storm.
            let Some(bound) = bound.as_ref().filter(|bound| bound.stopped_until_ns.is_none()) else {
                continue;
            };
            self.program(index, bound.message)?;
            self.set_masked(index, bound.is_masked)?;
        }
        Ok(())
    }

    /// Lets an interrupt arrive again that was stopped, and has its owner look: some may have been lost.
    pub(super) fn open_again(&self, index: u16, bound: &mut Bound) -> Result<(), Error> {
        (bound.entry, bound.message) = self.message(&bound.route)?;
        self.program(index, bound.message)?;
        self.set_masked(index, bound.is_masked)?;
        bound.route.signal();
        Ok(())
    }

    /// Masks and frees every interrupt of the grant.
    pub(super) fn silence(&self, owner: &mut Owner) {
        let function = self.function();
        let ecam = &pci().ecam;
        let masked = if self.msix.is_some() {
            function.set_msix(ecam, MsixState::Masked)
        } else if function.capabilities.msi.is_some() {
            function.set_msi(ecam, false)
        } else {
            Ok(())
        };
        // A function that is gone sends nothing.
        if let Err(error) = masked
            && error != PciError::Vanished
        {
            log::warn!("{}: interrupts not masked at the device: {error}", function.address);
        }
        for bound in owner.interrupts.iter_mut().filter_map(Option::take) {
            bound.free(self.cover.as_ref().ok());
        }
    }
}

/// An ordinary message (Intel SDM volume 3, "Message Signalled Interrupts"), for functions without a unit.
fn direct_message(route: &Route) -> Result<Message, Error> {
    let apic_id = u8::try_from(cpus::apic_id(route.cpu)).map_err(|_| Error::Unsupported)?;
    Ok(Message { address: 0xfee0_0000 | u64::from(apic_id) << 12, data: route.vector().into() })
}

/// An MSI-X table.
pub(super) enum Registers {
    /// Mapped for ever.
    Mapped(*mut u8),
    /// Of a function that came after boot: shown when used.
    At(PhysAddr),
}

// SAFETY: device registers belong to no CPU; each access is one whole register.
unsafe impl Send for Registers {}
// SAFETY: as above.
unsafe impl Sync for Registers {}

impl Registers {
    /// The table of a function found at boot.
    pub(super) fn map(function: &Function) -> Option<MsixTable<Registers>> {
        let (msix, at) = place(function)?;
        Some(MsixTable::new(&msix, Registers::Mapped(vmap::map_registers(at.0, msix.table.bytes))))
    }

    /// The table of a function that came later.
    pub(super) fn of_newcomer(function: &Function) -> Option<MsixTable<Registers>> {
        let (msix, at) = place(function)?;
        Some(MsixTable::new(&msix, Registers::At(at)))
    }

    fn with<T>(&self, offset: u64, access: impl FnOnce(*mut u32) -> T) -> T {
        match self {
            // SAFETY: `MsixTable` stays within the table, which is mapped whole.
            Registers::Mapped(table) => access(unsafe { table.add(offset as usize) }.cast()),
            // Registers are aligned, so none crosses a page.
            Registers::At(table) => {
                vmap::with_registers(PhysAddr(table.0 + offset), |register| access(register.cast()))
            }
        }
    }
}

/// Where a function's table is.
fn place(function: &Function) -> Option<(Msix, PhysAddr)> {
    let msix = function.capabilities.msix?;
    let bar = function.bars.get(usize::from(msix.table.bar))?.as_ref()?.memory()?;
    Some((msix, PhysAddr(bar.start.0.checked_add(msix.table.offset)?)))
}

impl TableRegisters for Registers {
    fn read(&self, offset: u64) -> u32 {
        // SAFETY: `with` gives a register of the table.
        self.with(offset, |register| unsafe { register.read_volatile() })
    }

    fn write(&self, offset: u64, value: u32) {
        // SAFETY: as above.
        self.with(offset, |register| unsafe { register.write_volatile(value) });
    }
}
