use super::fake::{Fake, Machine, at};
use crate::pci::capability::PortType;
use crate::pci::enumerate::MAX_FUNCTIONS;
use crate::pci::{BusRange, ConfigSpace, Header, Inventory, PciAddress, PciError, enumerate};

fn addresses(inventory: &Inventory) -> Vec<PciAddress> {
    inventory.functions().iter().map(|function| function.address).collect()
}

fn parent(inventory: &Inventory, address: PciAddress) -> Option<PciAddress> {
    let function = &inventory.functions()[inventory.find(address).unwrap()];
    function.parent.map(|parent| inventory.functions()[parent].address)
}

/// A switch and a PCI bridge below root ports, and a second root bus.
fn large() -> Machine {
    Machine::new([
        (at(0, 0, 0), Fake::endpoint(0x8086, 0x29c0, 0x06_00_00)),
        (at(0, 4, 0), Fake::root_port(1, 4)),
        (at(1, 0, 0), Fake::upstream_port(2, 4)),
        (at(2, 0, 0), Fake::downstream_port(3, 3)),
        (at(2, 1, 0), Fake::downstream_port(4, 4)),
        (at(3, 0, 0), Fake::virtio(0xfe00_0000)),
        (at(4, 0, 0), Fake::nvme(0xfd00_0000)),
        (at(0, 5, 0), Fake::root_port(5, 6)),
        (at(5, 0, 0), Fake::pcie_pci_bridge(6, 6)),
        (at(6, 3, 0), Fake::edu(0xfc00_0000)),
        (at(64, 0, 0), Fake::root_port(65, 65)),
        (at(65, 0, 0), Fake::igb(0xfb00_0000)),
    ])
}

#[test]
fn every_function_behind_every_bridge() {
    let machine = large();
    let inventory = machine.enumerate();
    let mut found = addresses(&inventory);
    for (index, function) in inventory.functions().iter().enumerate() {
        assert!(function.parent.is_none_or(|parent| parent < index), "a bridge comes first");
    }
    found.sort();
    assert_eq!(found, machine.snapshot().into_keys().collect::<Vec<_>>());
    assert_eq!(parent(&inventory, at(0, 4, 0)), None);
    assert_eq!(parent(&inventory, at(3, 0, 0)), Some(at(2, 0, 0)));
    assert_eq!(parent(&inventory, at(2, 1, 0)), Some(at(1, 0, 0)));
    assert_eq!(parent(&inventory, at(6, 3, 0)), Some(at(5, 0, 0)));
    assert_eq!(parent(&inventory, at(64, 0, 0)), None);
    assert_eq!(parent(&inventory, at(65, 0, 0)), Some(at(64, 0, 0)));
    assert_eq!(inventory.find(at(7, 0, 0)), None);
}

#[test]
fn identity_is_read() {
    let inventory = large().enumerate();
    let virtio = inventory.functions()[inventory.find(at(3, 0, 0)).unwrap()];
    assert_eq!(
        (virtio.vendor, virtio.device, virtio.class, virtio.revision),
        (0x1af4, 0x1041, 0x02_00_00, 1)
    );
    assert_eq!((virtio.subsystem_vendor, virtio.subsystem), (0x1af4, 0x1100));
    assert_eq!(virtio.header, Header::Endpoint);
    let port = inventory.functions()[inventory.find(at(0, 4, 0)).unwrap()];
    assert_eq!(port.header, Header::Bridge { secondary: 1, subordinate: 4 });
    assert_eq!((port.subsystem_vendor, port.header.number()), (0, 1));
}

