//! Where a function's MSI-X table is (PCI 3.0 §6.8.2 "MSI-X Capability and Table Structures").

use std::ops::Range;

use rustix::io::Errno;

/// Offsets in configuration space: status, where the list of capabilities begins.
const STATUS: u16 = 0x06;
const CAPABILITIES: u16 = 0x34;
/// The status bit that says that there is a list.
const HAS_CAPABILITIES: u32 = 1 << 4;
/// The capability, and its fields.
const MSIX: u32 = 0x11;
const CONTROL: u16 = 2;
const TABLE: u16 = 4;
/// A list longer than this goes in circles: that many capabilities fit.
const CAPABILITIES_MAX: usize = 48;
const ENTRY_BYTES: u64 = 16;

/// The table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Table {
    bar: u8,
    bytes: Range<u64>,
}

impl Table {
    /// Whether some of it is in that part of a BAR.
    pub(crate) fn is_in(&self, bar: u8, part: &Range<u64>) -> bool {
        bar == self.bar && part.start < self.bytes.end && self.bytes.start < part.end
    }
}

/// The table, or `None` where the function has none. `read` reads configuration space: offset, bytes.
pub(crate) fn find(read: impl Fn(u16, u8) -> Result<u32, Errno>) -> Result<Option<Table>, Errno> {
    if read(STATUS, 2)? & HAS_CAPABILITIES == 0 {
        return Ok(None);
    }
    let mut pointer = read(CAPABILITIES, 1)?;
    for _ in 0..CAPABILITIES_MAX {
        // The low two bits are reserved.
        let [at, ..] = (pointer & !3).to_le_bytes();
        let at = u16::from(at);
        if at == 0 {
            return Ok(None);
        }
        if read(at, 1)? == MSIX {
            return table(read, at).map(Some);
        }
        pointer = read(at + 1, 1)?;
    }
    Err(Errno::IO)
}

fn table(read: impl Fn(u16, u8) -> Result<u32, Errno>, at: u16) -> Result<Table, Errno> {
    let entries = u64::from(read(at + CONTROL, 2)? & 0x7ff) + 1;
    let place = read(at + TABLE, 4)?;
    let [bar, ..] = (place & 7).to_le_bytes();
    let start = u64::from(place & !7);
    Ok(Table { bar, bytes: start..start + entries * ENTRY_BYTES })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A configuration space with the capabilities power management, at 40h, and MSI-X, at 50h: 5 entries at 2000h of
    /// BAR 3.
    fn config() -> [u8; 256] {
        let mut config = [0; 256];
        config[0x06] = 0x10;
        config[0x34] = 0x40;
        config[0x40..0x42].copy_from_slice(&[0x01, 0x50]);
        config[0x50..0x58].copy_from_slice(&[0x11, 0, 4, 0x80, 0x03, 0x20, 0, 0]);
        config
    }

    fn found(config: [u8; 256]) -> Result<Option<Table>, Errno> {
        find(|offset, bytes| {
            let mut value = [0; 4];
            let from = config.get(usize::from(offset)..usize::from(offset) + usize::from(bytes));
            value[..bytes.into()].copy_from_slice(from.ok_or(Errno::INVAL)?);
            Ok(u32::from_le_bytes(value))
        })
    }

    #[test]
    fn the_table_and_the_pages_it_is_in() {
        let table = found(config()).unwrap().unwrap();
        assert_eq!(table, Table { bar: 3, bytes: 0x2000..0x2050 });
        assert!(table.is_in(3, &(0..0x2001)) && table.is_in(3, &(0x204f..0x3000)));
        assert!(
            !table.is_in(3, &(0..0x2000))
                && !table.is_in(3, &(0x2050..0x3000))
                && !table.is_in(2, &(0..0x3000))
        );
    }

    #[test]
    fn none_is_none() {
        let mut without = config();
        without[0x06] = 0;
        assert_eq!(found(without), Ok(None));
        let mut without = config();
        without[0x41] = 0;
        assert_eq!(found(without), Ok(None));
    }

    #[test]
    fn a_list_in_circles_ends() {
        let mut circle = config();
        circle[0x41] = 0x40;
        assert_eq!(found(circle), Err(Errno::IO));
        // A device that is gone reads as ones; 0xfc + 1 is the last byte but two.
        assert_eq!(found([0xff; 256]), Err(Errno::IO));
    }
}
