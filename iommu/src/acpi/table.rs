//! What every ACPI table starts with (ACPI 6.5 §5.2.6 "System Description Table Header").

use crate::error::{Error, Result};

/// Bytes before the first structure: the header, and 12 more in DMAR and IVRS alike.
const HEADER_BYTES: usize = 48;

/// Cuts `table` to the length its header names, and checks signature and checksum.
pub(super) fn checked(table: &[u8], signature: [u8; 4]) -> Result<&[u8]> {
    let bad = |offset| Error::BadTable { offset };
    let (start, rest) = table.split_first_chunk::<4>().ok_or(bad(0))?;
    let length = rest.first_chunk::<4>().ok_or(bad(0))?;
    let bytes = usize::try_from(u32::from_le_bytes(*length)).map_err(|_| bad(4))?;
    if *start != signature {
        return Err(bad(0));
    }
    let table = table.get(..bytes).filter(|table| table.len() >= HEADER_BYTES).ok_or(bad(4))?;
    if table.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte)) != 0 {
        return Err(Error::BadChecksum);
    }
    Ok(table)
}
