use std::cell::Cell;
use std::ops::Range;

use pci_types::PciAddress;

use super::fake::{Fake, Machine, at};
use crate::frames::PhysAddr;
use crate::pci::config::ConfigSpace;
use crate::pci::{Inventory, PciError};

const PORT: (u8, u8, u8) = (0, 1, 0);

fn port() -> PciAddress {
    at(PORT.0, PORT.1, PORT.2)
}

/// Windows: 2 MiB of memory at fe00_0000, 1 GiB of prefetchable memory at 80_0000_0000.
fn with_windows(port: Fake) -> Fake {
    port.with(0x20, 0xfe10_fe00, 0).with(0x24, 0x3ff1_0001, 0).with(0x28, 0x80, 0).with(0x2c, 0x80, 0)
}

/// A machine with an empty port, and something on the root bus.
fn machine() -> (Machine, Inventory) {
    let machine = Machine::new([
        (port(), with_windows(Fake::root_port(1, 1))),
        (at(0, 2, 0), Fake::root_port(2, 2)),
        (at(2, 0, 0), Fake::e1000e(0xfd00_0000)),
    ]);
    let mut inventory = machine.enumerate();
    inventory.reserve(8).unwrap();
    (machine, inventory)
}

fn plug(machine: &Machine, inventory: &mut Inventory) -> Result<usize, PciError> {
    inventory.plug(machine, port(), &[])
}

/// The addresses of a function's memory BARs.
fn addresses(inventory: &Inventory, address: PciAddress) -> Vec<u64> {
    let function = &inventory.functions()[inventory.find(address).unwrap()];
    function.bars.iter().flatten().filter_map(|bar| Some(bar.memory()?.start.0)).collect()
}

#[test]
fn what_comes_is_quiet_and_has_addresses_in_the_windows() {
    let (machine, mut inventory) = machine();
    // As it comes: no addresses, nothing on, apart from what it should not have on.
    machine.insert(at(1, 0, 0), Fake::virtio(0).with(0x04, 0x0010_0007, 0x547));
    assert_eq!(plug(&machine, &mut inventory), Ok(1));
    let function = inventory.functions()[inventory.find(at(1, 0, 0)).unwrap()];
    assert_eq!(function.parent, inventory.find(port()));
    assert!(!function.is_malformed && !function.read_bus_master(&machine));
    assert_eq!(machine.value(at(1, 0, 0), 4) & 6, 0, "it decodes nothing until it is granted");
    assert_eq!(addresses(&inventory, at(1, 0, 0)), [0xfe00_0000, 0x80_0000_0000]);
    assert_eq!(machine.value(at(1, 0, 0), 0x14), 0xfe00_0000);
    assert_eq!((machine.value(at(1, 0, 0), 0x20) & !0xf, machine.value(at(1, 0, 0), 0x24)), (0, 0x80));
    // Its owner gets pages of it, and its group is its own.
    let index = inventory.find(at(1, 0, 0)).unwrap();
    assert!(inventory.mappable(index, 4, 0, 0x4000, &[]).is_ok());
    assert_eq!(inventory.group(index), index);
    assert!(inventory.has_reset(index));
}

#[test]
fn what_is_taken_or_reserved_is_left_free() {
    let (machine, mut inventory) = machine();
    machine.insert(at(1, 0, 0), Fake::virtio(0));
    let reserved: Range<PhysAddr> = PhysAddr(0xfe00_0800)..PhysAddr(0xfe00_1001);
    assert_eq!(inventory.plug(&machine, port(), &[reserved]), Ok(1));
    assert_eq!(addresses(&inventory, at(1, 0, 0))[0], 0xfe00_2000);
}

#[test]
fn small_registers_have_pages_of_their_own() {
    let (machine, mut inventory) = machine();
    let fake =
        Fake::endpoint(0x1234, 2, 0x02_00_00).memory(0, 0x100, 0).memory(1, 0x10, 0).memory(2, 0x2000, 0);
    machine.insert(at(1, 0, 0), fake.express(0, true));
    assert_eq!(plug(&machine, &mut inventory), Ok(1));
    assert_eq!(addresses(&inventory, at(1, 0, 0)), [0xfe00_2000, 0xfe00_3000, 0xfe00_0000]);
    let index = inventory.find(at(1, 0, 0)).unwrap();
    assert!((0..3).all(|bar| inventory.mappable(index, bar, 0, 0x1000, &[]).is_ok()));
}

