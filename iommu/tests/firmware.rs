//! Which unit confines a function and why one is refused, through either make's table.

use weir_iommu::acpi::{Cover, Dmar, Firmware, Ivrs, PciAddress, Refusal, Topology};
use weir_iommu::address::RequesterId;

/// Header (48 bytes), then `rest`; length and checksum made right.
fn table(signature: &[u8; 4], info: [u8; 4], rest: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = signature.to_vec();
    bytes.resize(36, 0);
    bytes.extend(info);
    bytes.resize(48, 0);
    bytes.extend(rest.concat());
    let length = u32::try_from(bytes.len()).unwrap();
    bytes[4..8].copy_from_slice(&length.to_le_bytes());
    bytes[9] = bytes.iter().fold(0u8, |sum, byte| sum.wrapping_sub(*byte));
    bytes
}

/// Type and length in 16 bits each, as DMAR has them.
fn structure(kind: u16, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(body.len() + 4).unwrap();
    [&kind.to_le_bytes()[..], &length.to_le_bytes(), body].concat()
}

/// Scope of one step: type, enumeration id, device on bus 0.
fn scope(kind: u8, enumeration: u8, device: u8) -> Vec<u8> {
    vec![kind, 8, 0, 0, enumeration, 0, device, 0]
}

/// One unit that covers 00:03.0, everything below 00:1c.0, and I/O APIC 2 as f0:1f.0's neighbour 00:1f.0; firmware keeps
/// memory for 00:04.0 and for what is below 00:1d.0, both covered.
fn dmar() -> Vec<u8> {
    let covered =
        [scope(1, 0, 3), scope(1, 0, 4), scope(2, 0, 0x1c), scope(2, 0, 0x1d), scope(3, 2, 0x1f)].concat();
    let unit = [&[0, 0, 0, 0][..], &0xfed9_0000u64.to_le_bytes(), &covered].concat();
    let kept = [scope(1, 0, 4), scope(2, 0, 0x1d)].concat();
    let (base, limit) = (0x7000_0000u64.to_le_bytes(), 0x7000_0fffu64.to_le_bytes());
    let reserved = [&[0; 4][..], &base, &limit, &kept].concat();
    table(b"DMAR", [38, 1, 0, 0], &[structure(0, &unit), structure(1, &reserved)])
}

/// Root ports 00:1c.0 and 00:1d.0 lead to buses 1 and 2.
struct Tree;

impl Topology for Tree {
    fn secondary_bus(&self, bridge: PciAddress) -> Option<u8> {
        [(0x1c, 1), (0x1d, 2)].into_iter().find(|(at, _)| bridge == device(0, *at, 0)).map(|(_, bus)| bus)
    }

    fn parent_bridge(&self, _: u16, bus: u8) -> Option<RequesterId> {
        [(1, 0x1c), (2, 0x1d)]
            .into_iter()
            .find(|(its, _)| *its == bus)
            .map(|(_, at)| RequesterId::new(0, at, 0))
    }
}

fn device(bus: u8, device: u8, function: u8) -> PciAddress {
    PciAddress { segment: 0, id: RequesterId::new(bus, device, function) }
}

fn cover(firmware: &Firmware<'_>, function: PciAddress, seen_as: RequesterId) -> Result<Cover, Refusal> {
    firmware.cover(function, seen_as, &Tree)
}

