//! What a unit, or every unit of a set, can do.
//!
//! **Invariant: a domain built from the intersection of some units' capabilities works on each of them.**

use crate::address::{HYPERTRANSPORT_RANGE, INTERRUPT_RANGE_END, INTERRUPT_RANGE_START};
use core::ops::Range;

/// How units find what a requester reaches. All units of a machine are enabled in the same mode, so that a domain may
/// have requesters behind each of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// VT-d scalable mode, first-stage translation: devices walk the CPU's own table of the DMA window
    /// ([`SharedDomain`](crate::domain::SharedDomain)).
    VtdFirstStage,
    /// VT-d scalable mode, second-stage translation: each domain has a table ([`Domain`](crate::domain::Domain)).
    VtdSecondStage,
    /// VT-d legacy mode: the same tables, found through legacy context entries.
    VtdLegacy,
    /// AMD-Vi host tables.
    AmdVi,
}

impl Mode {
    /// Every mode, the best first.
    pub const ALL: [Self; 4] = [Self::VtdFirstStage, Self::VtdSecondStage, Self::VtdLegacy, Self::AmdVi];

    /// Whether VT-d root tables lead through PASID tables in this mode.
    pub(crate) const fn is_scalable(self) -> bool {
        matches!(self, Mode::VtdFirstStage | Mode::VtdSecondStage)
    }

    /// Which entries a domain's own table has; `None` where it has none but the CPU's.
    pub(crate) const fn table_kind(self) -> Option<TableKind> {
        match self {
            Mode::VtdFirstStage => None,
            Mode::VtdSecondStage | Mode::VtdLegacy => Some(TableKind::Vtd),
            Mode::AmdVi => Some(TableKind::AmdVi),
        }
    }
}

/// A set of modes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Modes(u8);

impl Modes {
    pub(crate) const NONE: Self = Modes(0);

    pub(crate) const fn with(self, mode: Mode) -> Self {
        Modes(self.0 | 1 << mode as u8)
    }

    pub(crate) const fn contains(self, mode: Mode) -> bool {
        self.0 >> (mode as u8) & 1 != 0
    }
}

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

/// What the CPU's tables must be like for units to walk them ([`Mode::VtdFirstStage`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sharing {
    /// Units read the tables through the CPU's caches (ECAP.SMPWC). Where they do not, every table write of the CPU
    /// must be written back (`clflush`) before units are told, a table before the entry that leads to it.
    pub is_coherent: bool,
    /// Leaves of 1 GiB are allowed (CAP.FS1GP); of 2 MiB they always are.
    pub allows_huge_pages: bool,
}

/// What matters for the tables shared between units. A machine with several units builds its domains from the
/// [`intersection`](Capabilities::intersection) of all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// Modes offered.
    pub(crate) modes: Modes,
    /// Depths of tables a domain owns, as CAP.SAGAW: bit 1 three levels, bit 2 four, bit 3 five.
    pub(crate) depths: u8,
    /// Their leaves beyond 4 KiB, as CAP.SSLPS: bit 0 2 MiB, bit 1 1 GiB.
    pub(crate) large_pages: u8,
    /// Width of addresses a device may use.
    pub(crate) iova_bits: u8,
    /// Width of physical addresses.
    pub(crate) phys_bits: u8,
    /// Domain ids are below 2^this.
    pub(crate) domain_id_bits: u8,
    /// Table reads snoop the CPU's caches (ECAP.C); in scalable mode all but those of page tables.
    pub(crate) is_coherent: bool,
    /// In scalable mode page-table reads snoop (ECAP.SMPWC).
    pub(crate) is_walk_coherent: bool,
    /// Leaves may force snooping (ECAP.SC).
    pub(crate) has_snoop_control: bool,
    /// First-stage leaves of 1 GiB (CAP.FS1GP).
    pub(crate) has_huge_first_stage: bool,
}

