//! Root and context tables: which domain a requester is in (VT-d 5.10 §9.1 "Root Entry", §9.3 "Context Entry").
//!
//! **Invariant: an entry is either all zero but FPD (blocked) or leads to a second-stage table with TT = 00**:
//! neither pass-through nor device TLBs are ever written. An entry changes in one 16-byte write.
//! Does not invalidate: that is the unit's part, in the order of §6.5.3.3.

use crate::address::{DomainId, PhysAddr, RequesterId};
use crate::environment::TableMemory;
use crate::error::Result;
use crate::tables::Tables;
use bitfield_struct::bitfield;

/// Root entry: the context table of one bus (§9.1).
#[bitfield(u128)]
pub(super) struct RootEntry {
    pub present: bool,
    #[bits(11)]
    __: u16,
    /// Frame number of the context table.
    #[bits(52)]
    pub frame: u64,
    __: u64,
}
const _: () = assert!(RootEntry::FRAME_OFFSET == 12);

/// Context entry: the domain of one requester (§9.3).
#[bitfield(u128)]
pub(super) struct ContextEntry {
    pub present: bool,
    /// FPD: do not record faults of this requester.
    pub is_muted: bool,
    /// TT: 0 = translate untranslated requests, block all others.
    #[bits(2)]
    pub translation_type: u8,
    #[bits(8)]
    __: u8,
    /// Frame number of the second-stage root.
    #[bits(52)]
    pub frame: u64,
    /// AW: 1 = 3 levels, 2 = 4, 3 = 5.
    #[bits(3)]
    pub address_width: u8,
    #[bits(5)]
    __: u8,
    pub domain: u16,
    #[bits(40)]
    __: u64,
}
const _: () = assert!(ContextEntry::IS_MUTED_OFFSET == 1 && ContextEntry::TRANSLATION_TYPE_OFFSET == 2);
const _: () = assert!(ContextEntry::FRAME_OFFSET == 12 && ContextEntry::ADDRESS_WIDTH_OFFSET == 64);
const _: () = assert!(ContextEntry::DOMAIN_OFFSET == 72);

impl ContextEntry {
    /// Every request is refused.
    pub(super) fn blocked() -> Self {
        Self::new()
    }

    /// Requests go through the table at `root`, cached under `domain`.
    pub(super) fn translated(root: PhysAddr, address_width: u8, domain: DomainId) -> Self {
        let entry = Self::new().with_present(true).with_frame(root.0 >> 12);
        entry.with_address_width(address_width).with_domain(domain.0)
    }

    pub(super) fn is_in(self, domain: DomainId) -> bool {
        self.present() && self.domain() == domain.0
    }
}

/// The root table of one unit and the context tables it leads to.
pub(super) struct RootTable {
    at: PhysAddr,
}

impl RootTable {
    /// A table that blocks every requester.
    pub(super) fn new<M: TableMemory>(tables: &Tables<M>) -> Result<Self> {
        Ok(RootTable { at: tables.alloc(1)? })
    }

    pub(super) fn at(&self) -> PhysAddr {
        self.at
    }

    /// What is written for `requester`.
    pub(super) fn entry<M: TableMemory>(&self, tables: &Tables<M>, requester: RequesterId) -> ContextEntry {
        let Some(table) = self.context_table(tables, requester.bus()) else { return ContextEntry::blocked() };
        let at = entry_at(table, requester.device_function());
        let (low, high) = (tables.read64(at), tables.read64(at.offset(8)));
        ContextEntry::from_bits(u128::from(high) << 64 | u128::from(low))
    }

    /// Writes the entry of `requester`, creating the context table of its bus where there is none.
    ///
    /// # Errors
    /// `OutOfFrames`; nothing was changed.
    pub(super) fn set<M: TableMemory>(
        &self,
        tables: &Tables<M>,
        requester: RequesterId,
        entry: ContextEntry,
    ) -> Result<()> {
        let bus = requester.bus();
        let (table, is_new) = match self.context_table(tables, bus) {
            Some(table) => (table, false),
            None => (tables.alloc(1)?, true),
        };
        tables.write128(entry_at(table, requester.device_function()), entry.into_bits());
        if is_new {
            let link = RootEntry::new().with_present(true).with_frame(table.0 >> 12);
            tables.write128(entry_at(self.at, bus), link.into_bits());
        }
        Ok(())
    }

    /// Blocks every requester, whatever its context entry says.
    pub(super) fn block_all<M: TableMemory>(&self, tables: &Tables<M>) {
        (0..=u8::MAX).for_each(|bus| tables.write128(entry_at(self.at, bus), 0));
    }

    fn context_table<M: TableMemory>(&self, tables: &Tables<M>, bus: u8) -> Option<PhysAddr> {
        let entry = RootEntry::from_bits(u128::from(tables.read64(entry_at(self.at, bus))));
        entry.present().then_some(PhysAddr(entry.frame() << 12))
    }
}

/// Entry `index` of a root or context table.
fn entry_at(table: PhysAddr, index: u8) -> PhysAddr {
    table.offset(u64::from(index) * 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Golden values packed by hand from §9.1 and §9.3.
    #[test]
    fn packs_as_the_specification_says() {
        let root = RootEntry::new().with_present(true).with_frame(0x12_3456_7000 >> 12);
        assert_eq!(root.into_bits(), 0x12_3456_7001);
        let entry = ContextEntry::translated(PhysAddr(0x9_8765_4000), 2, DomainId(0xabcd));
        assert_eq!(entry.into_bits(), 0x0000_0000_00ab_cd02_0000_0009_8765_4001);
        let three = ContextEntry::translated(PhysAddr(0x1000), 1, DomainId(1));
        assert_eq!(three.into_bits(), 0x0000_0000_0000_0101_0000_0000_0000_1001);
        assert_eq!(ContextEntry::blocked().into_bits(), 0);
        assert_eq!(ContextEntry::blocked().with_is_muted(true).into_bits(), 2);
    }

    #[test]
    fn a_blocked_entry_is_in_no_domain() {
        let entry = ContextEntry::translated(PhysAddr(0x1000), 1, DomainId(5));
        assert!(entry.is_in(DomainId(5)) && !entry.is_in(DomainId(6)));
        assert!(!entry.with_present(false).is_in(DomainId(5)));
    }
}
