use std::cell::{Cell, RefCell};

use super::fake::{Fake, Machine, at};
use crate::pci::{ConfigSpace, Function, Inventory, MsixState, PciAddress, PciError, PendingReset, Progress};
use crate::wait::tests::TestClock;
use crate::wait::{Clock, TimedOut, pause};

/// What any function may take.
pub(super) const SETTLE_US: u64 = 100_000;

/// A machine with one function; it has index 0.
fn machine(fake: Fake) -> (Inventory, Function, Machine) {
    let machine = Machine::new([(at(0, 1, 0), fake)]);
    let inventory = machine.enumerate();
    let function = inventory.functions()[0];
    (inventory, function, machine)
}

/// Performs a whole reset: looks at it when it wants to be looked at, a little late.
pub(super) fn reset(
    inventory: &Inventory,
    index: usize,
    space: &dyn ConfigSpace,
    clock: &TestClock,
) -> Result<(), PciError> {
    finish(inventory.begin_reset(index, space, clock.now_us(), SETTLE_US)?, space, clock)
}

fn finish(mut pending: PendingReset, space: &dyn ConfigSpace, clock: &TestClock) -> Result<(), PciError> {
    while let Progress::WaitUntil(us) = pending.step(space, clock.now_us())? {
        assert!(us > clock.now_us(), "a look that wants another at once");
        pause(us - clock.now_us(), clock);
    }
    Ok(())
}

fn registers(machine: &Machine) -> Vec<u32> {
    machine.snapshot().remove(&at(0, 1, 0)).unwrap()
}

#[test]
fn a_reset_function_has_its_registers_back_but_is_quiet() {
    for fake in [Fake::virtio(0xfe00_0000), Fake::igb(0xfe00_0000), Fake::nvme(5 << 40).acs(0x5c)] {
        let (inventory, function, machine) = machine(fake);
        function.set_msix(&machine, MsixState::Masked).unwrap();
        let before = registers(&machine);
        function.set_msix(&machine, MsixState::On).unwrap();
        function.set_bus_master(&machine, true).unwrap();
        let clock = TestClock::default();
        let start = clock.now_us();
        reset(&inventory, 0, &machine, &clock).unwrap();
        assert!(clock.now_us() - start >= 100_000, "the function is left alone for 100 ms");
        assert_eq!(registers(&machine), before, "as before, with MSI-X masked and no bus mastering");
    }
}

#[test]
fn a_function_that_is_known_to_be_quick_is_waited_for_no_longer() {
    for (fake, most_us) in [(Fake::virtio(0xfe00_0000), 4_000), (Fake::nvme(5 << 40), 4_000)] {
        let (inventory, function, machine) = machine(fake.with(0x3c, 0, 0xff));
        machine.write(function.address, 0x3c, 0x0b);
        let clock = TestClock::default();
        let start = clock.now_us();
        let pending = inventory.begin_reset(0, &machine, start, 3_000).unwrap();
        finish(pending, &machine, &clock).unwrap();
        let took = clock.now_us() - start;
        assert!((3_000..most_us).contains(&took), "{took}");
        assert_eq!(machine.value(function.address, 0x3c), 0, "it is reset all the same");
        // One that is not ready then is waited for.
        machine.change(function.address, |fake| fake.retries = 3);
        let pending = inventory.begin_reset(0, &machine, clock.now_us(), 3_000).unwrap();
        finish(pending, &machine, &clock).unwrap();
        assert!(clock.now_us() - start > 20_000, "retries: {}", clock.now_us() - start);
    }
}

#[test]
fn the_function_is_really_reset() {
    let (inventory, function, machine) = machine(Fake::virtio(0xfe00_0000).with(0x3c, 0, 0xff));
    machine.write(function.address, 0x3c, 0x0b);
    reset(&inventory, 0, &machine, &TestClock::default()).unwrap();
    assert_eq!(machine.value(function.address, 0x3c), 0, "a register that nobody puts back");
}

#[test]
fn conventional_functions_reset_by_advanced_features() {
    let (inventory, function, machine) = machine(Fake::edu(0xfe00_0000).advanced_features());
    assert!(function.has_flr() && inventory.has_reset(0));
    function.set_bus_master(&machine, true).unwrap();
    reset(&inventory, 0, &machine, &TestClock::default()).unwrap();
    assert_eq!(machine.value(function.address, 0x10), 0xfe00_0000);
    assert_eq!(machine.value(function.address, 4) & 0x407, 0x403);
}

