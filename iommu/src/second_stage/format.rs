//! The shape of a second-stage table: depth, page sizes, address widths.
//!
//! **Invariant: the shape is one every unit of the capabilities it was chosen for can walk.**

use super::{Span, entry, entry_bytes};
use crate::address::{FRAME_BYTES, Iova, PhysAddr};
use crate::capabilities::{Capabilities, Mode, TableKind};
use crate::domain::Permissions;
use crate::error::{Error, Result};

/// Shape of one table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Format {
    mode: Mode,
    kind: TableKind,
    levels: u8,
    iova_bits: u8,
    capabilities: Capabilities,
}

impl Format {
    /// Chooses the shallowest table that reaches `iova_bits`: each level less is one memory access less per walk.
    ///
    /// # Errors
    /// `Unsupported`: no depth reaches that far, or `mode` is not offered or not one with tables of the domain's own.
    pub(crate) fn choose(capabilities: Capabilities, mode: Mode, iova_bits: u8) -> Result<Self> {
        let kind = mode.table_kind().ok_or(Error::Unsupported)?;
        if !capabilities.offers(mode) || iova_bits > capabilities.iova_bits {
            return Err(Error::Unsupported);
        }
        let reaches = |levels: &u8| width(*levels) >= iova_bits && has_depth(capabilities, *levels);
        let levels = (3..=5).find(reaches).ok_or(Error::Unsupported)?;
        let iova_bits = width(levels).min(capabilities.iova_bits);
        Ok(Format { mode, kind, levels, iova_bits, capabilities })
    }

    /// Whether every unit reads the table through the CPU's caches.
    pub(crate) fn is_coherent(self) -> bool {
        self.capabilities.walks_coherently(self.mode)
    }

    pub(crate) fn levels(self) -> u8 {
        self.levels
    }

    /// Which entries the table has.
    pub(super) fn kind(self) -> TableKind {
        self.kind
    }

    /// The leaf of a page at `level`; it says SNP where all units have that.
    pub(crate) fn page(self, phys: PhysAddr, level: u8, permissions: Permissions) -> u64 {
        entry::page(self.kind, phys.0, level, permissions, self.capabilities.has_snoop_control)
    }

    /// The link from a table at `level` to the one below.
    pub(crate) fn link(self, table: PhysAddr, level: u8) -> u64 {
        entry::link(self.kind, table, level)
    }

    /// Whether `span`, a piece cut at `level`, becomes one leaf there.
    pub(super) fn fits_leaf(self, level: u8, span: Span) -> bool {
        let is_allowed = match level {
            1 => true,
            2 => self.capabilities.large_pages & 1 != 0,
            3 => self.capabilities.large_pages & 2 != 0,
            _ => false,
        };
        is_allowed && span.fills_entry(level) && span.phys.is_multiple_of(entry_bytes(level))
    }

    /// Checks the device's side of a range.
    pub(crate) fn check_iova(self, iova: Iova, bytes: u64) -> Result<()> {
        let is_aligned = iova.0.is_multiple_of(FRAME_BYTES) && bytes.is_multiple_of(FRAME_BYTES);
        if bytes == 0 || !is_aligned || !fits(iova.0, bytes, self.iova_bits) {
            return Err(Error::BadRange { iova, bytes });
        }
        Ok(())
    }

    /// Checks both sides of a new mapping.
    ///
    /// Addresses that mean interrupts are refused on either: as an input they never reach the table, as an output
    /// the unit faults, and a large page that merely overlaps them faults as a whole (VT-d 5.10 §3.15).
    pub(crate) fn check_mapping(self, iova: Iova, phys: PhysAddr, bytes: u64) -> Result<()> {
        self.check_iova(iova, bytes)?;
        if !phys.0.is_multiple_of(FRAME_BYTES) || !fits(phys.0, bytes, self.capabilities.phys_bits) {
            return Err(Error::BadPhysical { phys });
        }
        for special in self.kind.special_ranges() {
            let hits = |start: u64| start < special.end && start + bytes > special.start;
            if hits(iova.0) || hits(phys.0) {
                return Err(Error::InterruptRange { iova });
            }
        }
        Ok(())
    }
}

/// Address bits a table of `levels` translates.
const fn width(levels: u8) -> u8 {
    12 + 9 * levels
}

/// CAP.SAGAW (VT-d 5.10 §11.4.2): bit 1 three levels, bit 2 four, bit 3 five.
const fn has_depth(capabilities: Capabilities, levels: u8) -> bool {
    capabilities.depths >> (levels - 2) & 1 != 0
}

