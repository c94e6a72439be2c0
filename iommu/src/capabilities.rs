//! What a unit, or every unit of a set, can do.
//!
//! **Invariant: a domain built from the intersection of some units' capabilities works on each of them.**

use crate::address::{HYPERTRANSPORT_RANGE, INTERRUPT_RANGE_END, INTERRUPT_RANGE_START};
use core::ops::Range;

/// Which entries a page table has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TableKind {
    /// Second-stage tables of VT-d.
    Vtd,
    /// Host tables ("v1") of AMD-Vi.
    AmdVi,
}

impl TableKind {
    /// Addresses that are no memory, for a device or behind the unit.
    pub(crate) fn special_ranges(self) -> impl Iterator<Item = Range<u64>> {
        let hypertransport = (self == TableKind::AmdVi).then_some(HYPERTRANSPORT_RANGE);
        core::iter::once(INTERRUPT_RANGE_START..INTERRUPT_RANGE_END).chain(hypertransport)
    }
}

/// What matters for the tables shared between units. A machine with several units builds its domains from the
/// [`intersection`](Capabilities::intersection) of all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// Format of page tables.
    pub(crate) kind: TableKind,
    /// Page-table depths, as CAP.SAGAW: bit 1 three levels, bit 2 four, bit 3 five.
    pub(crate) depths: u8,
    /// Leaves beyond 4 KiB, as CAP.SSLPS: bit 0 2 MiB, bit 1 1 GiB.
    pub(crate) large_pages: u8,
    /// Width of addresses a device may use.
    pub(crate) iova_bits: u8,
    /// Width of physical addresses.
    pub(crate) phys_bits: u8,
    /// Domain ids are below 2^this.
    pub(crate) domain_id_bits: u8,
    /// Table reads snoop the CPU's caches (ECAP.C).
    pub(crate) is_coherent: bool,
    /// Leaves may force snooping (ECAP.SC).
    pub(crate) has_snoop_control: bool,
}

impl Capabilities {
    /// What both can do. Units of different makes have no table in common: no domain can be built for both.
    #[must_use]
    pub fn intersection(self, other: Self) -> Self {
        let depths = if self.kind == other.kind { self.depths & other.depths } else { 0 };
        Capabilities {
            kind: self.kind,
            depths,
            large_pages: self.large_pages & other.large_pages,
            iova_bits: self.iova_bits.min(other.iova_bits),
            phys_bits: self.phys_bits.min(other.phys_bits),
            domain_id_bits: self.domain_id_bits.min(other.domain_id_bits),
            is_coherent: self.is_coherent && other.is_coherent,
            has_snoop_control: self.has_snoop_control && other.has_snoop_control,
        }
    }

    /// Whether this unit can walk what was built for `built_for`.
    pub(crate) fn includes(self, built_for: Self) -> bool {
        self.intersection(built_for) == built_for
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BIG: Capabilities = Capabilities {
        kind: TableKind::Vtd,
        depths: 0b110,
        large_pages: 0b11,
        iova_bits: 48,
        phys_bits: 46,
        domain_id_bits: 16,
        is_coherent: true,
        has_snoop_control: true,
    };

    #[test]
    fn intersection_is_the_weaker_of_each() {
        let small = Capabilities {
            depths: 0b010,
            large_pages: 0,
            iova_bits: 39,
            phys_bits: 39,
            domain_id_bits: 8,
            is_coherent: false,
            has_snoop_control: false,
            ..BIG
        };
        assert_eq!(BIG.intersection(small), small);
        assert_eq!(small.intersection(BIG), small);
        assert!(BIG.includes(small) && !small.includes(BIG) && BIG.includes(BIG));
    }

    #[test]
    fn different_makes_have_no_table_in_common() {
        let other = Capabilities { kind: TableKind::AmdVi, ..BIG };
        assert_eq!(BIG.intersection(other).depths, 0);
        assert!(!BIG.includes(other) && !other.includes(BIG));
    }
}
