//! A walk of the tables that a process's devices share with its CPUs, entry by entry as a unit reads them (VT-d 5.10
//! §9.7 "First-Stage Paging Entries"), compared with the book of what is mapped.
//!
//! **Invariant checked: every leaf that a device can reach is a page of a `Memory`, mapped for DMA at that address,
//! with no more rights than its mapping; and the root leads nowhere else.** Nothing here uses the code that writes
//! the tables. Runs only where the command line asks for it (`check_tables=on`): tests do.

use weir_abi::layout::PAGE_BYTES;

use super::address::{Direct, PhysAddr};

/// What the book says of a page: where it is in physical memory, and whether it may be written.
pub(super) type Lookup<'a> = &'a dyn Fn(u64) -> Option<(u64, bool)>;

/// An entry that must not be there.
#[derive(Clone, Copy, Debug, thiserror::Error)]
pub(super) enum Violation {
    #[error("root entry {index} is {entry:#x}")]
    Root { index: usize, entry: u64 },
    #[error("entry {entry:#x} of level {level} at {address:#x} is of no kind that belongs there")]
    Kind { address: u64, level: u8, entry: u64 },
    #[error("{address:#x} leads to {entry:#x}, which is not what is mapped there")]
    Leaf { address: u64, entry: u64 },
    #[error("{found} bytes are reachable where {expected} are mapped")]
    Extent { found: u64, expected: u64 },
}

/// P, R/W, U/S, A.
const TABLE: u64 = 0x27;
/// P, U/S, A, XD.
const READ_ONLY: u64 = 1 << 63 | 0x25;
/// R/W, D.
const WRITABLE: u64 = 0x42;
const PAGE_SIZE: u64 = 0x80;
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;
/// Level of what the root's entries lead to; leaves of 4 KiB are at level 0.
const WINDOW_LEVEL: u8 = 2;

/// Checks that the root that devices begin at leads to `window` and nowhere else.
pub(super) fn check_root(root: PhysAddr, window: PhysAddr) -> Result<(), Violation> {
    for (index, entry) in entries(root).enumerate() {
        let expected = if index == 0 { window.0 | TABLE } else { 0 };
        if entry != expected {
            return Err(Violation::Root { index, entry });
        }
    }
    Ok(())
}

/// Checks everything reachable from the table of the window, in which `expected` bytes are mapped; returns the leaves.
pub(super) fn check(window: PhysAddr, expected: u64, book: Lookup) -> Result<u64, Violation> {
    let mut walk = Walk { book, leaves: 0, bytes: 0 };
    walk.table(window, WINDOW_LEVEL, 0)?;
    if walk.bytes != expected {
        return Err(Violation::Extent { found: walk.bytes, expected });
    }
    Ok(walk.leaves)
}

struct Walk<'a> {
    book: Lookup<'a>,
    leaves: u64,
    bytes: u64,
}

impl Walk<'_> {
    fn table(&mut self, at: PhysAddr, level: u8, start: u64) -> Result<(), Violation> {
        let size = PAGE_BYTES << (9 * level);
        for (index, entry) in entries(at).enumerate() {
            let address = start + index as u64 * size;
            let is_large = level > 0 && entry & PAGE_SIZE != 0;
            match entry {
                0 => {}
                _ if level > 0 && entry & !ADDRESS == TABLE => {
                    self.table(PhysAddr(entry & ADDRESS), level - 1, address)?;
                }
                _ if level == 0 || is_large => {
                    self.leaf(address, size, if is_large { entry & !PAGE_SIZE } else { entry })?;
                }
                _ => return Err(Violation::Kind { address, level, entry }),
            }
        }
        Ok(())
    }

    /// Checks each 4 KiB of a leaf on its own.
    fn leaf(&mut self, address: u64, size: u64, entry: u64) -> Result<(), Violation> {
        let is_writable = match entry & !ADDRESS {
            READ_ONLY => false,
            flags if flags == READ_ONLY | WRITABLE => true,
            _ => return Err(Violation::Leaf { address, entry }),
        };
        for offset in (0..size).step_by(PAGE_BYTES as usize) {
            let is_mapped = (self.book)(address + offset).is_some_and(|(frame, may_write)| {
                frame == (entry & ADDRESS) + offset && (may_write || !is_writable)
            });
            if !is_mapped {
                return Err(Violation::Leaf { address: address + offset, entry });
            }
        }
        self.leaves += 1;
        self.bytes += size;
        Ok(())
    }
}

/// The entries of a table, as they are in memory.
fn entries(at: PhysAddr) -> impl Iterator<Item = u64> {
    let table = at.direct().cast::<u64>();
    // SAFETY: a whole frame of a tree that the caller holds, in the direct map.
    (0..512).map(move |index| unsafe { table.add(index).read_volatile() })
}
