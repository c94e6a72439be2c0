//! First-stage entries that this crate writes itself (VT-d 5.10 §9.7 "First-Stage Paging Entries").
//!
//! **Invariant: user requests are permitted, and A and D are set beforehand, so that a unit never writes a table**:
//! requests without PASID are user requests, and every level must allow them.

use crate::address::PhysAddr;
use bitfield_struct::bitfield;

/// Levels of the CPU's tables, the root included.
pub(super) const LEVELS: u8 = 4;

/// An entry.
#[bitfield(u64)]
pub(super) struct Entry {
    present: bool,
    writable: bool,
    /// U/S.
    user: bool,
    #[bits(2)]
    __: u8,
    accessed: bool,
    /// Of leaves alone.
    dirty: bool,
    #[bits(5)]
    __: u8,
    #[bits(40)]
    frame: u64,
    #[bits(12)]
    __: u16,
}
const _: () = assert!(Entry::USER_OFFSET == 2 && Entry::ACCESSED_OFFSET == 5 && Entry::DIRTY_OFFSET == 6);
const _: () = assert!(Entry::FRAME_OFFSET == 12);

impl Entry {
    /// The link to a table.
    pub(super) fn to_table(table: PhysAddr) -> Self {
        let link = Entry::new().with_present(true).with_writable(true).with_user(true);
        link.with_accessed(true).with_frame(table.0 >> 12)
    }

    /// The leaf of a page of 4 KiB, for reading and writing.
    pub(super) fn to_page(page: PhysAddr) -> Self {
        Entry::to_table(page).with_dirty(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Golden values packed by hand from §9.7: P, R/W, U/S, A; D in leaves.
    #[test]
    fn packs_as_the_specification_says() {
        assert_eq!(Entry::to_table(PhysAddr(0x9_8765_4000)).into_bits(), 0x0000_0009_8765_4027);
        assert_eq!(Entry::to_table(PhysAddr(0xf_ffff_ffff_f000)).into_bits(), 0x000f_ffff_ffff_f027);
        assert_eq!(Entry::to_page(PhysAddr(0x9_8765_4000)).into_bits(), 0x0000_0009_8765_4067);
    }
}
