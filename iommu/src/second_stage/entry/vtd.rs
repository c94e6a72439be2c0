//! One entry of a VT-d second-stage table (VT-d 5.10 §9.8 "Second-Stage Paging Entries").
//!
//! **Invariant: bits a unit may treat as reserved are zero**: SNP only with snoop control, TM and the memory-type
//! bits never.

use super::Entry;
use crate::address::PhysAddr;
use crate::domain::Permissions;
use bitfield_struct::bitfield;

/// The bits, as a unit reads them.
#[bitfield(u64)]
pub(super) struct EntryBits {
    /// Devices may read.
    pub readable: bool,
    /// Devices may write.
    pub writable: bool,
    /// Execute, memory type: for modes Weir does not use.
    #[bits(5)]
    __: u8,
    /// The entry is a leaf although its level is above 1.
    pub large: bool,
    /// Accessed, dirty, ignored.
    #[bits(3)]
    __: u8,
    /// SNP: accesses through this leaf snoop the caches whatever the device says.
    pub snoop: bool,
    /// Frame number of the page or of the next table.
    #[bits(40)]
    pub frame: u64,
    /// Ignored, TM, ignored.
    #[bits(12)]
    __: u16,
}
const _: () = assert!(EntryBits::LARGE_OFFSET == 7 && EntryBits::SNOOP_OFFSET == 11);
const _: () = assert!(EntryBits::FRAME_OFFSET == 12);

impl EntryBits {
    pub(super) fn to_page(phys: u64, level: u8, permissions: Permissions, snoop: bool) -> Self {
        EntryBits::new()
            .with_readable(permissions.allows_read())
            .with_writable(permissions.allows_write())
            .with_large(level > 1)
            .with_snoop(snoop)
            .with_frame(phys >> 12)
    }

    /// Links a table; the leaves below decide about permissions.
    pub(super) fn to_table(table: PhysAddr) -> Self {
        EntryBits::new().with_readable(true).with_writable(true).with_frame(table.0 >> 12)
    }
}

/// What `bits` say in a table at `level`; we wrote them.
pub(super) fn read(bits: u64, level: u8) -> Entry {
    let bits = EntryBits::from_bits(bits);
    if !bits.readable() && !bits.writable() {
        Entry::Empty
    } else if level == 1 || bits.large() {
        Entry::Page
    } else {
        Entry::Table(PhysAddr(bits.frame() << 12))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Golden values packed by hand from §9.8.
    #[test]
    fn packs_as_the_specification_says() {
        let page =
            |phys, level, permissions, snoop| EntryBits::to_page(phys, level, permissions, snoop).into_bits();
        assert_eq!(page(0x1234_5000, 1, Permissions::ReadWrite, false), 0x0000_0000_1234_5003);
        assert_eq!(page(0x1234_5000, 1, Permissions::ReadOnly, false), 0x0000_0000_1234_5001);
        assert_eq!(page(0x1234_5000, 1, Permissions::WriteOnly, false), 0x0000_0000_1234_5002);
        assert_eq!(page(0x0040_0000, 2, Permissions::ReadWrite, false), 0x0000_0000_0040_0083);
        assert_eq!(page(0x7f_c000_0000, 3, Permissions::ReadWrite, true), 0x0000_007f_c000_0883);
        assert_eq!(page(0xf_ffff_ffff_f000, 1, Permissions::ReadOnly, false), 0x000f_ffff_ffff_f001);
        assert_eq!(EntryBits::to_table(PhysAddr(0x9_8765_4000)).into_bits(), 0x0000_0009_8765_4003);
    }

    #[test]
    fn reads_by_level() {
        assert_eq!(read(0x0000_0000_1234_5000, 2), Entry::Empty, "a chain link is not present");
        assert_eq!(read(0x1234_5003, 2), Entry::Table(PhysAddr(0x1234_5000)));
        assert_eq!(read(0x1234_5002, 1), Entry::Page);
        assert_eq!(read(0x0040_0081, 2), Entry::Page);
    }
}
