//! The DMAR parser on hand-made tables: what real firmware says, and what hostile firmware says.

use proptest::prelude::*;
use weir_iommu::Error;
use weir_iommu::acpi::{Dmar, PciAddress, ScopeKind, Topology};
use weir_iommu::address::RequesterId;

/// Header (48 bytes), then `structures`; length and checksum made right.
fn table(structures: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = b"DMAR____\x01_WEIR  TABLE   ".to_vec();
    bytes.resize(36, 0);
    bytes.extend([38, 0b001]);
    bytes.resize(48, 0);
    bytes.extend(structures.concat());
    seal(bytes)
}

fn seal(mut bytes: Vec<u8>) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).unwrap();
    bytes[4..8].copy_from_slice(&length.to_le_bytes());
    bytes[9] = 0;
    bytes[9] = bytes.iter().fold(0u8, |sum, byte| sum.wrapping_sub(*byte));
    bytes
}

/// Any structure: type, length, body.
fn structure(kind: u16, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(body.len() + 4).unwrap();
    [&kind.to_le_bytes()[..], &length.to_le_bytes(), body].concat()
}

/// DRHD: flags, size, segment, base, scopes.
fn drhd(flags: u8, segment: u16, base: u64, scopes: &[Vec<u8>]) -> Vec<u8> {
    let body = [&[flags, 0][..], &segment.to_le_bytes(), &base.to_le_bytes(), &scopes.concat()].concat();
    structure(0, &body)
}

fn rmrr(base: u64, limit: u64, scopes: &[Vec<u8>]) -> Vec<u8> {
    structure(1, &[&[0; 4][..], &base.to_le_bytes(), &limit.to_le_bytes(), &scopes.concat()].concat())
}

/// Device scope: type, enumeration id, start bus, path of (device, function).
fn scope(kind: u8, enumeration: u8, bus: u8, path: &[(u8, u8)]) -> Vec<u8> {
    let mut bytes = vec![kind, u8::try_from(6 + 2 * path.len()).unwrap(), 0, 0, enumeration, bus];
    path.iter().for_each(|(device, function)| bytes.extend([*device, *function]));
    bytes
}

fn endpoint(bus: u8, path: &[(u8, u8)]) -> Vec<u8> {
    scope(1, 0, bus, path)
}

fn bridge(bus: u8, path: &[(u8, u8)]) -> Vec<u8> {
    scope(2, 0, bus, path)
}

fn at(segment: u16, bus: u8, device: u8, function: u8) -> PciAddress {
    PciAddress { segment, id: RequesterId::new(bus, device, function) }
}

/// Root port 00:1c.0 leads to bus 1, the switch there (01:00.0) to bus 2, its port 02:03.0 to bus 5;
/// root port 00:1d.0 leads to bus 9. Bus 64 is another root bus.
struct Tree;

const BRIDGES: [((u8, u8), u8); 4] = [((0, 0x1c), 1), ((1, 0), 2), ((2, 3), 5), ((0, 0x1d), 9)];

impl Topology for Tree {
    fn secondary_bus(&self, bridge: PciAddress) -> Option<u8> {
        let is_it = |((bus, device), _): &&((u8, u8), u8)| bridge == at(0, *bus, *device, 0);
        BRIDGES.iter().find(is_it).map(|(_, secondary)| *secondary)
    }

    fn parent_bridge(&self, segment: u16, bus: u8) -> Option<RequesterId> {
        let leads = BRIDGES.iter().find(|(_, secondary)| segment == 0 && *secondary == bus);
        leads.map(|((bus, device), _)| RequesterId::new(*bus, *device, 0))
    }
}

/// A bridge that is its own parent.
struct Loop;

impl Topology for Loop {
    fn secondary_bus(&self, _: PciAddress) -> Option<u8> {
        Some(3)
    }

    fn parent_bridge(&self, _: u16, bus: u8) -> Option<RequesterId> {
        Some(RequesterId::new(bus, 0, 0))
    }
}

fn base_of(bytes: &[u8], device: PciAddress) -> Option<u64> {
    Dmar::parse(bytes).unwrap().unit_of(device, &Tree).map(|unit| unit.base)
}

