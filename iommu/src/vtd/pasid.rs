//! PASID tables: what a requester reaches in scalable mode (VT-d 5.10 §9.5 "Scalable-Mode PASID Directory Entry", §9.6
//! "Scalable-Mode PASID Table Entry").
//!
//! **Invariant: the one entry there ever is, that of RID_PASID 0, leads to a first- or second-stage table of the domain;
//! requests with a PASID find nothing**, and the context entry refuses them first (PASIDE = 0). Pass-through and nested
//! translation are never written. An entry is complete before a context entry leads to it.

use crate::address::{DomainId, PhysAddr};
use crate::capabilities::Mode;
use crate::domain::Walk;
use crate::environment::TableMemory;
use crate::error::Result;
use crate::tables::Tables;
use bitfield_struct::bitfield;

/// Directory entry: one table of 64 PASIDs (§9.5).
#[bitfield(u64)]
struct DirectoryEntry {
    present: bool,
    /// FPD.
    is_muted: bool,
    #[bits(10)]
    __: u16,
    /// Frame number of the table.
    #[bits(52)]
    frame: u64,
}
const _: () = assert!(DirectoryEntry::FRAME_OFFSET == 12);

/// PASID entry, bits 127:0 (§9.6).
#[bitfield(u128)]
pub(super) struct PasidEntryLow {
    pub present: bool,
    /// FPD: do not record faults of this requester.
    pub is_muted: bool,
    /// AW: 1 = 3 levels, 2 = 4, 3 = 5.
    #[bits(3)]
    pub address_width: u8,
    __: bool,
    /// PGTT.
    #[bits(3)]
    pub translation_type: u8,
    /// SSADE: never set, so that a unit never writes the table.
    pub tracks_access: bool,
    #[bits(2)]
    __: u8,
    /// Frame number of the second-stage root.
    #[bits(52)]
    pub second_stage: u64,
    pub domain: u16,
    #[bits(7)]
    __: u8,
    /// PWSNP: page walks snoop the CPU's caches.
    pub walks_snoop: bool,
    /// PGSNP: accesses to pages snoop the caches, whatever the device says.
    pub pages_snoop: bool,
    #[bits(39)]
    __: u64,
}
const _: () =
    assert!(PasidEntryLow::ADDRESS_WIDTH_OFFSET == 2 && PasidEntryLow::TRANSLATION_TYPE_OFFSET == 6);
const _: () = assert!(PasidEntryLow::SECOND_STAGE_OFFSET == 12 && PasidEntryLow::DOMAIN_OFFSET == 64);
const _: () = assert!(PasidEntryLow::WALKS_SNOOP_OFFSET == 87 && PasidEntryLow::PAGES_SNOOP_OFFSET == 88);

/// PASID entry, bits 255:128 (§9.6); the other half of the 512 is reserved or for protection keys and stays zero.
#[bitfield(u128)]
struct PasidEntryHigh {
    /// SRE: never set, every request is a user's.
    supervisor: bool,
    __: bool,
    /// FSPM: 0 = 4 levels.
    #[bits(2)]
    paging_mode: u8,
    /// WPE, for supervisor requests; EAFE, for a bit that the CPU's entries do not have; reserved.
    __: u8,
    /// Frame number of the first-stage root.
    #[bits(52)]
    first_stage: u64,
    __: u64,
}
const _: () = assert!(PasidEntryHigh::PAGING_MODE_OFFSET == 130 - 128);
const _: () = assert!(PasidEntryHigh::FIRST_STAGE_OFFSET == 140 - 128);

/// PGTT of first-stage translation.
const FIRST_STAGE: u8 = 1;
/// PGTT of second-stage translation.
const SECOND_STAGE: u8 = 2;

/// Which snooping a unit can be asked for: ECAP.SMPWC and ECAP.SC, reserved bits where it cannot.
#[derive(Clone, Copy, Debug)]
pub(super) struct Snooping {
    pub(super) walks: bool,
    pub(super) pages: bool,
}

fn entry(walk: Walk, domain: DomainId, snooping: Snooping) -> [u128; 2] {
    let low = PasidEntryLow::new()
        .with_present(true)
        .with_address_width(walk.levels - 2)
        .with_domain(domain.0)
        .with_walks_snoop(snooping.walks);
    let frame = walk.root.0 >> 12;
    let (low, high) = match walk.mode {
        // AW counts levels of second-stage tables, but QEMU (11.1) checks first-stage addresses against it, too.
        // The CPU's leaves cannot say SNP.
        Mode::VtdFirstStage => (
            low.with_translation_type(FIRST_STAGE).with_pages_snoop(snooping.pages),
            PasidEntryHigh::new().with_first_stage(frame),
        ),
        _ => (low.with_translation_type(SECOND_STAGE).with_second_stage(frame), PasidEntryHigh::new()),
    };
    [low.into_bits(), high.into_bits()]
}

