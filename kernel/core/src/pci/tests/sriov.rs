//! Virtual functions: coming, going, and physical functions that describe them wrongly.

use pci_types::PciAddress;
use proptest::prelude::*;

use super::fake::{Fake, Machine, at};
use super::resets::SETTLE_US;
use crate::frames::PhysAddr;
use crate::pci::{Inventory, PciError, Progress, VirtualOf};

/// Offset of the capability in the physical function, and of ARI forwarding in the port.
const SRIOV: u16 = 0x108;
const FORWARDING: u16 = 0x40 + 0x28;

fn physical() -> PciAddress {
    at(1, 0, 0)
}

/// Where virtual function `number` is.
fn place(number: u8) -> PciAddress {
    at(1, 16 + number / 4, number % 4 * 2)
}

/// A port with windows as the hot-plug tests have, the physical function, its virtual functions, which nobody sees yet.
fn machine_with(port: Fake, physical_function: Fake) -> (Machine, Inventory) {
    let port =
        port.with(0x20, 0xfe10_fe00, 0).with(0x24, 0x3ff1_0001, 0).with(0x28, 0x80, 0).with(0x2c, 0x80, 0);
    let machine = Machine::new([(at(0, 1, 0), port), (physical(), physical_function)]);
    (0..8).for_each(|number| machine.insert(place(number), Fake::igb_virtual()));
    let mut inventory = machine.enumerate();
    assert_eq!(inventory.functions().len(), 2);
    inventory.reserve(8).unwrap();
    (machine, inventory)
}

fn machine() -> (Machine, Inventory) {
    machine_with(Fake::root_port(1, 1), Fake::igb(0xfe00_0000))
}

fn come(machine: &Machine, inventory: &mut Inventory, count: u16) -> Result<(), PciError> {
    inventory.begin_virtual(machine, physical(), count, &[])?;
    inventory.end_virtual(machine, physical());
    Ok(())
}

#[test]
fn they_come_with_places_registers_and_groups_of_their_own() {
    let (machine, mut inventory) = machine();
    assert_eq!(inventory.begin_virtual(&machine, physical(), 3, &[]), Ok(()));
    assert_eq!(machine.value(physical(), SRIOV + 0x10), 3);
    assert_eq!(machine.value(physical(), SRIOV + 8), 0x19, "enabled, decoding, found by ARI");
    assert_eq!(machine.value(at(0, 1, 0), FORWARDING), 0x20, "and the port forwards so");
    assert!(inventory.virtual_of(physical()).all(|function| function.is_malformed), "nobody has looked yet");
    inventory.end_virtual(&machine, physical());
    for number in 0..3 {
        let index = inventory.find(place(number)).unwrap();
        let function = inventory.functions()[index];
        assert_eq!((function.vendor, function.device, function.subsystem), (0x8086, 0x10ca, 0x1101));
        assert_eq!(function.virtual_of, Some(VirtualOf { physical: physical(), number: number.into() }));
        assert!(!function.is_malformed && !function.read_bus_master(&machine));
        assert_eq!((function.interrupts(), inventory.has_reset(index)), (3, true));
        assert_eq!(inventory.group(index), index, "its own group");
        assert_eq!(inventory.requester(index), place(number));
        let start = |bar| inventory.mappable(index, bar, 0, 0x4000, &[]).map(|pages| pages.start.0);
        assert_eq!(start(0), Ok(0x80_0000_0000 + 0x4000 * u64::from(number)));
        assert_eq!(start(3), Err(PciError::HoldsInterruptTable));
    }
    assert_eq!(machine.value(physical(), SRIOV + 0x24), 0xc);
    assert_eq!(machine.value(physical(), SRIOV + 0x28), 0x80);
    assert_eq!(machine.value(physical(), SRIOV + 0x30), 0x1_000c, "after four times 16 KiB");
}

#[test]
fn they_are_told_by_their_class_and_reset() {
    let (machine, mut inventory) = machine();
    machine.change(place(0), |fake| fake.retries = 2);
    come(&machine, &mut inventory, 1).unwrap();
    let index = inventory.find(place(0)).unwrap();
    let function = inventory.functions()[index];
    function.set_memory_decode(&machine, true).unwrap();
    function.set_bus_master(&machine, true).unwrap();
    assert_eq!(machine.value(place(0), 4) & 6, 4, "its memory is decoded whatever its own register says");
    let mut reset = inventory.begin_reset(index, &machine, 0, SETTLE_US).unwrap();
    let mut now_us = 0;
    while let Progress::WaitUntil(us) = reset.step(&machine, now_us).unwrap() {
        now_us = us;
    }
    assert!(now_us >= 100_000 && !function.read_bus_master(&machine));
    machine.unplug(place(0));
    assert_eq!(function.set_bus_master(&machine, true), Err(PciError::Vanished));
}

#[test]
fn they_go_without_a_trace_and_come_again() {
    let (machine, mut inventory) = machine();
    for count in [8, 1, 4] {
        come(&machine, &mut inventory, count).unwrap();
        assert_eq!(inventory.virtual_of(physical()).count(), count.into());
        assert_eq!(come(&machine, &mut inventory, 1), Err(PciError::NotPresent), "there are some");
        inventory.remove_virtual(&machine, physical());
        assert_eq!(machine.value(physical(), SRIOV + 8), 0);
        assert_eq!(inventory.functions().len(), 2);
    }
    come(&machine, &mut inventory, 2).unwrap();
    inventory.unplug(at(0, 1, 0));
    assert_eq!(inventory.functions().len(), 1, "they go with their physical function");
}