/// As QEMU builds it: no INCLUDE_PCI_ALL, one scope per function, an I/O APIC.
#[test]
fn one_unit_with_explicit_scopes() {
    let scopes = [scope(3, 0, 0xff, &[(0, 0)]), endpoint(0, &[(3, 0)]), bridge(0, &[(0x1c, 0)])];
    let bytes = table(&[drhd(0, 0, 0xfed9_0000, &scopes)]);
    let dmar = Dmar::parse(&bytes).unwrap();
    assert_eq!(dmar.host_address_bits(), 39);
    assert!(dmar.flags().has_interrupt_remapping() && !dmar.flags().opts_out_of_x2apic());
    let unit = dmar.units().next().unwrap();
    assert_eq!((unit.index, unit.segment, unit.base, unit.register_bytes), (0, 0, 0xfed9_0000, 4096));
    assert!(!unit.includes_all);
    assert_eq!(
        unit.devices.iter().map(|scope| scope.kind).collect::<Vec<_>>(),
        [ScopeKind::IoApic, ScopeKind::Endpoint, ScopeKind::Bridge]
    );
    for covered in [at(0, 0, 3, 0), at(0, 0, 0x1c, 0), at(0, 1, 0, 0), at(0, 5, 7, 1)] {
        assert!(dmar.unit_of(covered, &Tree).is_some(), "{covered:?}");
    }
    for unknown in [at(0, 0, 3, 1), at(0, 0, 0x1d, 0), at(0, 9, 0, 0), at(0, 64, 0, 0), at(1, 0, 3, 0)] {
        assert!(dmar.unit_of(unknown, &Tree).is_none(), "{unknown:?}");
    }
    let (unit, id) = dmar.unit_of_io_apic(0, &Tree).unwrap();
    assert_eq!((unit.index, id), (0, RequesterId(0xff00)));
    assert!(dmar.unit_of_io_apic(1, &Tree).is_none());
    assert!(dmar.unit_of_hpet(0, &Tree).is_none());
}

/// As laptops have it: a unit for graphics, one for the rest, timer and I/O APIC on the latter.
#[test]
fn explicit_scope_wins_over_include_all() {
    let rest = [scope(3, 2, 0xf0, &[(0x1f, 0)]), scope(4, 0, 0, &[(0x1e, 6)])];
    let bytes = table(&[
        drhd(0, 0, 0xfed9_0000, &[endpoint(0, &[(2, 0)])]),
        drhd(1, 0, 0xfed9_1000, &rest),
        drhd(1, 1, 0xfed9_2000, &[]),
    ]);
    assert_eq!(base_of(&bytes, at(0, 0, 2, 0)), Some(0xfed9_0000));
    assert_eq!(base_of(&bytes, at(0, 0, 2, 1)), Some(0xfed9_1000));
    assert_eq!(base_of(&bytes, at(0, 5, 0, 0)), Some(0xfed9_1000));
    assert_eq!(base_of(&bytes, at(1, 5, 0, 0)), Some(0xfed9_2000));
    assert_eq!(base_of(&bytes, at(2, 0, 0, 0)), None);
    let dmar = Dmar::parse(&bytes).unwrap();
    let (unit, id) = dmar.unit_of_io_apic(2, &Tree).unwrap();
    assert_eq!((unit.index, unit.base, id), (1, 0xfed9_1000, RequesterId(0xf0f8)));
    assert_eq!(dmar.unit_of_hpet(0, &Tree).map(|(_, id)| id), Some(RequesterId(0x00f6)));
}

#[test]
fn paths_lead_through_bridges() {
    let deep = [(0x1c, 0), (0, 0), (3, 0), (7, 1)];
    let bytes = table(&[
        drhd(0, 0, 0x1000, &[endpoint(0, &deep)]),
        drhd(0, 0, 0x2000, &[bridge(0, &deep[..3])]),
        drhd(0, 0, 0x3000, &[endpoint(0, &[(0x1e, 0), (0, 0)])]),
        drhd(0, 0, 0x4000, &[endpoint(0, &[(33, 0)]), endpoint(0, &[(0, 9)])]),
    ]);
    assert_eq!(base_of(&bytes, at(0, 5, 6, 0)), Some(0x2000), "below the bridge");
    assert_eq!(base_of(&bytes, at(0, 2, 3, 0)), Some(0x2000), "the bridge itself");
    assert_eq!(base_of(&bytes, at(0, 2, 4, 0)), None, "beside the bridge");
    assert_eq!(base_of(&bytes, at(0, 5, 7, 1)), None, "named by two units");
    assert_eq!(base_of(&bytes, at(0, 0, 0, 0)), None, "a path through no bridge, and numbers out of range");
    assert_eq!(base_of(&bytes, at(0, 0, 1, 0)), None, "device 33 is not device 1");
}

