//! One paging entry, in the format of the units that walk it.
//!
//! **Invariant: bits a unit may treat as reserved are zero.** Both formats read a frame-aligned address with nothing
//! else in it, as the chain of dead frames leaves it, as not present.

mod amdvi;
mod vtd;

use crate::address::PhysAddr;
use crate::capabilities::TableKind;
use crate::domain::Permissions;

/// What an entry says at its level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    Empty,
    Table(PhysAddr),
    Page,
}

impl Entry {
    pub(super) fn from_memory(kind: TableKind, bits: u64, level: u8) -> Self {
        match kind {
            TableKind::Vtd => vtd::read(bits, level),
            TableKind::AmdVi => amdvi::read(bits, level),
        }
    }

    pub(super) fn table(self) -> Option<PhysAddr> {
        if let Entry::Table(at) = self { Some(at) } else { None }
    }
}

/// A leaf at `level` for the page at `phys`; `snoop` where leaves may say so.
pub(super) fn page(kind: TableKind, phys: u64, level: u8, permissions: Permissions, snoop: bool) -> u64 {
    match kind {
        TableKind::Vtd => vtd::EntryBits::to_page(phys, level, permissions, snoop).into_bits(),
        TableKind::AmdVi => amdvi::EntryBits::to_page(phys, permissions).into_bits(),
    }
}

/// The link from a table at `level` to `table`, one level below; the leaves there decide about permissions.
pub(super) fn link(kind: TableKind, table: PhysAddr, level: u8) -> u64 {
    match kind {
        TableKind::Vtd => vtd::EntryBits::to_table(table).into_bits(),
        TableKind::AmdVi => amdvi::EntryBits::to_table(table, level - 1).into_bits(),
    }
}

/// Where a leaf leads, and what devices may do there.
pub(super) fn leaf(kind: TableKind, bits: u64) -> (PhysAddr, Option<Permissions>) {
    let (frame, readable, writable) = match kind {
        TableKind::Vtd => {
            let bits = vtd::EntryBits::from_bits(bits);
            (bits.frame(), bits.readable(), bits.writable())
        }
        TableKind::AmdVi => {
            let bits = amdvi::EntryBits::from_bits(bits);
            (bits.frame(), bits.readable(), bits.writable())
        }
    };
    (PhysAddr(frame << 12), Permissions::from_bits(readable, writable))
}
