//! What a fuzzer feeds; the ordinary tests feed it, too.
//!
//! **Invariant: whatever the bytes, parsing ends, does not panic, and answers no more entries than there is room for.**

use weir_kernel::acpi::{Madt, Mcfg};

/// As they are, and as the body of a table whose header is right: checksums stop a fuzzer too early.
pub(crate) fn madt(bytes: &[u8]) {
    for table in [bytes.to_vec(), sealed(*b"APIC", bytes)] {
        if let Ok(madt) = Madt::parse(&table) {
            assert!(madt.entries().count() * 8 <= table.len());
        }
    }
}

/// See [`madt`].
pub(crate) fn mcfg(bytes: &[u8]) {
    for table in [bytes.to_vec(), sealed(*b"MCFG", bytes)] {
        if let Ok(mcfg) = Mcfg::parse(&table) {
            assert_eq!(mcfg.windows().count(), (length_of(&table) - 44) / 16);
        }
    }
}

fn length_of(table: &[u8]) -> usize {
    table
        .get(4..8)
        .map_or(0, |bytes| bytes.iter().rev().fold(0, |length, byte| length << 8 | usize::from(*byte)))
}

fn sealed(signature: [u8; 4], body: &[u8]) -> Vec<u8> {
    let mut table = signature.to_vec();
    table.resize(44, 0);
    table.extend(body);
    let length = u32::try_from(table.len()).expect("fuzzers feed little");
    table[4..8].copy_from_slice(&length.to_le_bytes());
    table[9] = table.iter().fold(0, |sum, byte| sum.wrapping_sub(*byte));
    table
}
