//! Interrupt remapping (VT-d 5.10 §5.1 "Interrupt Remapping"): which interrupts a requester may raise.
//!
//! **Invariant: a present entry names one requester in full (SVT = 01, SQ = 00) and delivers one fixed vector to
//! one APIC**: no entry can be used by anybody else, and none delivers NMI, SMI or INIT. An entry changes in one
//! 16-byte write.
//! Does not invalidate: that is the unit's part.

mod entry;
mod message;

use super::registers::InterruptTableAddress;
use crate::address::{PhysAddr, UnitIndex};
use crate::environment::TableMemory;
use crate::error::{Error, Result};
use crate::id_set::IdSet;
use crate::interrupt::{ApicMode, InterruptRoute, Msi, Polarity, RedirectionEntry, Trigger, check_target};
use crate::tables::Tables;
use entry::Irte;

/// Entries of a unit's table; 64 KiB of memory.
const ENTRIES: usize = 4096;
const FRAMES: usize = ENTRIES * 16 / 4096;
/// IRTA.S: entries = 2^(S + 1).
const SIZE_CODE: u8 = 11;
const _: () = assert!(2 << SIZE_CODE == ENTRIES && FRAMES * 4096 == ENTRIES * 16);

/// One entry of a unit's table, owned. Gone when freed; dropping it without freeing leaks the entry.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "an entry is used up until it is freed"]
pub struct InterruptHandle {
    unit: UnitIndex,
    index: u16,
}

impl InterruptHandle {
    /// Index in the table, as faults report it.
    #[must_use]
    pub fn index(&self) -> u16 {
        self.index
    }

    /// The message a function is programmed with (§5.1.5.2 "MSI and MSI-X Register Programming").
    #[must_use]
    pub fn msi(&self) -> Msi {
        message::msi(self.index)
    }

    /// The redirection entry an I/O APIC pin is programmed with, masked (§5.1.5.1 "Programming in I/OxAPIC").
    /// `vector` and `trigger` must be those of the route.
    #[must_use]
    pub fn redirection(&self, vector: u8, trigger: Trigger, polarity: Polarity) -> RedirectionEntry {
        message::redirection(self.index, vector, trigger, polarity)
    }
}

/// The interrupt remapping table of one unit.
pub(super) struct InterruptTable {
    at: PhysAddr,
    mode: ApicMode,
    taken: IdSet<{ ENTRIES / 64 }>,
}

impl InterruptTable {
    /// A table that blocks every interrupt.
    pub(super) fn new<M: TableMemory>(tables: &Tables<M>, mode: ApicMode) -> Result<Self> {
        Ok(InterruptTable { at: tables.alloc(FRAMES)?, mode, taken: IdSet::new() })
    }

    /// What IRTA is programmed with.
    pub(super) fn register(&self) -> InterruptTableAddress {
        let is_extended = self.mode == ApicMode::X2Apic;
        InterruptTableAddress::new().with_size(SIZE_CODE).with_eime(is_extended).with_frame(self.at.0 >> 12)
    }

    /// Takes a free entry, which stays not present, for `unit`.
    pub(super) fn take(&mut self, unit: UnitIndex) -> Result<InterruptHandle> {
        let index = self.taken.take(ENTRIES).ok_or(Error::OutOfInterrupts)?;
        Ok(InterruptHandle { unit, index })
    }

    /// Makes the entry free for others; the unit must have confirmed that it forgot it.
    pub(super) fn put_back(&mut self, handle: InterruptHandle) {
        self.taken.put_back(handle.index);
    }

    pub(super) fn check(&self, unit: UnitIndex, handle: &InterruptHandle) -> Result<()> {
        if handle.unit != unit || !self.taken.contains(handle.index) {
            return Err(Error::NotThisUnit);
        }
        Ok(())
    }

    /// Whether this table can express the route.
    pub(super) fn check_route(&self, route: InterruptRoute) -> Result<()> {
        check_target(self.mode, route.vector, route.apic_id)
    }

    /// Writes the entry; `None` blocks it.
    pub(super) fn set<M: TableMemory>(
        &self,
        tables: &Tables<M>,
        handle: &InterruptHandle,
        route: Option<InterruptRoute>,
    ) {
        let entry = route.map_or(0, |route| Irte::fixed(route, self.mode).into_bits());
        tables.write128(self.at.offset(u64::from(handle.index) * 16), entry);
    }
}
