//! Interrupts through the units.

use weir_abi::Error;
use weir_iommu::unit::{InterruptHandle, InterruptRoute, Trigger};

use super::{Cover, UNITS, caller_error, unit};
use crate::cpus;
use crate::pci::Hierarchy;

/// Lets a function raise `vector` on CPU `cpu`.
pub(crate) fn allocate_interrupt(cover: &Cover, vector: u8, cpu: u32) -> Result<InterruptHandle, Error> {
    let route = InterruptRoute {
        requester: cover.sender,
        vector,
        apic_id: cpus::apic_id(cpu),
        trigger: Trigger::Edge,
    };
    unit(cover.unit)?.lock().allocate_interrupt(route).map_err(caller_error)
}

/// Lets I/O interrupt controller `id` raise `vector` on the first CPU; `None` where no unit covers it.
pub(crate) fn allocate_line(id: u8, vector: u8) -> Option<InterruptHandle> {
    let units = UNITS.get()?;
    let cover = units.firmware.unit_of_io_apic(id, &Hierarchy)?;
    let route =
        InterruptRoute { requester: cover.sender, vector, apic_id: cpus::apic_id(0), trigger: Trigger::Edge };
    units.units.get(cover.unit)?.lock().allocate_interrupt(route).ok()
}

/// Takes an interrupt away; when this has returned, it no longer arrives.
pub(crate) fn free_interrupt(cover: &Cover, handle: InterruptHandle) -> Result<(), Error> {
    unit(cover.unit)?.lock().free_interrupt(handle).map_err(caller_error)
}
