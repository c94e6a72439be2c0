//! Firmware's tables that say which CPUs, interrupt controllers and configuration windows there are: MADT and MCFG.
//!
//! **Invariant: no length that a table names is believed**: a table that does not add up is refused as a whole, with the
//! offset, so what is read from one that parsed needs no further check of its place.
//! Does not find tables, and does not check whether firmware tells the truth.

mod madt;
mod mcfg;

pub use madt::{Madt, MadtEntry};
pub use mcfg::{EcamWindow, Mcfg};

/// What is wrong with a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TableError {
    /// A length or signature that cannot be, at this offset.
    #[error("firmware table does not add up at offset {offset}")]
    BadTable {
        /// In bytes from the start of the table.
        offset: usize,
    },
    /// The bytes do not sum up to 0.
    #[error("firmware table has a wrong checksum")]
    BadChecksum,
}

/// Cuts `table` to the length its header names (ACPI 6.5 §5.2.6), of at least `fixed` bytes, and checks signature and
/// checksum.
fn checked(table: &[u8], signature: [u8; 4], fixed: usize) -> Result<&[u8], TableError> {
    let bad = |offset| TableError::BadTable { offset };
    if table.first_chunk() != Some(&signature) {
        return Err(bad(0));
    }
    let length = u32_at(table, 4).and_then(|length| usize::try_from(length).ok()).ok_or(bad(4))?;
    let table = table.get(..length).filter(|table| table.len() >= fixed).ok_or(bad(4))?;
    match table.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte)) {
        0 => Ok(table),
        _ => Err(TableError::BadChecksum),
    }
}

fn array_at<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    array_at(bytes, at).map(u16::from_le_bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    array_at(bytes, at).map(u32::from_le_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    array_at(bytes, at).map(u64::from_le_bytes)
}