#[test]
fn two_catch_all_units_cover_nothing() {
    let bytes = table(&[drhd(1, 0, 0x1000, &[]), drhd(1, 0, 0x2000, &[endpoint(0, &[(2, 0)])])]);
    assert_eq!(base_of(&bytes, at(0, 0, 3, 0)), None);
    assert_eq!(base_of(&bytes, at(0, 0, 2, 0)), Some(0x2000));
}

#[test]
fn a_looping_topology_ends() {
    let bytes = table(&[drhd(0, 0, 0x1000, &[bridge(0, &[(1, 0)])])]);
    let dmar = Dmar::parse(&bytes).unwrap();
    assert!(dmar.unit_of(at(0, 7, 2, 0), &Loop).is_none());
    assert!(dmar.unit_of(at(0, 0, 1, 0), &Loop).is_some());
}

#[test]
fn reserved_regions_belong_to_their_devices() {
    let usb = [endpoint(0, &[(0x14, 0)])];
    let bytes = table(&[
        drhd(1, 0, 0xfed9_0000, &[]),
        rmrr(0x8b00_0000, 0x8b01_ffff, &usb),
        rmrr(0x8d80_0000, 0x8fff_ffff, &[endpoint(0, &[(2, 0)]), bridge(0, &[(0x1c, 0)])]),
        rmrr(0x5000, 0x4fff, &usb),
        rmrr(0, u64::MAX, &usb),
        rmrr(0x800, 0x1fff, &usb),
    ]);
    let dmar = Dmar::parse(&bytes).unwrap();
    let of =
        |device| dmar.reserved_regions_of(device, &Tree).map(|region| region.range()).collect::<Vec<_>>();
    assert_eq!(of(at(0, 0, 2, 0)), [Some((0x8d80_0000, 0x280_0000))]);
    assert_eq!(of(at(0, 5, 0, 0)), [Some((0x8d80_0000, 0x280_0000))]);
    assert_eq!(of(at(0, 0, 0x14, 0)), [Some((0x8b00_0000, 0x2_0000)), None, None, None]);
    assert_eq!(of(at(0, 0, 3, 0)), []);
    assert_eq!(of(at(1, 0, 2, 0)), []);
}

#[test]
fn the_other_structures() {
    let mut name = vec![0, 0, 0, 7];
    name.extend(b"\\_SB.PCI0.UART\0pad");
    let sized = structure(0, &[&[1, 0x13, 2, 0][..], &0xfed0_0000u64.to_le_bytes()].concat());
    let bytes = table(&[
        structure(2, &[&[1, 0, 5, 0][..], &[]].concat()),
        structure(2, &[&[0, 0, 0, 0][..], &bridge(0, &[(0x1c, 0)])].concat()),
        structure(3, &[&[0; 4][..], &0xfed9_0000u64.to_le_bytes(), &3u32.to_le_bytes()].concat()),
        structure(4, &name),
        structure(5, &[&[0, 0, 1, 0][..], &endpoint(0, &[(2, 0)])].concat()),
        structure(6, &[0xff; 3]),
        structure(0x4242, &[]),
        sized,
    ]);
    let dmar = Dmar::parse(&bytes).unwrap();
    let ports: Vec<_> = dmar.root_ports_with_ats().collect();
    assert_eq!((ports[0].segment, ports[0].all_ports, ports[1].all_ports), (5, true, false));
    assert!(ports[1].devices.contain(0, at(0, 1, 0, 0), &Tree));
    assert_eq!(dmar.proximity().collect::<Vec<_>>(), [(0xfed9_0000, 3)]);
    assert_eq!(dmar.namespace_devices().collect::<Vec<_>>(), [(7, &b"\\_SB.PCI0.UART"[..])]);
    let (segment, devices) = dmar.integrated_ats().next().unwrap();
    assert!(devices.contain(segment, at(1, 0, 2, 0), &Tree));
    let unit = dmar.units().next().unwrap();
    assert_eq!((unit.segment, unit.register_bytes, unit.includes_all), (2, 32768, true));
}

