//! The IVRS parser on hand-made tables: what real firmware says, and what hostile firmware says.

use proptest::prelude::*;
use weir_iommu::Error;
use weir_iommu::acpi::PciAddress;
use weir_iommu::acpi::ivrs::{DeviceSettings, Ivrs};
use weir_iommu::address::RequesterId;

/// Header (48 bytes) with 40 address bits and extended features, then `blocks`; length and checksum made right.
fn table(blocks: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = b"IVRS____\x02_WEIR  TABLE   ".to_vec();
    bytes.resize(36, 0);
    bytes.extend(0x2841u32.to_le_bytes());
    bytes.resize(48, 0);
    bytes.extend(blocks.concat());
    seal(bytes)
}

fn seal(mut bytes: Vec<u8>) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).unwrap();
    bytes[4..8].copy_from_slice(&length.to_le_bytes());
    bytes[9] = 0;
    bytes[9] = bytes.iter().fold(0u8, |sum, byte| sum.wrapping_sub(*byte));
    bytes
}

/// IVHD of a type: the unit's own function, segment, registers, features, device entries.
fn ivhd(kind: u8, function: u16, segment: u16, base: u64, features: u64, entries: &[Vec<u8>]) -> Vec<u8> {
    let entries = entries.concat();
    let is_old = kind == 0x10;
    let bytes = u16::try_from(entries.len() + if is_old { 24 } else { 40 }).unwrap();
    let mut block = vec![kind, 0x20];
    block.extend(bytes.to_le_bytes());
    block.extend(function.to_le_bytes());
    block.extend(0x40u16.to_le_bytes());
    block.extend(base.to_le_bytes());
    block.extend(segment.to_le_bytes());
    block.extend([0; 2]);
    block.extend((if is_old { u32::try_from(features).unwrap() } else { 0 }).to_le_bytes());
    if !is_old {
        block.extend(features.to_le_bytes());
        block.extend([0; 8]);
    }
    block.extend(entries);
    block
}

fn unit(entries: &[Vec<u8>]) -> Vec<u8> {
    ivhd(0x11, 0x0002, 0, 0xfd30_0000, 0x29d7, entries)
}

fn short(kind: u8, device: u16, settings: u8) -> Vec<u8> {
    let [low, high] = device.to_le_bytes();
    vec![kind, low, high, settings]
}

fn long(kind: u8, device: u16, settings: u8, rest: [u8; 4]) -> Vec<u8> {
    [short(kind, device, settings), rest.to_vec()].concat()
}

fn alias(kind: u8, device: u16, source: u16) -> Vec<u8> {
    let [low, high] = source.to_le_bytes();
    long(kind, device, 0, [0, low, high, 0])
}

fn special(variety: u8, handle: u8, source: u16) -> Vec<u8> {
    let [low, high] = source.to_le_bytes();
    long(0x48, 0, 0xd7, [handle, low, high, variety])
}

fn ivmd(kind: u8, flags: u8, first: u16, last: u16, base: u64, bytes: u64) -> Vec<u8> {
    let mut block = vec![kind, flags, 32, 0];
    block.extend(first.to_le_bytes());
    block.extend(last.to_le_bytes());
    block.extend([0; 8]);
    block.extend(base.to_le_bytes());
    block.extend(bytes.to_le_bytes());
    block
}

fn device(id: u16) -> PciAddress {
    PciAddress { segment: 0, id: RequesterId(id) }
}

/// Unit index and id a device is seen under.
fn seen(table: &[u8], id: u16) -> Option<(usize, u16)> {
    Ivrs::parse(table).unwrap().sender(device(id)).map(|sender| (sender.unit.index, sender.id.0))
}

#[test]
fn the_header_and_a_unit_are_read() {
    let bytes = table(&[unit(&[short(1, 0, 0)])]);
    let ivrs = Ivrs::parse(&bytes).unwrap();
    assert_eq!(ivrs.host_address_bits(), 40);
    assert!(ivrs.has_extended_features() && !ivrs.opts_in_to_dma_control());
    let unit = ivrs.units().next().unwrap();
    assert_eq!((unit.index, unit.segment, unit.base), (0, 0, 0xfd30_0000));
    assert_eq!((unit.function, unit.capability_offset), (RequesterId(2), 0x40));
    assert_eq!(unit.extended_features, 0x29d7);
    assert!(unit.flags.is_coherent() && !unit.flags.ht_tunnel());
    assert_eq!(ivrs.units().count(), 1);
}

