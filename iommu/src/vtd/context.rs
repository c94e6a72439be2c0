//! Context entries: which domain a requester is in (VT-d 5.10 §9.3 "Context Entry", §9.4 "Scalable-Mode Context Entry").
//!
//! **Invariant: an entry is either all zero but FPD (blocked) or leads to what one domain reaches**: in legacy mode to its
//! second-stage table with TT = 00, in scalable mode to PASID tables with one entry. Pass-through, device TLBs, PASIDs and
//! page requests are never allowed. An entry changes in one 16-byte write: the upper half of a scalable entry is zero.

use crate::address::{DomainId, PhysAddr};
use bitfield_struct::bitfield;

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
    /// Requests go through the table at `root`, cached under `domain`.
    pub(super) fn translated(root: PhysAddr, address_width: u8, domain: DomainId) -> Self {
        let entry = Self::new().with_present(true).with_frame(root.0 >> 12);
        entry.with_address_width(address_width).with_domain(domain.0)
    }

    /// The domain requests are in.
    pub(super) fn holder(self) -> Option<DomainId> {
        self.present().then_some(DomainId(self.domain()))
    }
}

/// Scalable-mode context entry, bits 127:0 (§9.4); bits 255:128 are reserved. A blocked one reads like a legacy one.
#[bitfield(u128)]
pub(super) struct ScalableContextEntry {
    pub present: bool,
    /// FPD: do not record faults of this requester.
    pub is_muted: bool,
    /// DTE: translation requests are allowed.
    pub device_tlb: bool,
    /// PASIDE: requests with PASID are allowed.
    pub pasids: bool,
    /// PRE: page requests are allowed.
    pub page_requests: bool,
    #[bits(4)]
    __: u8,
    /// PDTS: the directory has 2^(size + 7) entries.
    #[bits(3)]
    pub directory_size: u8,
    /// Frame number of the PASID directory.
    #[bits(52)]
    pub frame: u64,
    /// RID_PASID: the PASID entry that requests without PASID use.
    #[bits(20)]
    pub rid_pasid: u32,
    /// RID_PRIV: such requests are a supervisor's.
    pub rid_priv: bool,
    #[bits(43)]
    __: u64,
}
const _: () =
    assert!(ScalableContextEntry::DEVICE_TLB_OFFSET == 2 && ScalableContextEntry::PASIDS_OFFSET == 3);
const _: () = assert!(ScalableContextEntry::PAGE_REQUESTS_OFFSET == 4);
const _: () = assert!(ScalableContextEntry::DIRECTORY_SIZE_OFFSET == 9);
const _: () =
    assert!(ScalableContextEntry::FRAME_OFFSET == 12 && ScalableContextEntry::RID_PASID_OFFSET == 64);
const _: () = assert!(ScalableContextEntry::RID_PRIV_OFFSET == 84);

impl ScalableContextEntry {
    /// Requests without PASID use entry 0 of the table that `directory` leads to; others are refused.
    pub(super) fn through(directory: PhysAddr) -> Self {
        Self::new().with_present(true).with_frame(directory.0 >> 12)
    }

    /// The PASID directory of a requester that is not blocked.
    pub(super) fn directory(self) -> Option<PhysAddr> {
        self.present().then_some(PhysAddr(self.frame() << 12))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Golden values packed by hand from §9.3.
    #[test]
    fn packs_as_the_specification_says() {
        let entry = ContextEntry::translated(PhysAddr(0x9_8765_4000), 2, DomainId(0xabcd));
        assert_eq!(entry.into_bits(), 0x0000_0000_00ab_cd02_0000_0009_8765_4001);
        let three = ContextEntry::translated(PhysAddr(0x1000), 1, DomainId(1));
        assert_eq!(three.into_bits(), 0x0000_0000_0000_0101_0000_0000_0000_1001);
        assert_eq!(ContextEntry::new().with_is_muted(true).into_bits(), 2);
    }

    /// Golden values packed by hand from §9.4.
    #[test]
    fn packs_scalable_entries_as_the_specification_says() {
        let entry = ScalableContextEntry::through(PhysAddr(0x9_8765_4000));
        assert_eq!(entry.into_bits(), 0x9_8765_4001);
        assert_eq!(ScalableContextEntry::new().with_is_muted(true).into_bits(), 2);
        let refused = ScalableContextEntry::new().with_device_tlb(true).with_pasids(true);
        assert_eq!(refused.with_page_requests(true).with_directory_size(7).into_bits(), 0xe1c);
        let upper = ScalableContextEntry::new().with_rid_pasid(0xf_ffff).with_rid_priv(true);
        assert_eq!(upper.into_bits() >> 64, 0x1f_ffff);
    }

    #[test]
    fn a_blocked_entry_leads_nowhere() {
        let entry = ContextEntry::translated(PhysAddr(0x1000), 1, DomainId(5));
        assert_eq!(entry.holder(), Some(DomainId(5)));
        assert_eq!(entry.with_present(false).holder(), None);
        let entry = ScalableContextEntry::through(PhysAddr(0x1000));
        assert_eq!(entry.directory(), Some(PhysAddr(0x1000)));
        assert_eq!(entry.with_present(false).directory(), None);
    }
}