#[test]
fn without_room_nothing_is_listed() {
    let too_large = || Fake::endpoint(0x1234, 2, 0x02_00_00).memory(0, 0x40_0000, 0);
    let (machine, mut inventory) = machine();
    machine.insert(at(1, 0, 0), Fake::virtio(0).multi_function());
    machine.insert(at(1, 0, 3), too_large());
    assert_eq!(plug(&machine, &mut inventory), Err(PciError::NoRoom));
    assert_eq!(inventory.functions().len(), 3);
    // 64-bit memory that is not prefetchable must lie below 4 GiB, and a closed window has no room.
    for (memory, prefetchable) in [(0x0000_fff0, 0x3ff1_0001), (0xfff0_0000, 0x0000_fff0)] {
        let closed = Fake::root_port(1, 1).with(0x20, memory, 0).with(0x24, prefetchable, 0);
        let machine = Machine::new([(port(), closed)]);
        let mut inventory = machine.enumerate();
        inventory.reserve(8).unwrap();
        machine.insert(at(1, 0, 0), Fake::e1000e(0));
        let result = plug(&machine, &mut inventory);
        assert_eq!(result, Err(PciError::NoRoom), "{memory:#x} {prefetchable:#x}");
        assert_eq!(inventory.functions().len(), 1);
    }
}

#[test]
fn functions_are_listed_together_and_no_more_than_fit() {
    let (machine, mut inventory) = machine();
    for number in [0, 2, 7] {
        machine.insert(at(1, 0, number), Fake::virtio(0).multi_function());
    }
    assert_eq!(plug(&machine, &mut inventory), Ok(3));
    let places: Vec<_> = inventory.behind(port()).collect();
    assert_eq!(places, [at(1, 0, 0), at(1, 0, 2), at(1, 0, 7)]);
    assert_eq!(plug(&machine, &mut inventory), Err(PciError::NotPresent), "something is there already");
    // Nothing was reserved: a full list does not grow.
    let mut full = Machine::new([(port(), with_windows(Fake::root_port(1, 1)))]).enumerate();
    (0..8).for_each(|number| machine.insert(at(1, 0, number), Fake::virtio(0).multi_function()));
    assert!(matches!(full.plug(&machine, port(), &[]), Err(PciError::TooManyFunctions { .. })));
    assert_eq!(full.functions().len(), 1);
}

#[test]
fn what_leaves_takes_nobody_along() {
    let bridge = || Fake::bridge(1, 4).express(4, false);
    let machine = Machine::new([
        (port(), bridge()),
        (at(1, 0, 0), Fake::upstream_port(2, 4)),
        (at(2, 0, 0), Fake::downstream_port(3, 3)),
        (at(2, 1, 0), Fake::downstream_port(4, 4)),
        (at(3, 0, 0), Fake::virtio(0xfe00_0000)),
        (at(4, 0, 0), Fake::e1000e(0xfe10_0000)),
        (at(0, 2, 0), Fake::root_port(5, 6)),
        (at(5, 0, 0), Fake::upstream_port(6, 6)),
        (at(6, 0, 0), Fake::igb(0xfd00_0000)),
    ]);
    let mut inventory = machine.enumerate();
    assert_eq!(inventory.behind(port()).count(), 5);
    inventory.unplug(port());
    let left: Vec<_> = inventory.functions().iter().map(|function| function.address).collect();
    assert_eq!(left, [port(), at(0, 2, 0), at(5, 0, 0), at(6, 0, 0)]);
    assert_eq!(inventory.functions()[3].parent, Some(2));
    inventory.unplug(port());
    inventory.unplug(at(9, 9, 1));
    assert_eq!(inventory.functions().len(), 4);
}

#[test]
fn what_comes_with_a_bad_description_is_listed_but_never_used() {
    let (machine, mut inventory) = machine();
    // A capability that leads to itself, and an MSI-X table outside of every register.
    let looping = Fake::endpoint(0x1234, 2, 0x02_00_00).memory(0, 0x1000, 0).msix(8, 5, 5);
    machine.insert(at(1, 0, 0), looping.with(0x34, 0x40, 0));
    machine.change(at(1, 0, 0), |fake| fake.set(0x40, 0x8007_4011, 0));
    assert_eq!(plug(&machine, &mut inventory), Ok(1));
    let index = inventory.find(at(1, 0, 0)).unwrap();
    let function = inventory.functions()[index];
    assert!(function.is_malformed && !inventory.has_reset(index));
    assert_eq!(function.set_memory_decode(&machine, true), Err(PciError::Malformed));
    assert_eq!(inventory.mappable(index, 0, 0, 0x1000, &[]), Err(PciError::Malformed));
}

/// Registers that tell their size, but take no address.
struct Stubborn(Machine);