#[test]
fn endpoints_are_quiet_and_bridges_pass_transfers() {
    let machine = large();
    let inventory = machine.enumerate();
    for function in inventory.functions() {
        let command = machine.value(function.address, 4);
        assert_eq!(command & 0x403, 0x403, "{}: decodes, no INTx", function.address);
        assert_eq!(command & 4 != 0, function.is_bridge(), "{}: bus master", function.address);
        assert_eq!(function.read_bus_master(&machine), function.is_bridge());
        assert_eq!(command & 0x100, 0, "{}: reports no system errors", function.address);
        if function.is_bridge() {
            assert_eq!(machine.value(function.address, 0x3c) >> 16, 0x0400, "nor passes them on");
        }
        if let Some(express) = function.capabilities.express.filter(|it| it.port_type == PortType::RootPort) {
            assert_eq!(machine.value(function.address, express.offset + 0x1c), 0x10, "nor makes them");
        }
        assert_eq!(command >> 16 & 0x2000, 0x2000, "status is not cleared by the way");
        let rom = if function.is_bridge() { 0x38 } else { 0x30 };
        assert_eq!(machine.value(function.address, rom) & 1, 0, "{}: ROM", function.address);
        if let Some(msix) = function.capabilities.msix {
            assert_eq!(machine.value(function.address, msix.offset) >> 30, 1, "MSI-X off and masked");
        }
        if let Some(msi) = function.capabilities.msi {
            assert_eq!(machine.value(function.address, msi.offset) >> 16 & 1, 0, "MSI off");
        }
    }
    assert_eq!(machine.value(at(3, 0, 0), 0x104), 0x20, "ATS off");
    assert_eq!(machine.value(at(65, 0, 0), 0x110), 0, "no virtual functions");
    assert_eq!(machine.value(at(0, 4, 0), 0x104), 0x001f_005f, "ACS on, direct translated off");
    assert!(!machine.sized_while_decoding.get());
}

#[test]
fn a_bridge_that_did_not_master_still_does_not() {
    let machine = Machine::new([(at(0, 4, 0), Fake::root_port(1, 1).with(4, 3, 0x547))]);
    machine.enumerate();
    assert_eq!(machine.value(at(0, 4, 0), 4) & 4, 0);
}

#[test]
fn functions_of_a_device() {
    let machine = Machine::new([
        (at(0, 1, 0), Fake::edu(0).multi_function()),
        (at(0, 1, 3), Fake::edu(0)),
        (at(0, 2, 0), Fake::edu(0)),
        (at(0, 2, 1), Fake::edu(0)),
        (at(0, 3, 1), Fake::edu(0).multi_function()),
    ]);
    let inventory = machine.enumerate();
    assert_eq!(addresses(&inventory), [at(0, 1, 0), at(0, 1, 3), at(0, 2, 0)]);
    assert!(inventory.functions()[1].is_multi_function);
}

#[test]
fn a_link_has_one_device() {
    let machine = Machine::new([
        (at(0, 4, 0), Fake::root_port(1, 1)),
        (at(1, 0, 0), Fake::edu(0)),
        (at(1, 1, 0), Fake::edu(0)),
    ]);
    assert_eq!(addresses(&machine.enumerate()), [at(0, 4, 0), at(1, 0, 0)]);
}

#[test]
fn a_function_that_asks_for_retries_is_not_there_yet() {
    let ids = [0xffff_0001, 0xffff_ffff, 0, 0x1234_0000];
    for id in ids {
        let machine = Machine::new([(at(0, 1, 0), Fake::edu(0).with(0, id, 0))]);
        assert!(machine.enumerate().functions().is_empty(), "{id:#x}");
    }
}

#[test]
fn senseless_bus_numbers_lead_nowhere() {
    let child = |bus| (at(bus, 0, 0), Fake::edu(0));
    let bridges = [
        ("its own bus", Fake::bridge(0, 9)),
        ("reversed", Fake::bridge(5, 4)),
        ("unassigned", Fake::bridge(0, 0)),
    ];
    for (what, bridge) in bridges {
        let machine = Machine::new([(at(0, 1, 0), bridge)]);
        assert_eq!(addresses(&machine.enumerate()), [at(0, 1, 0)], "{what}");
    }
    // The second bridge that claims a bus does not get it, nor does one that claims beyond its own bridge's.
    let machine = Machine::new([
        (at(0, 1, 0), Fake::bridge(1, 2)),
        (at(0, 2, 0), Fake::bridge(1, 2)),
        (at(1, 1, 0), Fake::bridge(2, 3)),
        child(2),
        child(3),
    ]);
    let inventory = machine.enumerate();
    assert_eq!(addresses(&inventory), [at(0, 1, 0), at(0, 2, 0), at(1, 1, 0), at(3, 0, 0)]);
    assert_eq!(parent(&inventory, at(1, 1, 0)), Some(at(0, 1, 0)));
    assert_eq!(parent(&inventory, at(3, 0, 0)), None);
}