/// Feature reporting 80048f6fh as a real 10h block has it: HATS 2, GASup, IASup, XTSup.
#[test]
fn old_feature_reporting_is_put_into_the_registers_places() {
    let features = |reported| {
        let bytes = table(&[ivhd(0x10, 2, 0, 0xfd30_0000, reported, &[])]);
        Ivrs::parse(&bytes).unwrap().units().next().unwrap().extended_features
    };
    assert_eq!(features(0x8004_8f6f), 0x8c4);
    assert_eq!(features(0x8004_8f6e), 0x8c0);
    assert_eq!(features(0), 0);
}

#[test]
fn the_highest_known_type_describes_a_unit() {
    let block = |kind, base| ivhd(kind, 2, 0, base, 0, &[short(2, 0x18, 0)]);
    let other = ivhd(0x10, 2, 1, 0xf00_0000, 0, &[]);
    let bases = |blocks: &[Vec<u8>]| {
        let bytes = table(blocks);
        let units: Vec<_> =
            Ivrs::parse(&bytes).unwrap().units().map(|unit| (unit.index, unit.base)).collect();
        units
    };
    let (old, new, newest) = (block(0x10, 0x1000), block(0x11, 0x2000), block(0x40, 0x3000));
    let unknown = block(0x41, 0x4000);
    assert_eq!(bases(&[old.clone(), new.clone()]), [(0, 0x2000)]);
    let all = [old.clone(), newest.clone(), other.clone(), new.clone(), unknown];
    assert_eq!(bases(&all), [(0, 0x3000), (1, 0xf00_0000)]);
    assert_eq!(bases(&[old.clone(), block(0x10, 0x9000)]), [(0, 0x1000)], "the first of equals");
    assert_eq!(seen(&table(&[old, newest, new]), 0x18), Some((0, 0x18)));
}

#[test]
fn functions_are_found_by_every_kind_of_entry() {
    let acpi_device =
        [short(0xf0, 0x500, 0), b"AMDI0020AMDI0020".to_vec(), vec![2, 3], b"\\_S".to_vec()].concat();
    let bytes = table(&[unit(&[
        short(0, 0, 0),
        short(2, 0x18, 0),
        short(3, 0x100, 0),
        short(4, 0x1ff, 0),
        alias(0x42, 0x208, 0x200),
        alias(0x43, 0x300, 0x2a5),
        short(4, 0x3ff, 0),
        long(0x46, 0x400, 0, [0, 0, 0, 0x80]),
        long(0x47, 0x480, 0, [0; 4]),
        short(4, 0x48f, 0),
        acpi_device,
        [short(0x81, 0x600, 0), vec![0; 12]].concat(),
        [short(0xc1, 0x600, 0), vec![0; 28]].concat(),
        short(2, 0x700, 0),
    ])]);
    for (id, expected) in [
        (0x18, Some(0x18)),
        (0x19, None),
        (0xff, None),
        (0x100, Some(0x100)),
        (0x1ff, Some(0x1ff)),
        (0x208, Some(0x200)),
        (0x200, None),
        (0x300, Some(0x2a5)),
        (0x3ff, Some(0x2a5)),
        (0x400, Some(0x400)),
        (0x48f, Some(0x48f)),
        (0x490, None),
        (0x500, Some(0x500)),
        (0x600, None),
        (0x700, Some(0x700)),
    ] {
        assert_eq!(seen(&bytes, id), expected.map(|seen| (0, seen)), "{id:#x}");
    }
    let elsewhere = PciAddress { segment: 1, id: RequesterId(0x18) };
    assert!(Ivrs::parse(&bytes).unwrap().sender(elsewhere).is_none());
}

#[test]
fn the_last_entry_decides_and_all_gives_way() {
    let bytes = table(&[unit(&[alias(0x42, 0x18, 0x20), short(2, 0x18, 0xd7), short(1, 0, 0)])]);
    let ivrs = Ivrs::parse(&bytes).unwrap();
    let sender = ivrs.sender(device(0x18)).unwrap();
    assert_eq!(sender.id, RequesterId(0x18));
    let settings = sender.settings;
    assert!(settings.init() && settings.nmi() && settings.lint0() && settings.lint1());
    assert_eq!(settings.system_management(), 1);
    assert_eq!(ivrs.sender(device(0x99)).unwrap().settings, DeviceSettings::new());
}

