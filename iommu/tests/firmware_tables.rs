//! Tables of real machines, and the fuzzers' targets without a fuzzer.
//!
//! The tables in `fuzz/seeds` are dumps that their owners have published: DMAR of an Intel reference board, of a Lenovo
//! and of an LG computer (listings of `iasl`), IVRS of a board with an AMD 890FX (posted to a mailing list).

use proptest::prelude::*;
use weir_iommu::acpi::ivrs::Ivrs;
use weir_iommu::acpi::{Dmar, PciAddress, ScopeKind, Topology};
use weir_iommu::address::RequesterId;

#[path = "../fuzz/targets.rs"]
mod targets;

const INTEL: &[u8] = include_bytes!("../fuzz/seeds/dmar/intel-skl");
const LENOVO: &[u8] = include_bytes!("../fuzz/seeds/dmar/lenovo-cb01");
const LG: &[u8] = include_bytes!("../fuzz/seeds/dmar/lge-lgpc");
const AMD: &[u8] = include_bytes!("../fuzz/seeds/ivrs/amd-rd890s");

/// Nothing but root buses.
struct Flat;

impl Topology for Flat {
    fn secondary_bus(&self, _: PciAddress) -> Option<u8> {
        None
    }

    fn parent_bridge(&self, _: u16, _: u8) -> Option<RequesterId> {
        None
    }
}

fn function(bus: u8, device: u8, function: u8) -> PciAddress {
    PciAddress { segment: 0, id: RequesterId::new(bus, device, function) }
}

/// All three: a unit for the graphics device, and one for all the rest.
#[test]
fn graphics_has_a_unit_of_its_own() {
    for table in [INTEL, LENOVO, LG] {
        let dmar = Dmar::parse(table).unwrap();
        assert_eq!(dmar.host_address_bits(), 39);
        assert!(dmar.flags().has_interrupt_remapping());
        let bases: Vec<_> = dmar.units().map(|unit| (unit.base, unit.includes_all)).collect();
        assert_eq!(bases, [(0xfed9_0000, false), (0xfed9_1000, true)]);
        let index = |function| dmar.unit_of(function, &Flat).map(|unit| unit.index);
        assert_eq!(index(function(0, 2, 0)), Some(0));
        assert_eq!(index(function(0, 0x1f, 6)), Some(1));
        assert_eq!(index(PciAddress { segment: 1, ..function(0, 2, 0) }), None);
    }
}

#[test]
fn interrupt_sources_of_intels_board_have_their_ids() {
    let dmar = Dmar::parse(INTEL).unwrap();
    let source = |found: Option<(weir_iommu::acpi::UnitDescription<'_>, RequesterId)>| {
        found.map(|(unit, id)| (unit.index, id))
    };
    assert_eq!(source(dmar.unit_of_io_apic(2, &Flat)), Some((1, RequesterId::new(0xf0, 0x1f, 0))));
    assert_eq!(source(dmar.unit_of_hpet(0, &Flat)), Some((1, RequesterId::new(0, 0x1f, 0))));
    assert_eq!(source(dmar.unit_of_io_apic(0, &Flat)), None);
    let names: Vec<_> = dmar.namespace_devices().collect();
    assert_eq!(names.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [1, 2]);
    assert!(names[1].1.starts_with(b"\\_SB.PCI0.I2C1"));
    let kinds: Vec<_> = dmar.units().nth(1).unwrap().devices.iter().map(|scope| scope.kind).collect();
    assert_eq!(kinds[..2], [ScopeKind::IoApic, ScopeKind::Hpet]);
    assert_eq!(dmar.reserved_regions().count(), 0);
}

/// USB controller and graphics keep memory: neither can be granted.
#[test]
fn memory_that_firmware_keeps_is_found() {
    let ranges = |table, function| {
        let dmar = Dmar::parse(table).unwrap();
        dmar.reserved_regions_of(function, &Flat).filter_map(|region| region.range()).collect::<Vec<_>>()
    };
    assert_eq!(ranges(LENOVO, function(0, 2, 0)), [(0x7c00_0000, 0x0440_0000)]);
    assert_eq!(ranges(LG, function(0, 2, 0)), [(0x7900_0000, 0x0280_0000)]);
    assert_eq!(ranges(LG, function(0, 0x14, 0)), [(0x6f8a_5000, 0x2_0000)]);
    assert_eq!(ranges(LENOVO, function(0, 0x14, 0)), []);
}

#[test]
fn amds_board_is_covered_by_one_unit() {
    let ivrs = Ivrs::parse(AMD).unwrap();
    assert_eq!((ivrs.host_address_bits(), ivrs.units().count()), (52, 1));
    let unit = ivrs.units().next().unwrap();
    assert_eq!((unit.base, unit.function, unit.segment), (0xfec3_0000, RequesterId(2), 0));
    let sends_as = |function| ivrs.sender(function).map(|sender| sender.id);
    assert_eq!(sends_as(function(0, 2, 0)), Some(RequesterId::new(0, 2, 0)));
    assert_eq!(sends_as(function(5, 0, 3)), Some(RequesterId::new(5, 0, 3)));
    // Behind the PCI bridge: with the bridge's id.
    assert_eq!(sends_as(function(6, 3, 0)), Some(RequesterId::new(0, 0x14, 4)));
    assert_eq!(sends_as(function(9, 0, 0)), None, "nobody describes it");
    assert_eq!(ivrs.unit_of_io_apic(8).map(|(_, id)| id), Some(RequesterId::new(0, 0, 1)));
    assert_eq!(ivrs.unit_of_hpet(0).map(|(_, id)| id), Some(RequesterId::new(0, 0x14, 0)));
    assert_eq!(ivrs.reserved_memory().count(), 0);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: if cfg!(miri) { 10 } else { 2000 }, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        targets::dmar(&bytes);
        targets::ivrs(&bytes);
    }

    #[test]
    fn real_tables_with_wrong_bytes_are_survived(
        table in prop::sample::select(vec![INTEL, LENOVO, LG, AMD]),
        hits in prop::collection::vec((48usize..192, any::<u8>()), 1..6),
    ) {
        let mut bytes = table.to_vec();
        let end = bytes.len();
        hits.iter().for_each(|(at, value)| bytes[48 + (at - 48) % (end - 48)] = *value);
        targets::dmar(&bytes[48..]);
        targets::ivrs(&bytes[48..]);
    }
}
