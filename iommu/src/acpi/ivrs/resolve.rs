//! From a function to the unit that covers it and the id the unit sees (48882 §5.2.2.1, alias entries).
//!
//! **Invariant: no answer rather than a wrong one**: a function that two units name is covered by neither.

use super::entries::{DeviceSettings, Entry, Special};
use super::{Ivrs, ReservedMemory, UnitDescription};
use crate::acpi::PciAddress;
use crate::acpi::count::at_most_one;
use crate::address::RequesterId;

/// How a function shows at its unit.
#[derive(Clone, Copy, Debug)]
pub struct Sender<'t> {
    /// The unit that translates it.
    pub unit: UnitDescription<'t>,
    /// The id its requests and messages carry: attach and route for this one. Where it is not the function's own,
    /// other functions may use it too.
    pub id: RequesterId,
    /// What firmware says it needs besides; anything set means that it is not fit to be granted.
    pub settings: DeviceSettings,
}

impl UnitDescription<'_> {
    /// The last entry that names the function decides; one that names all functions gives way to any other.
    fn sender(&self, id: RequesterId) -> Option<(RequesterId, DeviceSettings)> {
        let is_of_all = |entry: &Entry| matches!(entry, Entry::Functions { ids: (0, u16::MAX), .. });
        let named = || self.entries.iter().filter(|entry| entry.covers(id.0));
        let entry = named().filter(|entry| !is_of_all(entry)).last().or_else(|| named().last())?;
        let Entry::Functions { alias, settings, .. } = entry else { return None };
        Some((alias.map_or(id, RequesterId), settings))
    }
}

impl<'t> Ivrs<'t> {
    /// The unit that translates `device` and the id it is seen under, or `None` if not exactly one does: such a
    /// device must not be granted.
    #[must_use]
    pub fn sender(&self, device: PciAddress) -> Option<Sender<'t>> {
        let senders = self.units().filter(|unit| unit.segment == device.segment).filter_map(|unit| {
            let (id, settings) = unit.sender(device.id)?;
            Some(Sender { unit, id, settings })
        });
        at_most_one(senders).one()
    }

    /// The unit that remaps the interrupts of I/O APIC `apic_id`, and the id it sends them with.
    #[must_use]
    pub fn unit_of_io_apic(&self, apic_id: u8) -> Option<(UnitDescription<'t>, RequesterId)> {
        self.unit_of_special(Special::IoApic(apic_id))
    }

    /// The unit that remaps the messages of timer block `number`, and the id it sends them with.
    #[must_use]
    pub fn unit_of_hpet(&self, number: u8) -> Option<(UnitDescription<'t>, RequesterId)> {
        self.unit_of_special(Special::Hpet(number))
    }

    /// The memory `device` goes on reaching, under its own id or the one it is seen under. If there is any, the
    /// device must not be granted.
    pub fn reserved_memory_of(&self, device: PciAddress) -> impl Iterator<Item = ReservedMemory> + use<'t> {
        let alias = self.sender(device).map_or(device.id, |sender| sender.id);
        self.reserved_memory().filter(move |memory| {
            memory.names(device.segment, device.id) || memory.names(device.segment, alias)
        })
    }

    fn unit_of_special(&self, wanted: Special) -> Option<(UnitDescription<'t>, RequesterId)> {
        let matches = self.units().flat_map(|unit| {
            unit.entries.iter().filter_map(move |entry| match entry {
                Entry::Special { source, id } if source == wanted => Some((unit, RequesterId(id))),
                _ => None,
            })
        });
        at_most_one(matches).one()
    }
}