impl Capabilities {
    /// What both can do. Units of different makes have no mode in common: no domain can be built for both.
    #[must_use]
    pub fn intersection(self, other: Self) -> Self {
        Capabilities {
            modes: Modes(self.modes.0 & other.modes.0),
            depths: self.depths & other.depths,
            large_pages: self.large_pages & other.large_pages,
            iova_bits: self.iova_bits.min(other.iova_bits),
            phys_bits: self.phys_bits.min(other.phys_bits),
            domain_id_bits: self.domain_id_bits.min(other.domain_id_bits),
            is_coherent: self.is_coherent && other.is_coherent,
            is_walk_coherent: self.is_walk_coherent && other.is_walk_coherent,
            has_snoop_control: self.has_snoop_control && other.has_snoop_control,
            has_huge_first_stage: self.has_huge_first_stage && other.has_huge_first_stage,
        }
    }

    /// Whether `mode` is offered.
    #[must_use]
    pub fn offers(self, mode: Mode) -> bool {
        self.modes.contains(mode)
    }

    /// The modes offered, the best first.
    pub fn modes(self) -> impl Iterator<Item = Mode> {
        Mode::ALL.into_iter().filter(move |&mode| self.offers(mode))
    }

    /// The best mode offered.
    #[must_use]
    pub fn best(self) -> Option<Mode> {
        self.modes().next()
    }

    /// What tables shared with the CPU must be like; `None` where that mode is not offered.
    #[must_use]
    pub fn sharing(self) -> Option<Sharing> {
        let sharing =
            Sharing { is_coherent: self.is_walk_coherent, allows_huge_pages: self.has_huge_first_stage };
        self.offers(Mode::VtdFirstStage).then_some(sharing)
    }

    /// Whether units read page tables through the CPU's caches in `mode`.
    pub(crate) fn walks_coherently(self, mode: Mode) -> bool {
        if mode.is_scalable() { self.is_walk_coherent } else { self.is_coherent }
    }

    /// Whether this unit can walk what was built for `built_for`.
    pub(crate) fn includes(self, built_for: Self) -> bool {
        self.intersection(built_for) == built_for
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VTD: Modes = Modes::NONE.with(Mode::VtdLegacy).with(Mode::VtdSecondStage).with(Mode::VtdFirstStage);
    const BIG: Capabilities = Capabilities {
        modes: VTD,
        depths: 0b110,
        large_pages: 0b11,
        iova_bits: 48,
        phys_bits: 46,
        domain_id_bits: 16,
        is_coherent: true,
        is_walk_coherent: true,
        has_snoop_control: true,
        has_huge_first_stage: true,
    };

    #[test]
    fn intersection_is_the_weaker_of_each() {
        let small = Capabilities {
            modes: Modes::NONE.with(Mode::VtdLegacy),
            depths: 0b010,
            large_pages: 0,
            iova_bits: 39,
            phys_bits: 39,
            domain_id_bits: 8,
            is_coherent: false,
            is_walk_coherent: false,
            has_snoop_control: false,
            has_huge_first_stage: false,
        };
        assert_eq!(BIG.intersection(small), small);
        assert_eq!(small.intersection(BIG), small);
        assert!(BIG.includes(small) && !small.includes(BIG) && BIG.includes(BIG));
        assert_eq!(small.sharing(), None);
    }

    #[test]
    fn modes_are_listed_best_first() {
        assert!(BIG.modes().eq([Mode::VtdFirstStage, Mode::VtdSecondStage, Mode::VtdLegacy]));
        let second = Modes::NONE.with(Mode::VtdLegacy).with(Mode::VtdSecondStage);
        let both = BIG.intersection(Capabilities { modes: second, ..BIG });
        assert!(both.modes().eq([Mode::VtdSecondStage, Mode::VtdLegacy]));
        assert_eq!((BIG.best(), both.best()), (Some(Mode::VtdFirstStage), Some(Mode::VtdSecondStage)));
    }

    #[test]
    fn each_mode_has_its_own_coherency() {
        let mixed = Capabilities { is_walk_coherent: false, ..BIG };
        let walks = |mode| mixed.walks_coherently(mode);
        assert!(walks(Mode::VtdLegacy) && !walks(Mode::VtdSecondStage) && !walks(Mode::VtdFirstStage));
        assert_eq!(mixed.sharing(), Some(Sharing { is_coherent: false, allows_huge_pages: true }));
    }

    #[test]
    fn different_makes_have_no_mode_in_common() {
        let other = Capabilities { modes: Modes::NONE.with(Mode::AmdVi), ..BIG };
        assert_eq!(BIG.intersection(other).best(), None);
        assert!(!BIG.includes(other) && !other.includes(BIG));
    }
}
