//! Switching on, attaching, detaching, isolation, and units Weir cannot use.

use super::memory::Memory;
use super::model::{Event, FULL, Kind, Model, OLD, Sabotage};
use super::{DEVICE, Machine, OTHER, WINDOW, kinds, setup, start};
use weir_iommu::address::{RequesterId, UnitIndex};
use weir_iommu::amdvi::{ApicMode, CapabilityHeader, Setup, Unit};
use weir_iommu::environment::TableMemory;
use weir_iommu::{Error, Wait};

const ENABLED: u64 = 1;
const SWITCHES: u64 = 0x1404;
const WAIT: u64 = 1;

/// What the unit was asked, without the waits.
fn asked(model: &Model) -> Vec<Event> {
    let is_wait = |event: &Event| matches!(event, Event::Command([low, _]) if low >> 60 == WAIT);
    model.take_events().into_iter().filter(|event| !is_wait(event)).collect()
}

#[test]
fn everybody_is_blocked_from_the_start() {
    for kind in kinds().chain([OLD]) {
        let mut machine = Machine::new(kind);
        assert!(machine.model.dma(DEVICE.0, 0x1000, true).is_some(), "before, the unit is off");
        machine.unit.enable_translation().unwrap();
        for requester in [0, DEVICE.0, 0x8000, 0xffff] {
            assert_eq!(machine.model.dma(requester, 0x1000, true), None);
        }
        assert_eq!(machine.unit.enable_translation(), Err(Error::AlreadyEnabled));
    }
}

/// Bases, switches, translation last, then everything is forgotten (48882 2.3.1).
#[test]
fn enable_order_is_the_specifications() {
    let mut machine = Machine::new(FULL);
    machine.unit.enable_interrupt_remapping(ApicMode::X2Apic).unwrap();
    assert_eq!(asked(&machine.model), [Event::Control(0)], "taking over");
    machine.unit.enable_translation().unwrap();
    let entries = 1 << 17 | 1 << 50;
    let expected = [Event::Control(SWITCHES | entries), Event::Control(SWITCHES | entries | ENABLED)];
    let asked = asked(&machine.model);
    assert_eq!(asked[..2], expected);
    let entries = (0..=0xffff).map(|id| Event::Command([2 << 60 | id, 0]));
    assert!(asked[2..].iter().copied().eq(entries.chain([Event::Command([8 << 60, 0])])));
}

#[test]
fn units_without_forget_all_are_told_of_each_id() {
    let mut machine = Machine::new(OLD);
    machine.unit.enable_translation().unwrap();
    let commands: Vec<u64> = machine
        .model
        .take_events()
        .into_iter()
        .filter_map(|event| if let Event::Command([low, _]) = event { Some(low) } else { None })
        .collect();
    for code in [2, 3, 5] {
        assert_eq!(commands.iter().filter(|low| **low >> 60 == code).count(), 65536);
    }
    assert!(commands.len() < 3 * 65536 + 2000, "requests share waits");
}

#[test]
fn only_the_requester_attached_reaches_the_domain() {
    for kind in kinds() {
        let (mut machine, mut domain) = Machine::with_device(kind);
        machine.map(&mut domain, WINDOW, 0x8000_0000, 0x1000);
        let neighbour = RequesterId(DEVICE.0 + 1);
        let lands = |machine: &Machine, id: RequesterId| machine.model.dma(id.0, WINDOW, true).is_some();
        assert!(lands(&machine, DEVICE) && !lands(&machine, neighbour) && !lands(&machine, OTHER));
        machine.unit.attach(OTHER, &mut domain).unwrap();
        assert!(lands(&machine, OTHER) && !lands(&machine, neighbour), "{kind:x?}");
        machine.unit.detach(DEVICE, &mut domain).unwrap();
        assert!(!lands(&machine, DEVICE) && lands(&machine, OTHER));
        let mut second = machine.domain();
        machine.unit.attach(DEVICE, &mut second).unwrap();
        assert!(!lands(&machine, DEVICE), "the new domain is another one");
    }
}

#[test]
fn a_requester_is_in_one_domain_at_a_time() {
    let (mut machine, mut domain) = Machine::with_device(FULL);
    let mut second = machine.domain();
    let refused = Err(Error::AlreadyAttached { requester: DEVICE });
    assert_eq!(machine.unit.attach(DEVICE, &mut second), refused);
    assert_eq!(machine.unit.attach(DEVICE, &mut domain), refused);
    assert_eq!(machine.unit.detach(DEVICE, &mut second), Err(Error::NotAttached { requester: DEVICE }));
    assert_eq!(machine.unit.detach(OTHER, &mut domain), Err(Error::NotAttached { requester: OTHER }));
    assert!(domain.is_attached() && !second.is_attached());
    machine.unit.detach(DEVICE, &mut domain).unwrap();
    assert!(!domain.is_attached());
}