#[test]
fn two_units_that_name_a_function_cover_it_both_not() {
    let second = ivhd(0x11, 0x4002, 0, 0xfd40_0000, 0, &[short(3, 0x4000, 0), short(4, 0x7fff, 0)]);
    let bytes = table(&[unit(&[short(3, 0, 0), short(4, 0x4000, 0)]), second]);
    assert_eq!(seen(&bytes, 0x3fff), Some((0, 0x3fff)));
    assert_eq!(seen(&bytes, 0x4000), None);
    assert_eq!(seen(&bytes, 0x4001), Some((1, 0x4001)));
}

#[test]
fn special_devices_are_found_by_their_number() {
    let bytes =
        table(&[unit(&[special(1, 7, 0xa0), special(2, 0, 0xa1), special(9, 3, 0xa2), special(1, 8, 5)])]);
    let ivrs = Ivrs::parse(&bytes).unwrap();
    let id =
        |found: Option<(weir_iommu::acpi::ivrs::UnitDescription<'_>, RequesterId)>| found.map(|(_, id)| id.0);
    assert_eq!(id(ivrs.unit_of_io_apic(7)), Some(0xa0));
    assert_eq!(id(ivrs.unit_of_io_apic(8)), Some(5));
    assert_eq!(id(ivrs.unit_of_io_apic(3)), None);
    assert_eq!(id(ivrs.unit_of_hpet(0)), Some(0xa1));
    assert_eq!(id(ivrs.unit_of_hpet(7)), None);
    let twice = table(&[unit(&[special(1, 7, 0xa0), special(1, 7, 0xa1)])]);
    assert_eq!(id(Ivrs::parse(&twice).unwrap().unit_of_io_apic(7)), None);
}

#[test]
fn reserved_memory_names_functions_and_their_aliases() {
    let bytes = table(&[
        unit(&[short(1, 0, 0), alias(0x42, 0x318, 0x300)]),
        ivmd(0x21, 7, 0x18, 0xffff, 0x8000_0000, 0x1000),
        ivmd(0x22, 8, 0x2f0, 0x300, 0x9000_0000, 0x2000),
    ]);
    let ivrs = Ivrs::parse(&bytes).unwrap();
    let bases = |id| ivrs.reserved_memory_of(device(id)).map(|memory| memory.base).collect::<Vec<_>>();
    assert_eq!(bases(0x18), [0x8000_0000]);
    assert_eq!(bases(0x19), []);
    assert_eq!(bases(0x2f0), [0x9000_0000]);
    assert_eq!(bases(0x318), [0x9000_0000], "by the id it is seen under");
    assert_eq!(ivrs.reserved_memory().map(|memory| memory.is_exclusion).collect::<Vec<_>>(), [false, true]);
    let elsewhere = PciAddress { segment: 1, id: RequesterId(0x18) };
    assert_eq!(ivrs.reserved_memory_of(elsewhere).count(), 0);
    let all = table(&[ivmd(0x20, 3, 5, 6, 0x7000_0000, 0x1000)]);
    let all = Ivrs::parse(&all).unwrap();
    assert_eq!([0, 0x18, 0xffff].map(|id| all.reserved_memory_of(device(id)).count()), [1, 1, 1]);
}

#[test]
fn impossible_lengths_and_ranges_are_refused_where_they_are() {
    let bad = |offset| Some(Error::BadTable { offset });
    let refused = |blocks: &[Vec<u8>]| Ivrs::parse(&table(blocks)).err();
    let first = unit(&[short(1, 0, 0)]);
    let at = 48 + first.len();
    for block in [
        vec![0x10, 0, 3, 0],                          // shorter than its own prefix
        vec![0x10, 0, 5, 0, 0],                       // no room for the fixed part
        vec![0x10, 0, 0xff, 0xff],                    // beyond the table
        vec![0x10],                                   // not even a prefix
        vec![0x21, 0, 8, 0, 0, 0, 0, 0],              // reserved memory cut short
        ivmd(0x22, 0, 0x20, 0x1f, 0, 0x1000),         // range the wrong way round
        unit(&[short(3, 0x10, 0)]),                   // range without an end
        unit(&[short(4, 0x10, 0)]),                   // end without a range
        unit(&[short(3, 0x10, 0), short(4, 0xf, 0)]), // ends before it starts
        unit(&[short(3, 0x10, 0), short(2, 0x20, 0), short(4, 0x30, 0)]),
        unit(&[vec![2, 0, 0]]), // entry cut short
        unit(&[short(0x42, 0, 0)]),
        unit(&[short(0xf0, 0, 0)]),
        unit(&[[short(0xf0, 0, 0), vec![0; 17], vec![9, 0]].concat()]), // unique id beyond the block
        unit(&[[short(0xf1, 0, 0), vec![0; 60]].concat()]),             // a length nobody knows
    ] {
        assert_eq!(refused(&[first.clone(), block.clone()]), bad(at), "{block:x?}");
    }
    let mut new = ivhd(0x11, 2, 0, 0, 0, &[]);
    new.truncate(30);
    new[2] = 30;
    assert_eq!(refused(&[new]), bad(48), "features cut short");
    assert_eq!(refused(&[vec![0x77, 0, 6, 0, 1, 2]]), None, "unknown blocks are skipped");
}

#[test]
fn headers_are_checked() {
    let good = table(&[]);
    assert!(Ivrs::parse(&[good.clone(), vec![1, 2, 3]].concat()).is_ok(), "more may follow");
    let mut other = good.clone();
    other[8] ^= 1;
    assert_eq!(Ivrs::parse(&other).err(), Some(Error::BadChecksum));
    assert_eq!(Ivrs::parse(&good[..47]).err(), Some(Error::BadTable { offset: 4 }));
    assert_eq!(Ivrs::parse(&[]).err(), Some(Error::BadTable { offset: 0 }));
    assert_eq!(Ivrs::parse(&seal(good[..40].to_vec())).err(), Some(Error::BadTable { offset: 4 }));
    let mut dmar = good;
    dmar[..4].copy_from_slice(b"DMAR");
    assert_eq!(Ivrs::parse(&seal(dmar)).err(), Some(Error::BadTable { offset: 0 }));
}

/// Asks everything there is to ask.
fn exercise(bytes: &[u8]) {
    let Ok(ivrs) = Ivrs::parse(bytes) else { return };
    for unit in ivrs.units().take(8) {
        assert!(
            ivrs.units()
                .filter(|other| (other.segment, other.function) == (unit.segment, unit.function))
                .count()
                == 1
        );
    }
    for id in [0, 0x18, 0x300, 0xffff] {
        ivrs.reserved_memory_of(device(id)).count();
        if let Some(sender) = ivrs.sender(device(id)) {
            assert_eq!(sender.unit.segment, 0);
        }
    }
    (0..=u8::MAX).for_each(|number| {
        assert!(ivrs.unit_of_io_apic(number).is_none_or(|(unit, _)| unit.index < ivrs.units().count()));
        assert!(ivrs.unit_of_hpet(number).is_none_or(|(unit, _)| unit.index < ivrs.units().count()));
    });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: if cfg!(miri) { 16 } else { 512 }, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_survived(body in prop::collection::vec(any::<u8>(), 0..300)) {
        let mut bytes = table(&[]);
        bytes.extend(body);
        exercise(&seal(bytes));
    }

    #[test]
    fn a_good_table_with_wrong_bytes_is_survived(changes in prop::collection::vec((48usize..200, any::<u8>()), 1..4)) {
        let mut bytes = table(&[
            unit(&[short(3, 0, 0), short(4, 0xff, 0), alias(0x42, 0x208, 0x200), special(1, 0, 0xa0)]),
            ivhd(0x40, 2, 0, 0xfd30_0000, 0x29d7, &[short(1, 0, 0), short(2, 0x18, 0)]),
            ivmd(0x22, 7, 0x18, 0x20, 0x8000_0000, 0x1000),
        ]);
        for (at, value) in changes {
            let at = at % bytes.len();
            bytes[at] = value;
        }
        exercise(&seal(bytes));
    }
}