#[test]
fn dmar_covers_by_scope_and_refuses_the_rest() {
    let bytes = dmar();
    let firmware = Firmware::Dmar(Dmar::parse(&bytes).unwrap());
    let own = |function: PciAddress| cover(&firmware, function, function.id);
    let confined = |function: PciAddress| Ok(Cover { unit: 0, sender: function.id });
    for covered in [device(0, 3, 0), device(1, 0, 0), device(1, 5, 2)] {
        assert_eq!(own(covered), confined(covered));
    }
    assert_eq!(own(device(0, 5, 0)), Err(Refusal::NoUnit));
    for kept in [device(0, 4, 0), device(2, 0, 0)] {
        assert_eq!(own(kept), Err(Refusal::ReservedMemory { base: 0x7000_0000 }));
    }
    // Behind a bridge that sends for it as 01:00.0: that is what messages carry.
    let alias = RequesterId::new(1, 0, 0);
    assert_eq!(cover(&firmware, device(1, 5, 0), alias), Ok(Cover { unit: 0, sender: alias }));
    // What it is seen as has memory kept for it.
    let kept = RequesterId::new(0, 4, 0);
    assert!(matches!(cover(&firmware, device(0, 3, 0), kept), Err(Refusal::ReservedMemory { .. })));
    let line = firmware.unit_of_io_apic(2, &Tree);
    assert_eq!(line, Some(Cover { unit: 0, sender: RequesterId::new(0, 0x1f, 0) }));
    assert_eq!(firmware.unit_of_io_apic(3, &Tree), None);
    assert!(firmware.registers().eq([(0xfed9_0000, 4096)]));
}

/// IVHD of type 11h: the unit is 00:00.2; the entries follow.
fn ivhd(entries: &[&[u8]]) -> Vec<u8> {
    let entries = entries.concat();
    let mut block = vec![0x11, 0];
    block.extend(u16::try_from(40 + entries.len()).unwrap().to_le_bytes());
    block.extend([2, 0, 0x40, 0]);
    block.extend(0xfed8_0000u64.to_le_bytes());
    block.resize(40, 0);
    block.extend(entries);
    block
}

/// IVMD of type 21h, for one function.
fn ivmd(function: u8, base: u64) -> Vec<u8> {
    let mut block = vec![0x21, 8, 32, 0, function, 0];
    block.resize(16, 0);
    block.extend(base.to_le_bytes());
    block.extend(0x1000u64.to_le_bytes());
    block
}

#[test]
fn ivrs_covers_by_entry_and_refuses_the_rest() {
    let blocks = ivhd(&[
        &[2, 0x02, 0, 0],
        &[2, 0x18, 0, 0],
        &[2, 0x20, 0, 0],
        &[2, 0x28, 0, 0x40],
        // 00:06.0 shows as 00:07.0.
        &[0x42, 0x30, 0, 0, 0, 0x38, 0, 0],
        // Everything on bus 1.
        &[3, 0, 1, 0, 4, 0xff, 1, 0],
        // I/O APIC 9 sends as 00:14.0.
        &[0x48, 0, 0, 0, 9, 0xa0, 0, 1],
    ]);
    let bytes = table(b"IVRS", [0x40, 0x28, 0, 0], &[blocks, ivmd(0x20, 0x6000_0000)]);
    let firmware = Firmware::Ivrs(Ivrs::parse(&bytes).unwrap());
    let own = |function: PciAddress| cover(&firmware, function, function.id);
    assert_eq!(own(device(0, 3, 0)), Ok(Cover { unit: 0, sender: RequesterId::new(0, 3, 0) }));
    assert_eq!(own(device(0, 6, 0)), Ok(Cover { unit: 0, sender: RequesterId::new(0, 7, 0) }));
    assert_eq!(own(device(0, 0, 2)), Err(Refusal::IsUnit));
    assert_eq!(own(device(0, 4, 0)), Err(Refusal::ReservedMemory { base: 0x6000_0000 }));
    assert_eq!(own(device(0, 5, 0)), Err(Refusal::PlatformMessages));
    assert_eq!(own(device(2, 0, 0)), Err(Refusal::NoUnit));
    // Firmware states no alias, a bridge has one all the same.
    let alias = RequesterId::new(1, 0, 0);
    assert_eq!(cover(&firmware, device(1, 3, 0), alias), Ok(Cover { unit: 0, sender: alias }));
    let line = firmware.unit_of_io_apic(9, &Tree);
    assert_eq!(line, Some(Cover { unit: 0, sender: RequesterId::new(0, 0x14, 0) }));
    assert!(firmware.registers().eq([(0xfed8_0000, 0x4000)]));
}