/// The PASID tables of one requester: a directory with one entry, which leads to a table with one entry.
#[derive(Clone, Copy)]
pub(super) struct PasidTables {
    directory: PhysAddr,
}

impl PasidTables {
    /// Tables that put requests without PASID into a domain.
    ///
    /// # Errors
    /// `OutOfFrames`.
    pub(super) fn new<M: TableMemory>(
        tables: &Tables<M>,
        walk: Walk,
        domain: DomainId,
        snooping: Snooping,
    ) -> Result<Self> {
        let directory = tables.alloc(1)?;
        let table = tables.alloc(1).inspect_err(|_| tables.free(directory, 1))?;
        let [low, high] = entry(walk, domain, snooping);
        tables.write128(table.offset(16), high);
        tables.write128(table, low);
        let link = DirectoryEntry::new().with_present(true).with_frame(table.0 >> 12);
        tables.write64(directory, link.into_bits());
        tables.flush(directory, 8);
        Ok(PasidTables { directory })
    }

    /// The tables that a context entry leads to.
    pub(super) fn at(directory: PhysAddr) -> Self {
        PasidTables { directory }
    }

    pub(super) fn directory(self) -> PhysAddr {
        self.directory
    }

    /// The domain of requests without PASID.
    pub(super) fn domain<M: TableMemory>(self, tables: &Tables<M>) -> DomainId {
        DomainId(self.low(tables).domain())
    }

    /// Sets or clears FPD in directory and entry.
    pub(super) fn mute<M: TableMemory>(self, tables: &Tables<M>, is_muted: bool) {
        tables.write128(self.table(tables), self.low(tables).with_is_muted(is_muted).into_bits());
        tables.write64(self.directory, self.link(tables).with_is_muted(is_muted).into_bits());
        tables.flush(self.directory, 8);
    }

    /// Gives the frames back. No unit may have a way to them any more.
    pub(super) fn free<M: TableMemory>(self, tables: &Tables<M>) {
        tables.free(self.table(tables), 1);
        tables.free(self.directory, 1);
    }

    fn link<M: TableMemory>(self, tables: &Tables<M>) -> DirectoryEntry {
        DirectoryEntry::from_bits(tables.read64(self.directory))
    }

    fn table<M: TableMemory>(self, tables: &Tables<M>) -> PhysAddr {
        PhysAddr(self.link(tables).frame() << 12)
    }

    fn low<M: TableMemory>(self, tables: &Tables<M>) -> PasidEntryLow {
        PasidEntryLow::from_bits(tables.read128(self.table(tables)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capabilities::{Capabilities, Modes};

    const NONE: Snooping = Snooping { walks: false, pages: false };
    const ALL: Snooping = Snooping { walks: true, pages: true };

    fn walk(mode: Mode, levels: u8) -> Walk {
        let capabilities = Capabilities {
            modes: Modes::NONE.with(mode),
            depths: 0b1110,
            large_pages: 0,
            iova_bits: 57,
            phys_bits: 46,
            domain_id_bits: 16,
            is_coherent: false,
            is_walk_coherent: false,
            has_snoop_control: false,
            has_huge_first_stage: false,
        };
        Walk { mode, root: PhysAddr(0x9_8765_4000), levels, capabilities }
    }

    /// Golden values packed by hand from §9.5 and §9.6.
    #[test]
    fn packs_as_the_specification_says() {
        let link = DirectoryEntry::new().with_present(true).with_frame(0x12_3456_7000 >> 12);
        assert_eq!(link.into_bits(), 0x12_3456_7001);
        let domain = DomainId(0xabcd);
        let first = |snooping| entry(walk(Mode::VtdFirstStage, 4), domain, snooping);
        assert_eq!(first(NONE), [0x0000_0000_0000_abcd_0000_0000_0000_0049, 0x9_8765_4000]);
        assert_eq!(first(ALL), [0x0000_0000_0180_abcd_0000_0000_0000_0049, 0x9_8765_4000]);
        let second = |levels, snooping| entry(walk(Mode::VtdSecondStage, levels), domain, snooping);
        assert_eq!(second(3, NONE), [0x0000_0000_0000_abcd_0000_0009_8765_4085, 0]);
        assert_eq!(second(4, NONE), [0x0000_0000_0000_abcd_0000_0009_8765_4089, 0]);
        assert_eq!(second(5, ALL), [0x0000_0000_0080_abcd_0000_0009_8765_408d, 0]);
        assert_eq!(PasidEntryLow::new().with_is_muted(true).into_bits(), 2);
        assert_eq!(PasidEntryLow::new().with_tracks_access(true).into_bits(), 1 << 9);
        assert_eq!(PasidEntryHigh::new().with_supervisor(true).with_paging_mode(1).into_bits(), 0b101);
    }
}