#[test]
fn a_domain_for_other_units_is_refused() {
    let mut machine = Machine::new(Kind { is_coherent: false, ..FULL });
    machine.unit.enable_translation().unwrap();
    let mut foreign = Machine::new(FULL).domain();
    assert_eq!(machine.unit.attach(DEVICE, &mut foreign), Err(Error::IncompatibleDomain));
    assert!(!foreign.is_attached());
}

#[test]
fn attached_before_translation_is_on() {
    for kind in kinds() {
        let mut machine = Machine::new(kind);
        let mut domain = machine.domain();
        machine.unit.attach(DEVICE, &mut domain).unwrap();
        machine.map(&mut domain, WINDOW, 0x8000_0000, 0x1000);
        machine.unit.attach(OTHER, &mut domain).unwrap();
        machine.unit.detach(OTHER, &mut domain).unwrap();
        machine.unit.enable_translation().unwrap();
        assert_eq!(machine.model.dma(DEVICE.0, WINDOW, true), Some(0x8000_0000));
        assert_eq!(machine.model.dma(OTHER.0, WINDOW, true), None);
    }
}

/// The device entry, then all pages of its domain, each confirmed.
#[test]
fn detach_order_is_the_specifications() {
    let (mut machine, mut domain) = Machine::with_device(FULL);
    machine.model.take_events();
    machine.unit.detach(DEVICE, &mut domain).unwrap();
    let events = machine.model.take_events();
    let is_wait = |event: &Event| matches!(event, Event::Command([low, _]) if low >> 60 == WAIT);
    assert_eq!(events.len(), 4);
    assert_eq!(events[0], Event::Command([0x2000_0000_0000_0018, 0]));
    assert_eq!(events[2], Event::Command([0x3000_0001_0000_0000, 0x7fff_ffff_ffff_f003]));
    assert!(is_wait(&events[1]) && is_wait(&events[3]));
}

#[test]
fn a_unit_that_remembers_absence_is_told_of_a_new_domain() {
    for caches_not_present in [false, true] {
        let mut machine = Machine::new(Kind { caches_not_present, ..FULL });
        machine.unit.enable_translation().unwrap();
        machine.model.take_events();
        let mut domain = machine.domain();
        machine.unit.attach(DEVICE, &mut domain).unwrap();
        let entry = Event::Command([0x2000_0000_0000_0018, 0]);
        let pages = Event::Command([0x3000_0001_0000_0000, 0x7fff_ffff_ffff_f003]);
        assert_eq!(asked(&machine.model), if caches_not_present { vec![entry, pages] } else { vec![entry] });
    }
}

#[test]
fn the_command_buffer_wraps() {
    let (mut machine, mut domain) = Machine::with_device(FULL);
    for round in 0..700 {
        machine.map(&mut domain, WINDOW, 0x8000_0000, 0x1000);
        assert!(machine.model.dma(DEVICE.0, WINDOW, true).is_some());
        machine.unmap(&mut domain, WINDOW, 0x1000);
        assert_eq!(machine.model.dma(DEVICE.0, WINDOW, true), None, "round {round}");
        machine.unit.drain_faults(|_| {});
    }
}

#[test]
fn illegal_commands_isolate_and_are_never_success() {
    for nth in 1..=4 {
        let (mut machine, mut domain) = Machine::with_device(FULL);
        machine.map(&mut domain, WINDOW, 0x8000_0000, 0x1000);
        machine.unit.attach(OTHER, &mut domain).unwrap();
        assert!(machine.model.dma(DEVICE.0, WINDOW, true).is_some());
        machine.model.sabotage(Sabotage { illegal_at: Some(nth), ..Sabotage::default() });
        let failed = machine.unit.detach(DEVICE, &mut domain);
        assert!(matches!(failed, Err(Error::CommandError { status }) if status & 0x10 == 0), "{failed:?}");
        assert!(domain.is_attached());
        // This unit takes commands again after a new start: nothing cached is left even without help.
        assert_eq!(machine.model.dma(DEVICE.0, WINDOW, true), None);
        assert_isolated(&mut machine);
    }
}

#[test]
fn silent_units_time_out() {
    let quiet = [
        Sabotage { is_stuck: true, ..Sabotage::default() },
        Sabotage { stores_nothing: true, ..Sabotage::default() },
    ];
    for sabotage in quiet {
        let (mut machine, mut domain) = Machine::with_device(FULL);
        machine.map(&mut domain, WINDOW, 0x8000_0000, 0x1000);
        machine.unit.attach(OTHER, &mut domain).unwrap();
        machine.model.sabotage(sabotage);
        let timeout = Error::Timeout { what: Wait::Invalidated, limit_us: 100_000 };
        assert_eq!(machine.unit.detach(DEVICE, &mut domain), Err(timeout));
        assert_isolated(&mut machine);
    }
}

