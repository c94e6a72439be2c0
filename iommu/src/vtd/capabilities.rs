//! What a unit, or every unit of a set, can do.
//!
//! **Invariant: a domain built from the intersection of some units' capabilities works on each of them.**

use super::registers::{Cap, Ecap};

/// What matters for the tables shared between units. A machine with several units builds its domains from the
/// [`intersection`](Capabilities::intersection) of all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
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
    pub(crate) fn of(cap: Cap, ecap: Ecap, phys_bits: u8) -> Self {
        Capabilities {
            depths: cap.sagaw() & 0b0_1110,
            large_pages: cap.sslps() & 0b11,
            iova_bits: cap.mgaw() + 1,
            phys_bits: phys_bits.min(52),
            domain_id_bits: (4 + 2 * cap.nd()).min(16),
            is_coherent: ecap.c(),
            has_snoop_control: ecap.sc(),
        }
    }

    /// What both can do.
    #[must_use]
    pub fn intersection(self, other: Self) -> Self {
        Capabilities {
            depths: self.depths & other.depths,
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

    #[test]
    fn intersection_is_the_weaker_of_each() {
        let big = Capabilities::of(Cap::from_bits(0x00d2_008c_222f_0606), Ecap::from_bits(0xf0_0fdb), 46);
        let small = Capabilities::of(Cap::from_bits(0x00d2_0000_2226_0202), Ecap::from_bits(0xf0_0f5a), 39);
        let both = big.intersection(small);
        assert_eq!((both.depths, both.large_pages, both.iova_bits), (0b010, 0, 39));
        assert_eq!((both.phys_bits, both.domain_id_bits), (39, 8));
        assert!(!both.is_coherent && !both.has_snoop_control);
        assert!(big.includes(both) && small.includes(both));
        assert!(!small.includes(big) && big.includes(big));
    }
}
