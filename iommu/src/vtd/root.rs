//! The root table of one unit and what it leads to (VT-d 5.10 §9.1 "Root Entry", §9.2 "Scalable-Mode Root Entry").
//!
//! **Invariant: a requester that was not admitted is blocked**; an entry that leads somewhere is written after what it
//! leads to. Does not invalidate: that is the unit's part, in the order of §6.5.3.3.
//!
//! An empty root table blocks everybody in legacy and in scalable mode, so the table exists before the mode is chosen.

use super::context::{ContextEntry, ScalableContextEntry};
use super::pasid::{PasidTables, Snooping};
use super::registers::RootTableAddress;
use crate::address::{DomainId, PhysAddr, RequesterId};
use crate::domain::Walk;
use crate::environment::TableMemory;
use crate::error::Result;
use crate::tables::Tables;
use bitfield_struct::bitfield;

/// Root entry of legacy mode: the context table of one bus (§9.1); the other 64 bits are reserved. In scalable mode
/// each half of the 128 bits is one such entry: for devices 0 to 15, and 16 to 31 (§9.2).
#[bitfield(u64)]
struct RootEntry {
    present: bool,
    #[bits(11)]
    __: u16,
    /// Frame number of the context table.
    #[bits(52)]
    frame: u64,
}
const _: () = assert!(RootEntry::FRAME_OFFSET == 12);

pub(super) struct RootTable {
    at: PhysAddr,
    is_scalable: bool,
}

impl RootTable {
    /// A table that blocks every requester.
    pub(super) fn new<M: TableMemory>(tables: &Tables<M>) -> Result<Self> {
        Ok(RootTable { at: tables.alloc(1)?, is_scalable: false })
    }

    /// Chooses the layout; nobody is admitted yet.
    pub(super) fn set_layout(&mut self, is_scalable: bool) {
        self.is_scalable = is_scalable;
    }

    /// TTM for the layout.
    pub(super) fn table_mode(&self) -> u8 {
        if self.is_scalable { RootTableAddress::SCALABLE } else { RootTableAddress::LEGACY }
    }

    /// What to write to RTADDR, in the given table mode.
    pub(super) fn register(&self, table_mode: u8) -> RootTableAddress {
        RootTableAddress::new().with_frame(self.at.0 >> 12).with_ttm(table_mode)
    }

    /// The domain `requester` is in.
    pub(super) fn holder<M: TableMemory>(
        &self,
        tables: &Tables<M>,
        requester: RequesterId,
    ) -> Option<DomainId> {
        if self.is_scalable {
            return self.pasid_tables(tables, requester).map(|pasids| pasids.domain(tables));
        }
        ContextEntry::from_bits(self.entry(tables, requester)).holder()
    }

    /// Puts `requester`, which is blocked, into a domain.
    ///
    /// # Errors
    /// `OutOfFrames`; nothing was changed.
    pub(super) fn admit<M: TableMemory>(
        &self,
        tables: &Tables<M>,
        requester: RequesterId,
        (walk, domain): (Walk, DomainId),
        snooping: Snooping,
    ) -> Result<()> {
        if !self.is_scalable {
            let entry = ContextEntry::translated(walk.root, walk.levels - 2, domain);
            return self.set(tables, requester, entry.into_bits());
        }
        let pasids = PasidTables::new(tables, walk, domain, snooping)?;
        let entry = ScalableContextEntry::through(pasids.directory());
        self.set(tables, requester, entry.into_bits()).inspect_err(|_| pasids.free(tables))
    }

    /// Blocks `requester`. The tables that are left over may be walked until the unit has forgotten them.
    ///
    /// # Errors
    /// `OutOfFrames`, where there was nothing to block; nothing was changed.
    pub(super) fn block<M: TableMemory>(
        &self,
        tables: &Tables<M>,
        requester: RequesterId,
    ) -> Result<Option<PasidTables>> {
        let left_over = self.pasid_tables(tables, requester);
        self.set(tables, requester, 0)?;
        Ok(left_over)
    }