#[test]
fn bridges_and_functions_without_a_reset_have_none() {
    for fake in [Fake::edu(0), Fake::e1000e(0), Fake::bridge(1, 1).express(5, true)] {
        let (inventory, function, machine) = machine(fake);
        let before = registers(&machine);
        assert!(!function.has_flr() && !inventory.has_reset(0));
        assert_eq!(reset(&inventory, 0, &machine, &TestClock::default()), Err(PciError::NotPresent));
        assert_eq!(registers(&machine), before);
    }
}

#[test]
fn a_function_alone_on_its_bus_is_reset_with_the_bus() {
    for device in [Fake::edu(0xfe00_0000), Fake::e1000e(0xfe00_0000)] {
        let machine = Machine::new([
            (at(0, 1, 0), Fake::root_port(1, 1)),
            (at(0, 2, 0), Fake::root_port(2, 2)),
            (at(1, 0, 0), device.with(0x3c, 0, 0xff)),
            (at(2, 0, 0), Fake::virtio(0xfd00_0000)),
        ]);
        let inventory = machine.enumerate();
        let index = inventory.find(at(1, 0, 0)).unwrap();
        assert!(inventory.has_reset(index) && !inventory.functions()[index].has_flr());
        let before = machine.snapshot();
        machine.write(at(1, 0, 0), 0x3c, 0x0b);
        inventory.functions()[index].set_bus_master(&machine, true).unwrap();
        reset(&inventory, index, &machine, &TestClock::default()).unwrap();
        assert_eq!(
            machine.snapshot(),
            before,
            "the line register is reset, the rest put back, others left alone"
        );
    }
}

#[test]
fn a_bus_with_two_functions_or_a_bridge_is_not_reset() {
    let with = |functions: Vec<(PciAddress, Fake)>| {
        let port = (at(0, 1, 0), Fake::pcie_pci_bridge(1, 2));
        let machine = Machine::new(core::iter::once(port).chain(functions));
        let inventory = machine.enumerate();
        let index = inventory.find(at(1, 0, 0)).unwrap();
        (reset(&inventory, index, &machine, &TestClock::default()), inventory.has_reset(usize::MAX))
    };
    let edu = || Fake::edu(0xfe00_0000);
    assert_eq!(with(vec![(at(1, 0, 0), edu())]), (Ok(()), false));
    let refused = (Err(PciError::NotPresent), false);
    assert_eq!(with(vec![(at(1, 0, 0), edu()), (at(1, 5, 0), edu())]), refused);
    assert_eq!(with(vec![(at(1, 0, 0), edu().multi_function()), (at(1, 0, 1), edu())]), refused);
    assert_eq!(with(vec![(at(1, 0, 0), edu()), (at(1, 1, 0), Fake::bridge(2, 2))]), refused);
    assert_eq!(with(vec![(at(1, 0, 0), Fake::bridge(2, 2)), (at(2, 1, 0), edu())]), refused);
    assert_eq!(with(vec![(at(1, 0, 0), edu().with(0x10, 6, !0xfff))]), refused, "malformed");
}

#[test]
fn retries_are_waited_for_but_not_for_ever() {
    let mut fake = Fake::virtio(0xfe00_0000);
    fake.retries = 50;
    let (inventory, function, machine) = machine(fake.clone());
    reset(&inventory, 0, &machine, &TestClock::default()).unwrap();
    assert_eq!(machine.value(function.address, 0x14), 0xfe00_0000);
    machine.change(function.address, |fake| fake.retries = u32::MAX);
    let timed_out = TimedOut { what: "function reset", limit_us: 1_000_000 };
    assert_eq!(reset(&inventory, 0, &machine, &TestClock::default()), Err(PciError::TimedOut(timed_out)));
}

#[test]
fn another_function_in_its_place_is_left_alone() {
    let (inventory, function, machine) = machine(Fake::virtio(0xfe00_0000));
    let clock = TestClock::default();
    let pending = inventory.begin_reset(0, &machine, clock.now_us(), SETTLE_US).unwrap();
    machine.change(function.address, |fake| *fake = Fake::edu(0));
    let before = registers(&machine);
    assert_eq!(finish(pending, &machine, &clock), Err(PciError::Vanished));
    assert_eq!(registers(&machine), before);
    machine.unplug(function.address);
    assert_eq!(reset(&inventory, 0, &machine, &clock), Err(PciError::Vanished));
}