#[test]
fn impossible_lengths_are_refused_where_they_are() {
    let good = drhd(0, 0, 0x1000, &[endpoint(0, &[(3, 0)])]);
    let with_byte = |at: usize, value: u8| {
        let mut bad = good.clone();
        bad[at] = value;
        Dmar::parse(&table(&[good.clone(), bad])).err()
    };
    let second = Some(Error::BadTable { offset: 48 + 24 });
    assert_eq!(with_byte(0, 0), None);
    for length in [0, 1, 3, 4, 15, 25, 200] {
        assert_eq!(with_byte(2, length), second, "structure length {length}");
    }
    for length in [0, 5, 6, 7, 9, 255] {
        assert_eq!(with_byte(17, length), second, "scope length {length}");
    }
    let unterminated = structure(4, &[0, 0, 0, 1, b'A', b'B']);
    assert_eq!(Dmar::parse(&table(&[unterminated])).err(), Some(Error::BadTable { offset: 48 }));
    let short = structure(3, &[0; 8]);
    assert_eq!(Dmar::parse(&table(&[short])).err(), Some(Error::BadTable { offset: 48 }));
}

#[test]
fn headers_are_checked() {
    let good = table(&[drhd(1, 0, 0x1000, &[])]);
    for bytes in 0..good.len() {
        assert!(Dmar::parse(&good[..bytes]).is_err(), "cut to {bytes}");
    }
    let mut longer = good.clone();
    longer.extend([0xaa; 100]);
    assert!(Dmar::parse(&longer).is_ok(), "what follows is not looked at");
    let mut damaged = good.clone();
    damaged[60] ^= 1;
    assert_eq!(Dmar::parse(&damaged).err(), Some(Error::BadChecksum));
    let mut other = good.clone();
    other[0] = b'X';
    assert_eq!(Dmar::parse(&seal(other)).err(), Some(Error::BadTable { offset: 0 }));
    let mut short = good;
    short[4..8].copy_from_slice(&47u32.to_le_bytes());
    assert_eq!(Dmar::parse(&short).err(), Some(Error::BadTable { offset: 4 }));
}

/// Walks everything the face offers.
fn exercise(dmar: &Dmar<'_>) {
    for device in [at(0, 0, 3, 0), at(0, 5, 0, 0)] {
        let _ = (dmar.unit_of(device, &Tree), dmar.unit_of(device, &Loop));
        dmar.reserved_regions_of(device, &Tree)
            .for_each(|region| assert!(region.range().is_none_or(|(_, bytes)| bytes >= 4096)));
    }
    let _ = (dmar.unit_of_io_apic(0, &Tree), dmar.unit_of_hpet(0, &Loop), dmar.host_address_bits());
    let _ = (dmar.root_ports_with_ats().count(), dmar.integrated_ats().count());
    let _ = (dmar.proximity().count(), dmar.namespace_devices().count());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: if cfg!(miri) { 20 } else { 2000 }, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = Dmar::parse(&bytes);
        let sealed = table(&[bytes]);
        if let Ok(dmar) = Dmar::parse(&sealed) {
            exercise(&dmar);
        }
    }

    #[test]
    fn damaged_tables_never_panic(hits in prop::collection::vec((48usize..150, any::<u8>()), 1..6)) {
        let mut bytes = table(&[
            drhd(0, 0, 0x1000, &[endpoint(0, &[(3, 0)]), bridge(0, &[(0x1c, 0), (0, 0)])]),
            rmrr(0x1000, 0x1fff, &[endpoint(0, &[(3, 0)])]),
            structure(4, b"\0\0\0\x01\\_SB\0"),
            drhd(1, 0, 0x2000, &[scope(3, 0, 0xff, &[(0, 0)])]),
        ]);
        let end = bytes.len();
        hits.iter().for_each(|(at, value)| bytes[48 + (at - 48) % (end - 48)] = *value);
        if let Ok(dmar) = Dmar::parse(&seal(bytes)) {
            exercise(&dmar);
        }
    }
}