#[test]
fn what_cannot_be_had_is_refused_and_leaves_none() {
    let refuses = |port: Fake, physical_function: Fake, count, error| {
        let (machine, mut inventory) = machine_with(port, physical_function);
        assert_eq!(come(&machine, &mut inventory, count), Err(error));
        assert_eq!(inventory.functions().len(), 2, "{error}");
        assert_eq!(machine.value(physical(), SRIOV + 8) & 9, 0, "{error}");
    };
    let port = || Fake::root_port(1, 1);
    let igb = || Fake::igb(0xfe00_0000);
    let register = |at: u16, value| igb().with(SRIOV + at, value, 0);
    refuses(port(), igb(), 0, PciError::OutOfRange);
    refuses(port(), igb(), 9, PciError::OutOfRange);
    refuses(port(), register(0x0c, 0x0008_0002), 3, PciError::OutOfRange);
    refuses(port(), register(0x14, 0x0002_0000), 1, PciError::Malformed); // its own place
    refuses(port(), register(0x14, 0x0000_0080), 2, PciError::Malformed); // all in one place
    refuses(port(), register(0x14, 0x0002_0100), 1, PciError::Malformed); // on the next bus
    refuses(port(), register(0x14, 0x0040_0080), 4, PciError::Malformed); // the last on the next bus
    refuses(port(), register(0x14, 0xffff_ffff), 8, PciError::Malformed);
    refuses(port(), igb().with(SRIOV + 0x24, 1, 0xffff_ff00), 1, PciError::Malformed); // ports
    refuses(port(), register(0x24, 0), 1, PciError::SharesPage); // the upper half taken for one
    refuses(port(), igb().with(SRIOV + 0x24, 0xc, 0xffff_fc00), 1, PciError::SharesPage);
    refuses(port().with(0x40 + 0x24, 0, 0), igb(), 1, PciError::Malformed); // device 16, and no ARI
    refuses(port(), igb().with(SRIOV + 0x24, 0xc, 0), 1, PciError::NoRoom); // 4 GiB
}

#[test]
fn there_is_no_place_for_them_where_another_function_is() {
    let (machine, mut inventory) = machine();
    machine.change(physical(), |fake| fake.set(SRIOV + 0x14, 0x0001_0001, 0));
    come(&machine, &mut inventory, 1).unwrap();
    inventory.remove_virtual(&machine, physical());
    machine.change(physical(), |fake| *fake = fake.clone().multi_function());
    machine.insert(at(1, 0, 3), Fake::e1000e(0xfe08_0000));
    let mut inventory = machine.enumerate();
    inventory.reserve(8).unwrap();
    machine.change(physical(), |fake| fake.set(SRIOV + 0x14, 0x0001_0001, 0));
    assert_eq!(come(&machine, &mut inventory, 2), Ok(()));
    inventory.remove_virtual(&machine, physical());
    assert_eq!(come(&machine, &mut inventory, 3), Err(PciError::Malformed));
}

#[test]
fn one_that_does_not_answer_or_lies_is_listed_and_of_no_use() {
    let (machine, mut inventory) = machine();
    machine.unplug(place(1));
    machine.insert(place(2), Fake::igb_virtual_with_table(0x8003));
    come(&machine, &mut inventory, 3).unwrap();
    let is_malformed: Vec<bool> =
        inventory.virtual_of(physical()).map(|function| function.is_malformed).collect();
    assert_eq!(is_malformed, [false, true, true]);
    let index = inventory.find(place(1)).unwrap();
    assert_eq!(inventory.mappable(index, 0, 0, 0x1000, &[]), Err(PciError::Malformed));
    assert!(!inventory.has_reset(index));
}

proptest! {
    /// Whatever the capability says: no panic, no place outside of the bus or taken twice, registers in the windows and
    /// apart, or nothing at all.
    #[test]
    fn a_lying_capability_gives_sound_functions_or_none(
        words in prop::collection::vec((0u16..16, any::<u32>(), any::<u32>()), 0..6),
        count in 0u16..12,
    ) {
        let mut lying = Fake::igb(0xfe00_0000);
        for (word, value, writable) in words {
            lying.set(SRIOV + 4 * word, value, writable);
        }
        let (machine, mut inventory) = {
            let port = Fake::root_port(1, 1).with(0x20, 0xfe10_fe00, 0);
            let machine = Machine::new([(at(0, 1, 0), port), (physical(), lying)]);
            let inventory = machine.enumerate();
            (machine, inventory)
        };
        inventory.reserve(12).unwrap();
        let before = inventory.functions().len();
        if come(&machine, &mut inventory, count).is_err() {
            prop_assert_eq!(inventory.functions().len(), before);
            return Ok(());
        }
        let listed = inventory.functions();
        prop_assert_eq!(listed.len(), before + usize::from(count));
        let mut ranges: Vec<_> = listed.iter().flat_map(|function| function.bars.iter().flatten()).collect();
        ranges.retain(|bar| bar.memory().is_some());
        ranges.sort_by_key(|bar| bar.address);
        prop_assert!(ranges.windows(2).all(|pair| pair[0].address + pair[0].bytes <= pair[1].address));
        for function in inventory.virtual_of(physical()) {
            prop_assert_eq!(listed.iter().filter(|other| other.address == function.address).count(), 1);
            prop_assert_eq!(function.address.bus(), 1);
            let window = PhysAddr(0xfe00_0000)..PhysAddr(0xfe20_0000);
            let is_inside = |bar: &crate::pci::Bar| bar.memory().is_some_and(|range| {
                window.contains(&range.start) && range.end <= window.end && range.start.0.is_multiple_of(4096)
            });
            prop_assert!(function.bars.iter().flatten().all(is_inside));
        }
    }
}