#[test]
fn several_functions_are_reset_at_the_same_time() {
    let machine = Machine::new([
        (at(0, 1, 0), Fake::virtio(0xfe00_0000)),
        (at(0, 2, 0), Fake::root_port(1, 1)),
        (at(1, 0, 0), Fake::edu(0xfd00_0000)),
    ]);
    let inventory = machine.enumerate();
    let functions = [at(0, 1, 0), at(1, 0, 0)];
    functions.iter().for_each(|place| machine.write(*place, 0x3c, 0x0b));
    let before = functions.map(|place| inventory.functions()[inventory.find(place).unwrap()].bars);
    let index = |place| inventory.find(place).unwrap();
    let begin = |place| inventory.begin_reset(index(place), &machine, 0, SETTLE_US).unwrap();
    let mut pending = functions.map(begin);
    let mut now_us = 0;
    while !pending.each_mut().map(|one| one.step(&machine, now_us).unwrap() == Progress::Done).contains(&true)
    {
        now_us += 500;
    }
    // The second is held in reset for 2 ms more; a step of one that is done does nothing new.
    assert!((100_000..101_000).contains(&now_us), "{now_us}");
    while pending[1].step(&machine, now_us).unwrap() != Progress::Done {
        now_us += 500;
    }
    assert!((102_000..103_000).contains(&now_us), "{now_us}");
    let after = functions.map(|place| machine.enumerate().functions()[inventory.find(place).unwrap()].bars);
    assert_eq!(after, before);
}

/// Counts how often transactions are reported pending, and that nothing is reset before.
struct Pending<'a> {
    machine: &'a Machine,
    status: u16,
    bit: u32,
    reads_left: Cell<u32>,
    reset_early: Cell<bool>,
}

impl ConfigSpace for Pending<'_> {
    fn read(&self, address: PciAddress, offset: u16) -> u32 {
        let value = self.machine.read(address, offset);
        if offset != self.status || self.machine.value(address, 4) & 4 != 0 {
            return value; // still a bus master: not yet being stopped
        }
        let left = self.reads_left.get();
        self.reads_left.set(left.saturating_sub(1));
        if left > 0 { value | self.bit } else { value }
    }

    fn write(&self, address: PciAddress, offset: u16, value: u32) {
        if offset == self.status && self.reads_left.get() > 0 {
            self.reset_early.set(true);
        }
        self.machine.write(address, offset, value);
    }

    fn write_half(&self, address: PciAddress, offset: u16, value: u16) {
        self.machine.write_half(address, offset, value);
    }
}

#[test]
fn pending_transactions_are_waited_for_up_to_a_limit() {
    for (fake, register, bit) in
        [(Fake::virtio(0xfe00_0000), 8, 1 << 21), (Fake::endpoint(1234, 1, 0).advanced_features(), 4, 1 << 8)]
    {
        for (reads, is_early) in [(50, false), (u32::MAX, true)] {
            let (inventory, function, machine) = machine(fake.clone());
            function.set_bus_master(&machine, true).unwrap();
            let express = function.capabilities.express.map(|express| express.offset);
            let status = express.or(function.capabilities.advanced_features_flr).unwrap() + register;
            let space = Pending {
                machine: &machine,
                status,
                bit,
                reads_left: Cell::new(reads),
                reset_early: Cell::new(false),
            };
            reset(&inventory, 0, &space, &TestClock::default()).unwrap();
            assert_eq!(space.reset_early.get(), is_early, "{status:#x} {reads}");
        }
    }
}

/// Notes when a bridge's control register is written.
struct Pulse<'a> {
    machine: &'a Machine,
    clock: &'a TestClock,
    times: RefCell<Vec<u64>>,
}

impl ConfigSpace for Pulse<'_> {
    fn read(&self, address: PciAddress, offset: u16) -> u32 {
        self.machine.read(address, offset)
    }

    fn write(&self, address: PciAddress, offset: u16, value: u32) {
        self.machine.write(address, offset, value);
    }

    fn write_half(&self, address: PciAddress, offset: u16, value: u16) {
        if offset == 0x3e {
            self.times.borrow_mut().push(self.clock.now_us());
        }
        self.machine.write_half(address, offset, value);
    }
}

#[test]
fn a_bus_is_held_in_reset_for_a_while() {
    let machine = Machine::new([(at(0, 1, 0), Fake::root_port(1, 1)), (at(1, 0, 0), Fake::edu(0xfe00_0000))]);
    let (inventory, clock) = (machine.enumerate(), TestClock::default());
    let space = Pulse { machine: &machine, clock: &clock, times: RefCell::default() };
    reset(&inventory, 1, &space, &clock).unwrap();
    let times = space.times.into_inner();
    assert!(times.len() == 2 && times[1] - times[0] >= 1000, "PCI asks for a millisecond");
}