impl ConfigSpace for Stubborn {
    fn read(&self, address: PciAddress, offset: u16) -> u32 {
        self.0.read(address, offset)
    }

    fn write(&self, address: PciAddress, offset: u16, value: u32) {
        if offset != 0x10 || matches!(value, 0 | u32::MAX) {
            self.0.write(address, offset, value);
        }
    }

    fn write_half(&self, address: PciAddress, offset: u16, value: u16) {
        self.0.write_half(address, offset, value);
    }
}

#[test]
fn a_register_that_does_not_take_its_address_ends_it() {
    let (machine, mut inventory) = machine();
    machine.insert(at(1, 0, 0), Fake::edu(0));
    assert_eq!(inventory.plug(&Stubborn(machine), port(), &[]), Err(PciError::Malformed));
    assert_eq!(inventory.functions().len(), 3);
}

#[test]
fn prefetchable_memory_of_32_bits_lies_below_4_gib() {
    let (machine, mut inventory) = machine();
    machine.insert(at(1, 0, 0), Fake::endpoint(0x1234, 2, 0).with(0x10, 8, 0xffff_0000));
    assert_eq!(plug(&machine, &mut inventory), Ok(1));
    assert_eq!(addresses(&inventory, at(1, 0, 0)), [0xfe00_0000]);
}

#[test]
fn a_bridge_that_comes_has_nothing_behind_it() {
    let (machine, mut inventory) = machine();
    machine.insert(at(1, 0, 0), Fake::pcie_pci_bridge(0, 0));
    assert_eq!(plug(&machine, &mut inventory), Ok(1));
    assert_eq!(inventory.plug(&machine, at(1, 0, 0), &[]), Err(PciError::NotPresent));
    assert_eq!(inventory.plug(&machine, at(2, 0, 0), &[]), Err(PciError::NotPresent), "no bridge");
}

#[test]
fn behind_a_port_without_access_control_it_joins_the_group_of_the_port() {
    let machine = Machine::new([(port(), with_windows(Fake::bridge(1, 1).express(4, false)))]);
    let mut inventory = machine.enumerate();
    inventory.reserve(8).unwrap();
    machine.insert(at(1, 0, 0), Fake::virtio(0).multi_function());
    machine.insert(at(1, 0, 1), Fake::virtio(0));
    assert_eq!(plug(&machine, &mut inventory), Ok(2));
    let groups: Vec<_> = (0..3).map(|index| inventory.group(index)).collect();
    assert_eq!(groups, [0, 0, 0]);
}

/// A configuration space that does not exist any more after some reads.
struct Vanishing<'a> {
    machine: &'a Machine,
    reads_left: Cell<u32>,
    keeps: PciAddress,
}

impl ConfigSpace for Vanishing<'_> {
    fn read(&self, address: PciAddress, offset: u16) -> u32 {
        if address == self.keeps {
            return self.machine.read(address, offset);
        }
        let left = self.reads_left.get();
        self.reads_left.set(left.saturating_sub(1));
        if left > 0 { self.machine.read(address, offset) } else { u32::MAX }
    }

    fn write(&self, address: PciAddress, offset: u16, value: u32) {
        if address == self.keeps || self.reads_left.get() > 0 {
            self.machine.write(address, offset, value);
        }
    }

    fn write_half(&self, address: PciAddress, offset: u16, value: u16) {
        if address == self.keeps || self.reads_left.get() > 0 {
            self.machine.write_half(address, offset, value);
        }
    }
}

#[test]
fn a_device_that_vanishes_while_it_is_looked_at_is_not_listed() {
    // The second has no registers whose address would be read back.
    for fake in [Fake::igb(0), Fake::endpoint(0x1234, 2, 0).express(0, true)] {
        let plug_after = |reads: u32| {
            let (machine, mut inventory) = machine();
            machine.insert(at(1, 0, 0), fake.clone().multi_function());
            machine.insert(at(1, 0, 1), fake.clone());
            let space = Vanishing { machine: &machine, reads_left: reads.into(), keeps: port() };
            let result = inventory.plug(&space, port(), &[]);
            let arrived = &inventory.functions()[3..];
            assert_eq!(arrived.len(), result.unwrap_or(0));
            assert!(arrived.is_empty() || arrived.len() == 2, "half of it");
            assert!(arrived.iter().all(|function| function.capabilities.express.is_some()));
            result.is_ok()
        };
        let needed = (0..2000).find(|reads| plug_after(*reads)).expect("it can be listed");
        assert!(needed > 20, "{needed}");
        // The last thing that is asked is whether all are still there.
        assert!((needed..needed + 50).all(plug_after));
    }
}