/// Whether `bytes` from `start` end at or below 2^`bits`.
fn fits(start: u64, bytes: u64, bits: u8) -> bool {
    start.checked_add(bytes).is_some_and(|end| end <= 1 << bits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capabilities::Modes;

    const MODE: Mode = Mode::VtdLegacy;

    fn capabilities(depths: u8, iova_bits: u8) -> Capabilities {
        Capabilities {
            modes: Mode::ALL.into_iter().fold(Modes::NONE, Modes::with),
            depths,
            large_pages: 0b11,
            iova_bits,
            phys_bits: 39,
            domain_id_bits: 16,
            is_coherent: true,
            is_walk_coherent: false,
            has_snoop_control: false,
            has_huge_first_stage: false,
        }
    }

    #[test]
    fn chooses_the_shallowest_that_reaches() {
        let levels = |depths, mgaw, wanted| {
            Format::choose(capabilities(depths, mgaw), MODE, wanted).map(|f| f.levels())
        };
        assert_eq!(levels(0b0110, 48, 39), Ok(3));
        assert_eq!(levels(0b0110, 48, 40), Ok(4));
        assert_eq!(levels(0b0100, 48, 39), Ok(4));
        assert_eq!(levels(0b1000, 57, 39), Ok(5));
        assert_eq!(levels(0b0010, 48, 40), Err(Error::Unsupported));
        assert_eq!(levels(0b0110, 39, 40), Err(Error::Unsupported));
        assert_eq!(levels(0, 48, 39), Err(Error::Unsupported));
        assert_eq!([39, 48, 57].map(|wanted| levels(0b1110, 57, wanted)), [Ok(3), Ok(4), Ok(5)]);
    }

    #[test]
    fn the_mode_must_be_offered_and_have_tables_of_its_own() {
        let legacy = Capabilities { modes: Modes::NONE.with(MODE), ..capabilities(0b0110, 48) };
        assert!(Format::choose(legacy, MODE, 39).is_ok_and(Format::is_coherent));
        assert_eq!(Format::choose(legacy, Mode::VtdSecondStage, 39), Err(Error::Unsupported));
        let all = capabilities(0b0110, 48);
        assert!(Format::choose(all, Mode::VtdSecondStage, 39).is_ok_and(|format| !format.is_coherent()));
        assert_eq!(Format::choose(all, Mode::VtdFirstStage, 39), Err(Error::Unsupported));
    }

    #[test]
    fn a_range_ends_at_the_narrower_of_table_and_unit() {
        let format = Format::choose(capabilities(0b0100, 39), MODE, 39).unwrap();
        assert_eq!(format.check_iova(Iova((1 << 39) - 4096), 4096), Ok(()));
        assert!(format.check_iova(Iova((1 << 39) - 4096), 8192).is_err());
        assert!(format.check_iova(Iova(u64::MAX - 4095), 4096).is_err());
        assert!(format.check_iova(Iova(0), 0).is_err());
        assert!(format.check_iova(Iova(1), 4096).is_err());
        assert!(format.check_iova(Iova(0), 4095).is_err());
    }

    #[test]
    fn hypertransport_addresses_are_refused_for_amd_units_only() {
        let vtd = Capabilities { phys_bits: 48, ..capabilities(0b0110, 48) };
        let check = |mode, iova, phys| {
            let format = Format::choose(vtd, mode, 48).unwrap();
            format.check_mapping(Iova(iova), PhysAddr(phys), 0x2000)
        };
        for inside in [0xfc_ffff_f000, 0xfd_0000_0000, 0xff_ffff_f000] {
            let refused = |iova| Err(Error::InterruptRange { iova: Iova(iova) });
            assert_eq!(check(Mode::AmdVi, inside, 0), refused(inside));
            assert_eq!(check(Mode::AmdVi, 0, inside), refused(0));
            assert_eq!(check(MODE, inside, inside), Ok(()));
        }
        assert_eq!(check(Mode::AmdVi, 0xfc_ffff_e000, 0x100_0000_0000), Ok(()));
        assert!(check(Mode::AmdVi, 0xfee0_0000, 0).is_err());
    }

    #[test]
    fn interrupt_range_is_refused_on_both_sides() {
        let format = Format::choose(capabilities(0b0010, 39), MODE, 39).unwrap();
        let check = |iova, phys, bytes| format.check_mapping(Iova(iova), PhysAddr(phys), bytes);
        let refused = |iova| Err(Error::InterruptRange { iova: Iova(iova) });
        assert_eq!(check(0xfee0_0000, 0, 4096), refused(0xfee0_0000));
        assert_eq!(check(0xfed0_0000, 0, 0x20_0000), refused(0xfed0_0000));
        assert_eq!(check(0, 0xc000_0000, 1 << 30), refused(0));
        assert_eq!(check(0, 0xfeef_f000, 4096), refused(0));
        assert_eq!(check(0, 0xfef0_0000, 4096), Ok(()));
        assert_eq!(check(0xfedf_f000, 0xfedf_f000, 4096), Ok(()));
        assert_eq!(check(0, 1 << 39, 4096), Err(Error::BadPhysical { phys: PhysAddr(1 << 39) }));
        assert_eq!(check(0, 0x800, 4096), Err(Error::BadPhysical { phys: PhysAddr(0x800) }));
    }
}
