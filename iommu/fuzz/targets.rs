//! What a fuzzer feeds; the ordinary tests feed it, too.
//!
//! **Invariant: whatever the bytes, parsing ends, does not panic, and every question about a table has an answer that
//! the table gives: a unit that is in it, memory within 64 bits.**

use weir_iommu::acpi::ivrs::Ivrs;
use weir_iommu::acpi::{Dmar, PciAddress, Topology};
use weir_iommu::address::RequesterId;

/// Buses that hang below themselves and each other, as a hostile device may say.
struct Knot;

impl Topology for Knot {
    fn secondary_bus(&self, bridge: PciAddress) -> Option<u8> {
        (bridge.id.device_function() & 8 != 0).then_some(bridge.id.bus() ^ 1)
    }

    fn parent_bridge(&self, _: u16, bus: u8) -> Option<RequesterId> {
        (bus != 0).then_some(RequesterId::new(bus ^ 1, 1, 0))
    }
}

fn functions() -> impl Iterator<Item = PciAddress> {
    let ids = [0x0000, 0x0010, 0x0018, 0x00a0, 0x0100, 0x0300, 0xf0f8, 0xffff].map(RequesterId);
    ids.into_iter().flat_map(|id| [0, 1].map(|segment| PciAddress { segment, id }))
}

/// As they are, and as the body of a table whose header is right: checksums stop a fuzzer too early.
pub(crate) fn dmar(bytes: &[u8]) {
    for table in [bytes.to_vec(), sealed(*b"DMAR", bytes)] {
        let Ok(dmar) = Dmar::parse(&table) else { continue };
        let units = dmar.units().count();
        assert!(units * 16 <= table.len());
        for function in functions() {
            assert!(dmar.unit_of(function, &Knot).is_none_or(|unit| unit.index < units));
            for region in dmar.reserved_regions_of(function, &Knot) {
                assert!(region.range().is_none_or(|(start, bytes)| start.checked_add(bytes - 1).is_some()));
            }
        }
        for number in [0, 1, 2, 255] {
            assert!(dmar.unit_of_io_apic(number, &Knot).is_none_or(|(unit, _)| unit.index < units));
            assert!(dmar.unit_of_hpet(number, &Knot).is_none_or(|(unit, _)| unit.index < units));
        }
        let _ = (dmar.root_ports_with_ats().count(), dmar.integrated_ats().count());
        let _ = (dmar.proximity().count(), dmar.namespace_devices().count(), dmar.host_address_bits());
    }
}

/// See [`dmar`].
pub(crate) fn ivrs(bytes: &[u8]) {
    for table in [bytes.to_vec(), sealed(*b"IVRS", bytes)] {
        let Ok(ivrs) = Ivrs::parse(&table) else { continue };
        let units = ivrs.units().count();
        assert!(units * 24 <= table.len());
        for function in functions() {
            assert!(ivrs.sender(function).is_none_or(|sender| sender.unit.index < units));
            let _ = ivrs.reserved_memory_of(function).count();
        }
        for number in [0, 1, 8, 255] {
            assert!(ivrs.unit_of_io_apic(number).is_none_or(|(unit, _)| unit.index < units));
            assert!(ivrs.unit_of_hpet(number).is_none_or(|(unit, _)| unit.index < units));
        }
    }
}

fn sealed(signature: [u8; 4], body: &[u8]) -> Vec<u8> {
    let mut table = signature.to_vec();
    table.resize(36, 0);
    table.extend([38, 1]);
    table.resize(48, 0);
    table.extend(body);
    let length = u32::try_from(table.len()).expect("fuzzers feed little");
    table[4..8].copy_from_slice(&length.to_le_bytes());
    table[9] = table.iter().fold(0, |sum, byte| sum.wrapping_sub(*byte));
    table
}