    /// Sets or clears FPD, in every entry that has one: whether one of them is enough, and which, is not to be relied on.
    ///
    /// # Errors
    /// `OutOfFrames`; nothing was changed.
    pub(super) fn mute<M: TableMemory>(
        &self,
        tables: &Tables<M>,
        requester: RequesterId,
        is_muted: bool,
    ) -> Result<()> {
        // P and FPD are the same bits in both layouts.
        let entry = ContextEntry::from_bits(self.entry(tables, requester)).with_is_muted(is_muted);
        self.set(tables, requester, entry.into_bits())?;
        if let Some(pasids) = self.pasid_tables(tables, requester) {
            pasids.mute(tables, is_muted);
        }
        Ok(())
    }

    /// Blocks every requester, whatever its context entry says.
    pub(super) fn block_all<M: TableMemory>(&self, tables: &Tables<M>) {
        (0..=u8::MAX).for_each(|bus| tables.write128(self.at.offset(u64::from(bus) * 16), 0));
    }

    fn pasid_tables<M: TableMemory>(
        &self,
        tables: &Tables<M>,
        requester: RequesterId,
    ) -> Option<PasidTables> {
        let entry = ScalableContextEntry::from_bits(self.entry(tables, requester));
        entry.directory().filter(|_| self.is_scalable).map(PasidTables::at)
    }

    fn entry<M: TableMemory>(&self, tables: &Tables<M>, requester: RequesterId) -> u128 {
        let table = self.context_table(tables, requester);
        table.map_or(0, |table| tables.read128(self.context_slot(table, requester)))
    }

    /// Writes the entry of `requester`, creating the context table where there is none.
    fn set<M: TableMemory>(&self, tables: &Tables<M>, requester: RequesterId, entry: u128) -> Result<()> {
        let (table, is_new) = match self.context_table(tables, requester) {
            Some(table) => (table, false),
            None => (tables.alloc(1)?, true),
        };
        tables.write128(self.context_slot(table, requester), entry);
        if is_new {
            let link = RootEntry::new().with_present(true).with_frame(table.0 >> 12);
            let slot = self.root_slot(requester);
            tables.write64(slot, link.into_bits());
            tables.flush(slot, 8);
        }
        Ok(())
    }

    fn context_table<M: TableMemory>(&self, tables: &Tables<M>, requester: RequesterId) -> Option<PhysAddr> {
        let entry = RootEntry::from_bits(tables.read64(self.root_slot(requester)));
        entry.present().then_some(PhysAddr(entry.frame() << 12))
    }

    fn root_slot(&self, requester: RequesterId) -> PhysAddr {
        let bus = self.at.offset(u64::from(requester.bus()) * 16);
        let is_upper_half = self.is_scalable && requester.device_function() >= 128;
        if is_upper_half { bus.offset(8) } else { bus }
    }

    /// Legacy: 256 entries of 16 bytes. Scalable: 128 of 32, and another table for the other 128.
    fn context_slot(&self, table: PhysAddr, requester: RequesterId) -> PhysAddr {
        let index = u64::from(requester.device_function());
        table.offset(if self.is_scalable { index % 128 * 32 } else { index * 16 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Golden values packed by hand from §9.1 and §9.2.
    #[test]
    fn packs_as_the_specification_says() {
        let root = RootEntry::new().with_present(true).with_frame(0x12_3456_7000 >> 12);
        assert_eq!(root.into_bits(), 0x12_3456_7001);
        let table = |is_scalable| RootTable { at: PhysAddr(0x12_3456_7000), is_scalable };
        let register = |table: RootTable| table.register(table.table_mode()).into_bits();
        assert_eq!(register(table(false)), 0x12_3456_7000);
        assert_eq!(register(table(true)), 0x12_3456_7400);
    }

    #[test]
    fn slots_are_where_the_specification_puts_them() {
        let requester = |device| RequesterId::new(0x12, device, 3);
        let slots = |is_scalable, device| {
            let root = RootTable { at: PhysAddr(0x1_0000), is_scalable };
            let context = root.context_slot(PhysAddr(0x2_0000), requester(device));
            (root.root_slot(requester(device)).0, context.0)
        };
        assert_eq!(slots(false, 15), (0x1_0120, 0x2_0000 + 0x7b * 16));
        assert_eq!(slots(false, 16), (0x1_0120, 0x2_0000 + 0x83 * 16));
        assert_eq!(slots(true, 15), (0x1_0120, 0x2_0000 + 0x7b * 32));
        assert_eq!(slots(true, 16), (0x1_0128, 0x2_0000 + 3 * 32));
    }
}