#[test]
fn buses_behind_a_bridge_have_higher_numbers() {
    let machine = Machine::new([
        (at(0, 1, 0), Fake::bridge(1, 8)),
        (at(1, 1, 0), Fake::bridge(5, 8)),
        (at(5, 1, 0), Fake::bridge(3, 3)),
        (at(3, 0, 0), Fake::edu(0)),
    ]);
    assert_eq!(addresses(&machine.enumerate()), [at(0, 1, 0), at(1, 1, 0), at(5, 1, 0)]);
}

#[test]
fn a_loop_of_bridges_ends() {
    let machine = Machine::new([
        (at(0, 1, 0), Fake::bridge(1, 3)),
        (at(1, 1, 0), Fake::bridge(2, 3)),
        (at(2, 1, 0), Fake::bridge(1, 3)),
        (at(2, 2, 0), Fake::bridge(2, 3)),
    ]);
    assert_eq!(machine.enumerate().functions().len(), 4);
}

#[test]
fn a_bus_in_a_bridge_range_is_no_root_bus() {
    let machine = Machine::new([(at(0, 1, 0), Fake::bridge(1, 8)), (at(5, 0, 0), Fake::edu(0))]);
    assert_eq!(addresses(&machine.enumerate()), [at(0, 1, 0)]);
}

#[test]
fn ranges_bound_what_is_reached() {
    let machine = Machine::new([
        (at(0, 1, 0), Fake::bridge(8, 8)),
        (at(8, 0, 0), Fake::edu(0)),
        (PciAddress::new(1, 3, 0, 0), Fake::edu(0)),
    ]);
    let range = |segment, first, last| BusRange { segment, first, last };
    let found = enumerate(&machine, &[range(0, 0, 7), range(1, 2, 4)]).unwrap();
    assert_eq!(addresses(&found), [at(0, 1, 0), PciAddress::new(1, 3, 0, 0)]);
    assert!(enumerate(&machine, &[]).unwrap().functions().is_empty());
    for wrong in [[range(0, 0, 9), range(0, 9, 12)], [range(1, 0, 0), range(0, 3, 2)]] {
        assert_eq!(enumerate(&machine, &wrong).unwrap_err(), PciError::BadBusRanges { segment: 0 });
    }
}

#[test]
fn a_machine_full_of_functions_is_refused() {
    /// Answers everywhere with a multi-function endpoint.
    struct Everywhere;
    impl ConfigSpace for Everywhere {
        fn read(&self, _: PciAddress, offset: u16) -> u32 {
            [0x1111_1234, 0, 0, 0x0080_0000].get(usize::from(offset / 4)).copied().unwrap_or(0)
        }
        fn write(&self, _: PciAddress, _: u16, _: u32) {}
        fn write_half(&self, _: PciAddress, _: u16, _: u16) {}
    }
    let all = [BusRange { segment: 0, first: 0, last: 255 }];
    assert_eq!(
        enumerate(&Everywhere, &all).unwrap_err(),
        PciError::TooManyFunctions { limit: MAX_FUNCTIONS }
    );
}

#[test]
fn configuration_is_read_in_three_widths() {
    let machine = large();
    let function = machine.enumerate().functions()[0];
    assert_eq!(function.read_config(&machine, 0, 4), Ok(0x29c0_8086));
    assert_eq!(function.read_config(&machine, 2, 2), Ok(0x29c0));
    assert_eq!(function.read_config(&machine, 1, 1), Ok(0x80));
    assert_eq!(function.read_config(&machine, 0xffc, 4), Ok(0));
    for (offset, width) in [(0, 0), (0, 3), (0, 8), (1, 2), (2, 4), (0x1000, 1), (0xfffc, 4)] {
        assert_eq!(function.read_config(&machine, offset, width), Err(PciError::OutOfRange));
    }
}

#[test]
fn switching_a_function_on_and_off() {
    let machine = large();
    let inventory = machine.enumerate();
    let virtio = inventory.functions()[inventory.find(at(3, 0, 0)).unwrap()];
    virtio.set_bus_master(&machine, true).unwrap();
    assert!(virtio.read_bus_master(&machine));
    virtio.set_memory_decode(&machine, false).unwrap();
    assert_eq!(machine.value(virtio.address, 4), 0x2010_0405);
    virtio.set_bus_master(&machine, false).unwrap();
    virtio.set_memory_decode(&machine, true).unwrap();
    assert_eq!(machine.value(virtio.address, 4), 0x2010_0403);
    machine.unplug(virtio.address);
    assert_eq!(virtio.set_bus_master(&machine, true), Err(PciError::Vanished));
}
