//! One entry of an AMD-Vi host page table (48882 §2.2.3 "I/O Page Tables for Host Translations", Tables 14 and 15).
//!
//! **Invariant: a link names the level directly below**: no levels are skipped, and no leaf uses the variable page
//! sizes of NextLevel = 7.

use super::Entry;
use crate::address::PhysAddr;
use crate::domain::Permissions;
use bitfield_struct::bitfield;

/// The bits, as a unit reads them.
#[bitfield(u64)]
pub(super) struct EntryBits {
    /// PR.
    pub is_present: bool,
    /// Ignored; accessed, dirty; ignored.
    __: u8,
    /// Level of the table this leads to; 0 for a page of the natural size of its level.
    #[bits(3)]
    pub next_level: u8,
    /// Frame number of the page or of the next table.
    #[bits(40)]
    pub frame: u64,
    /// Reserved.
    #[bits(7)]
    __: u8,
    /// U: for guests.
    __: bool,
    /// FC: accesses through this leaf snoop the caches whatever the device says.
    pub forces_coherence: bool,
    /// IR: devices may read.
    pub readable: bool,
    /// IW: devices may write.
    pub writable: bool,
    __: bool,
}
const _: () = assert!(EntryBits::NEXT_LEVEL_OFFSET == 9 && EntryBits::FRAME_OFFSET == 12);
const _: () = assert!(EntryBits::FORCES_COHERENCE_OFFSET == 60);
const _: () = assert!(EntryBits::READABLE_OFFSET == 61 && EntryBits::WRITABLE_OFFSET == 62);

impl EntryBits {
    /// A leaf looks the same at every level.
    pub(super) fn to_page(phys: u64, permissions: Permissions) -> Self {
        EntryBits::new()
            .with_is_present(true)
            .with_frame(phys >> 12)
            .with_forces_coherence(true)
            .with_readable(permissions.allows_read())
            .with_writable(permissions.allows_write())
    }

    /// Links a table of `next_level`.
    pub(super) fn to_table(table: PhysAddr, next_level: u8) -> Self {
        let entry = EntryBits::new().with_is_present(true).with_next_level(next_level);
        entry.with_frame(table.0 >> 12).with_readable(true).with_writable(true)
    }
}

/// What `bits` say in a table at `level`; we wrote them.
pub(super) fn read(bits: u64, level: u8) -> Entry {
    let bits = EntryBits::from_bits(bits);
    if !bits.is_present() {
        Entry::Empty
    } else if level == 1 || bits.next_level() == 0 {
        Entry::Page
    } else {
        Entry::Table(PhysAddr(bits.frame() << 12))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Golden values packed by hand from Tables 14 and 15.
    #[test]
    fn packs_as_the_specification_says() {
        let page = |phys, permissions| EntryBits::to_page(phys, permissions).into_bits();
        assert_eq!(page(0x1234_5000, Permissions::ReadWrite), 0x7000_0000_1234_5001);
        assert_eq!(page(0x1234_5000, Permissions::ReadOnly), 0x3000_0000_1234_5001);
        assert_eq!(page(0x1234_5000, Permissions::WriteOnly), 0x5000_0000_1234_5001);
        assert_eq!(page(0x7f_c000_0000, Permissions::ReadWrite), 0x7000_007f_c000_0001);
        assert_eq!(page(0xf_ffff_ffff_f000, Permissions::ReadOnly), 0x300f_ffff_ffff_f001);
        let link = |level| EntryBits::to_table(PhysAddr(0x9_8765_4000), level).into_bits();
        assert_eq!(
            [1, 2, 3].map(link),
            [0x6000_0009_8765_4201, 0x6000_0009_8765_4401, 0x6000_0009_8765_4601]
        );
    }

    #[test]
    fn reads_by_level() {
        assert_eq!(read(0x1234_5000, 2), Entry::Empty, "a chain link is not present");
        assert_eq!(read(0x6000_0000_1234_5201, 2), Entry::Table(PhysAddr(0x1234_5000)));
        assert_eq!(read(0x7000_0000_0040_0001, 2), Entry::Page);
        assert_eq!(read(0x7000_0000_1234_5001, 1), Entry::Page);
    }
}
