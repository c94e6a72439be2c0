//! Interrupt remapping tables, one per requester (48882 §2.2.5 "Interrupt Remapping Tables").
//!
//! **Invariant: an entry that is not all zero is somebody's**: it is cleared first, the unit confirms, and only then
//! is its handle gone. An entry delivers one fixed vector to one APIC, and changes in one write.
//! **Invariant: tables have 256 entries**, so that what names one in a message (data bits 10:0) always reads as a
//! fixed interrupt; with more, some would read as NMI, SMI or INIT.
//! Does not invalidate: that is the unit's part.

mod entry;

use crate::address::{PhysAddr, RequesterId, UnitIndex};
use crate::environment::TableMemory;
use crate::error::{Error, Result};
use crate::interrupt::{ApicMode, InterruptRoute, Msi, Polarity, RedirectionEntry, Trigger, check_target};
use crate::tables::Tables;
pub(super) use entry::Format;

/// log2 of a table's entries; in the long format they fill a frame.
pub(super) const ORDER: u8 = 8;

/// One entry of a requester's table, owned. Gone when freed; dropping it without freeing leaks the entry.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "an entry is used up until it is freed"]
pub struct InterruptHandle {
    unit: UnitIndex,
    requester: RequesterId,
    index: u8,
}

impl InterruptHandle {
    pub(super) fn new(unit: UnitIndex, requester: RequesterId, index: u8) -> Self {
        InterruptHandle { unit, requester, index }
    }

    /// Index in the table of its requester.
    #[must_use]
    pub fn index(&self) -> u16 {
        u16::from(self.index)
    }

    /// Whose table it is in.
    #[must_use]
    pub fn requester(&self) -> RequesterId {
        self.requester
    }

    /// The message the function is programmed with: the data names the entry, and nothing else in it counts.
    #[must_use]
    pub fn msi(&self) -> Msi {
        Msi { address: 0xfee0_0000, data: u32::from(self.index) }
    }

    /// The redirection entry an I/O APIC pin is programmed with, masked. Its vector field names the entry, whatever
    /// `vector` is; for level-triggered routes the two are equal, so that end-of-interrupt finds the pin.
    #[must_use]
    pub fn redirection(&self, _vector: u8, trigger: Trigger, polarity: Polarity) -> RedirectionEntry {
        RedirectionEntry::new()
            .with_vector(self.index)
            .with_is_active_low(polarity == Polarity::ActiveLow)
            .with_is_level(trigger == Trigger::Level)
            .with_is_masked(true)
    }

    pub(super) fn is_of(&self, unit: UnitIndex) -> bool {
        self.unit == unit
    }

    pub(super) fn slot(&self) -> u8 {
        self.index
    }
}

/// How the entries of one unit's tables look, and which destinations they can name.
#[derive(Clone, Copy, Debug)]
pub(super) struct Remapping {
    pub(super) format: Format,
    pub(super) mode: ApicMode,
}

impl Remapping {
    /// Whether a table can express the route.
    pub(super) fn check_route(self, route: InterruptRoute) -> Result<()> {
        check_target(self.mode, route.vector, route.apic_id)
    }

    /// A slot of `table` that nobody has and that fits the route.
    pub(super) fn free_slot<M: TableMemory>(
        self,
        tables: &Tables<M>,
        table: PhysAddr,
        route: InterruptRoute,
    ) -> Result<u8> {
        let is_free = |slot: &u8| self.format.is_free(tables, table, *slot);
        let slot = match route.trigger {
            Trigger::Edge => (0..=u8::MAX).find(is_free),
            // The I/O APIC gets the slot for a vector, and an end-of-interrupt names the vector.
            Trigger::Level => Some(route.vector).filter(is_free),
        };
        slot.ok_or(Error::OutOfInterrupts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_name_the_entry_alone() {
        let handle = InterruptHandle::new(UnitIndex(0), RequesterId(0x18), 0xfe);
        assert_eq!(handle.msi(), Msi { address: 0xfee0_0000, data: 0xfe });
        assert_eq!(handle.redirection(0x31, Trigger::Edge, Polarity::ActiveHigh).into_bits(), 0x1_00fe);
        assert_eq!(handle.redirection(0xfe, Trigger::Level, Polarity::ActiveLow).into_bits(), 0x1_a0fe);
    }
}
