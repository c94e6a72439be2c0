//! Which unit confines a function, whichever table says so, and why a function is not fit to be granted.
//!
//! **Invariant: a function has a [`Cover`] only if exactly one unit translates all it sends, and firmware does not go
//! on using it or the memory it reaches.**

use super::{Dmar, Ivrs, PciAddress, Topology};
use crate::address::RequesterId;

/// The machine's table.
#[derive(Clone, Copy, Debug)]
pub enum Firmware<'t> {
    /// Intel's.
    Dmar(Dmar<'t>),
    /// AMD's.
    Ivrs(Ivrs<'t>),
}

/// How a function is confined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cover {
    /// Place of its unit in the table.
    pub unit: usize,
    /// The requester its messages, and mostly its requests, carry where they reach the unit.
    pub sender: RequesterId,
}

/// Why a function must not be granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No unit covers it, or firmware names several.
    #[error("not exactly one remapping unit covers it")]
    NoUnit,
    /// RMRR (VT-d 5.10 §8.4) or IVMD (AMD 48882 §5.2.2.2).
    #[error("firmware keeps memory for it at {base:#x}")]
    ReservedMemory {
        /// Where, in bytes.
        base: u64,
    },
    /// NMI, INIT, system management or legacy interrupts (device settings of IVRS).
    #[error("firmware needs it for other messages than a device's own")]
    PlatformMessages,
    /// It is the function of a remapping unit.
    #[error("it is a remapping unit")]
    IsUnit,
}

impl Firmware<'_> {
    /// Places of the units' registers: physical address and bytes, in table order.
    pub fn registers(&self) -> impl Iterator<Item = (u64, u64)> {
        let (dmar, ivrs) = match self {
            Firmware::Dmar(table) => (Some(table), None),
            Firmware::Ivrs(table) => (None, Some(table)),
        };
        let intel = dmar.into_iter().flat_map(|t| t.units()).map(|u| (u.base, u.register_bytes));
        let amd = ivrs.into_iter().flat_map(|t| t.units());
        intel.chain(amd.map(|u| (u.base, super::ivrs::UnitDescription::REGISTER_BYTES)))
    }

    /// How `function` is confined. `seen_as` is its requester above every bridge that replaces it: its own, or an alias.
    ///
    /// # Errors
    /// Why it must not be granted.
    pub fn cover(
        &self,
        function: PciAddress,
        seen_as: RequesterId,
        topology: &impl Topology,
    ) -> Result<Cover, Refusal> {
        match self {
            Firmware::Dmar(table) => cover_by_dmar(table, function, seen_as, topology),
            Firmware::Ivrs(table) => cover_by_ivrs(table, function, seen_as),
        }
    }

    /// The unit that remaps the interrupts of I/O APIC `apic_id`, and the requester it sends them with.
    #[must_use]
    pub fn unit_of_io_apic(&self, apic_id: u8, topology: &impl Topology) -> Option<Cover> {
        let (unit, sender) = match self {
            Firmware::Dmar(table) => {
                table.unit_of_io_apic(apic_id, topology).map(|(unit, id)| (unit.index, id))
            }
            Firmware::Ivrs(table) => table.unit_of_io_apic(apic_id).map(|(unit, id)| (unit.index, id)),
        }?;
        Some(Cover { unit, sender })
    }
}

fn cover_by_dmar(
    table: &Dmar<'_>,
    function: PciAddress,
    seen_as: RequesterId,
    topology: &impl Topology,
) -> Result<Cover, Refusal> {
    let alias = PciAddress { segment: function.segment, id: seen_as };
    let mut reserved =
        [function, alias].into_iter().flat_map(|named| table.reserved_regions_of(named, topology));
    if let Some(region) = reserved.next() {
        return Err(Refusal::ReservedMemory { base: region.base() });
    }
    let unit = table.unit_of(function, topology).ok_or(Refusal::NoUnit)?;
    Ok(Cover { unit: unit.index, sender: seen_as })
}

fn cover_by_ivrs(table: &Ivrs<'_>, function: PciAddress, seen_as: RequesterId) -> Result<Cover, Refusal> {
    if table.units().any(|unit| (unit.segment, unit.function) == (function.segment, function.id)) {
        return Err(Refusal::IsUnit);
    }
    if let Some(memory) = table.reserved_memory_of(function).next() {
        return Err(Refusal::ReservedMemory { base: memory.base });
    }
    let sender = table.sender(function).ok_or(Refusal::NoUnit)?;
    if sender.settings.into_bits() != 0 {
        return Err(Refusal::PlatformMessages);
    }
    // An alias that firmware states is what the unit sees; where it states none, bridges may still have replaced the id.
    let id = if sender.id == function.id { seen_as } else { sender.id };
    Ok(Cover { unit: sender.unit.index, sender: id })
}
