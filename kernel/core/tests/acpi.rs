//! Tables of a machine, tables by hand, and tables of nobody's.

use proptest::prelude::*;
use weir_kernel::acpi::{EcamWindow, Madt, MadtEntry, Mcfg, TableError};

#[path = "../fuzz/targets.rs"]
mod targets;

/// MADT of a board with an AMD 890FX (RD890S), from its firmware's dump, posted to a public list: eight CPUs described,
/// four of them there.
const MADT: &[u8] = include_bytes!("../fuzz/seeds/madt/amd-rd890s");
/// MCFG of the same board.
const MCFG: &[u8] = include_bytes!("../fuzz/seeds/mcfg/amd-rd890s");

fn seal(mut bytes: Vec<u8>) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).unwrap();
    bytes[4..8].copy_from_slice(&length.to_le_bytes());
    bytes[9] = 0;
    bytes[9] = bytes.iter().fold(0u8, |sum, byte| sum.wrapping_sub(*byte));
    bytes
}

fn table(signature: &[u8; 4], rest: &[u8]) -> Vec<u8> {
    let mut bytes = signature.to_vec();
    bytes.resize(44, 0);
    bytes.extend(rest);
    seal(bytes)
}

#[test]
fn a_real_madt_is_read() {
    let entries: Vec<_> = Madt::parse(MADT).unwrap().entries().collect();
    let cpus = (0..8).map(|apic_id| MadtEntry::Cpu { apic_id, is_enabled: apic_id < 4 });
    let others = [
        MadtEntry::IoApic { id: 8, address: 0xfec0_0000, first_line: 0 },
        MadtEntry::Override { isa: 0, line: 2 },
        MadtEntry::Override { isa: 9, line: 9 },
    ];
    assert_eq!(entries, cpus.chain(others).collect::<Vec<_>>());
}

#[test]
fn a_real_mcfg_is_read() {
    let windows: Vec<_> = Mcfg::parse(MCFG).unwrap().windows().collect();
    assert_eq!(windows, [EcamWindow { base: 0xe000_0000, segment: 0, first_bus: 0, last_bus: 255 }]);
}

#[test]
fn wide_ids_and_unknown_types() {
    let x2apic = [9, 16, 0, 0, 0x78, 0x56, 0x34, 0x12, 1, 0, 0, 0, 0, 0, 0, 0];
    let bytes = table(b"APIC", &[&[200, 5, 1, 2, 3][..], &x2apic].concat());
    let entries: Vec<_> = Madt::parse(&bytes).unwrap().entries().collect();
    assert_eq!(entries, [MadtEntry::Cpu { apic_id: 0x1234_5678, is_enabled: true }]);
}

#[test]
fn impossible_lengths_are_refused_where_they_are() {
    let refused = |rest: &[u8]| Madt::parse(&table(b"APIC", rest)).err();
    let at = |offset| Some(TableError::BadTable { offset });
    // Of no length, the walk would never end; beyond the end; cut short; shorter than the type.
    for rest in [&[0, 0][..], &[200, 0], &[200, 3], &[200], &[0, 7, 0, 0, 0, 0, 0], &[1, 4, 0, 0]] {
        assert_eq!(refused(rest), at(44), "{rest:?}");
    }
    assert_eq!(refused(&[200, 2, 0, 0]), at(46));
    assert_eq!(Mcfg::parse(&table(b"MCFG", &[0; 20])).err(), at(60));
}

#[test]
fn headers_are_checked() {
    let at = |offset| Some(TableError::BadTable { offset });
    assert_eq!(Madt::parse(&[]).err(), at(0));
    assert_eq!(Madt::parse(MCFG).err(), at(0));
    assert_eq!(Madt::parse(&MADT[..100]).err(), at(4));
    let mut short = MCFG.to_vec();
    short[4..8].copy_from_slice(&[43, 0, 0, 0]);
    assert_eq!(Mcfg::parse(&short).err(), at(4));
    let mut wrong = MADT.to_vec();
    wrong[20] ^= 1;
    assert_eq!(Madt::parse(&wrong).err(), Some(TableError::BadChecksum));
    let longer = [MADT, &[0xff; 7]].concat();
    assert!(Madt::parse(&longer).is_ok(), "what follows is no part of the table");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: if cfg!(miri) { 20 } else { 4000 }, failure_persistence: None, ..ProptestConfig::default() })]

    /// The fuzzers' targets, without a fuzzer.
    #[test]
    fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        targets::madt(&bytes);
        targets::mcfg(&bytes);
    }

    #[test]
    fn a_real_table_with_wrong_bytes_is_survived(hits in prop::collection::vec((44usize..188, any::<u8>()), 1..6)) {
        let mut bytes = MADT.to_vec();
        hits.iter().for_each(|(at, value)| bytes[*at] = *value);
        targets::madt(&bytes);
        targets::madt(&bytes[44..]);
    }
}