#[test]
fn every_switch_has_a_limit() {
    let timeout = Error::Timeout { what: Wait::CommandsSwitched, limit_us: 10_000 };
    let mut machine = Machine::new(FULL);
    machine.model.sabotage(Sabotage { commands_never_run: true, ..Sabotage::default() });
    assert_eq!(machine.unit.enable_translation(), Err(timeout));
    assert!(machine.unit.is_isolated());
    let model = Model::new(FULL);
    model.sabotage(Sabotage { commands_never_stop: true, ..Sabotage::default() });
    assert_eq!(start(&model, 0).err(), Some(timeout));
}

/// A table of firmware's that blocks everybody.
fn left_on(kind: Kind) -> Model {
    let model = Model::new(kind);
    let table = model.memory().alloc(512).unwrap();
    for id in 0..0x1_0000 {
        let at = weir_iommu::address::PhysAddr(table.0 + id * 32);
        // SAFETY: inside the frames just allocated.
        unsafe { model.memory().write64(at, 1) };
    }
    model.left_on_by_firmware(table.0);
    model
}

#[test]
fn translation_that_firmware_left_on_is_never_interrupted() {
    let mut machine = Machine::on(left_on(FULL));
    // Cached through firmware's table.
    assert_eq!(machine.model.0.borrow().control & ENABLED, ENABLED);
    machine.model.0.borrow_mut().exclusion = 0;
    assert_eq!(machine.model.dma(DEVICE.0, WINDOW, true), None);
    machine.model.0.borrow_mut().exclusion = 1;
    let mut domain = machine.domain();
    machine.unit.attach(DEVICE, &mut domain).unwrap();
    machine.map(&mut domain, WINDOW, 0x8000_0000, 0x1000);
    machine.unit.enable_translation().unwrap();
    for event in machine.model.take_events() {
        assert!(!matches!(event, Event::Control(control) if control & ENABLED == 0), "{event:x?}");
    }
    assert_eq!(machine.model.dma(DEVICE.0, WINDOW, true), Some(0x8000_0000), "what was cached is forgotten");
    assert_eq!(machine.model.dma(OTHER.0, WINDOW, true), None, "nothing is excluded any more");
}

#[test]
fn entries_of_another_size_need_translation_off_first() {
    let mut machine = Machine::on(left_on(FULL));
    machine.unit.enable_interrupt_remapping(ApicMode::XApic).unwrap();
    machine.model.take_events();
    machine.unit.enable_translation().unwrap();
    assert!(matches!(machine.model.take_events()[0], Event::Control(control) if control & ENABLED == 0));
    assert_eq!(machine.model.dma(DEVICE.0, WINDOW, true), None);
}

#[test]
fn units_that_lack_something_are_refused() {
    let new = |setup: Setup| {
        let model = Model::new(FULL);
        let index = UnitIndex::new(0).unwrap();
        Unit::<Model, Memory, Model>::new(index, model.clone(), model.memory(), model, setup).err()
    };
    let good = setup(FULL);
    assert_eq!(new(good), None);
    let other = Setup { capability: CapabilityHeader::new().with_id(0x0f).with_kind(2), ..good };
    assert_eq!(new(other), Some(Error::Unsupported), "a secure device of another kind");
    let not_secure = Setup { capability: good.capability.with_id(5), ..good };
    assert_eq!(new(not_secure), Some(Error::Unsupported));
    let no_tables = Setup { extended_features: Some(0x2dd7 | 3 << 10), ..good };
    assert_eq!(new(no_tables), Some(Error::Unsupported), "no host tables, says firmware, and it holds");
    for budget in [0, 511, 512, 513, 514] {
        let model = Model::new(FULL);
        model.memory().set_budget(budget);
        assert_eq!(start(&model, 0).err(), Some(Error::OutOfFrames));
    }
}

/// All requesters are blocked as soon as the unit walks again, and nothing is accepted any more.
fn assert_isolated(machine: &mut Machine) {
    assert!(machine.unit.is_isolated());
    let mut domain = machine.domain();
    assert_eq!(machine.unit.attach(DEVICE, &mut domain), Err(Error::Isolated));
    machine.model.0.borrow_mut().forget_everything();
    // The domain a blocked entry still names means nothing.
    for requester in [DEVICE, OTHER] {
        assert_eq!(machine.model.dma(requester.0, WINDOW, true), None);
    }
}
