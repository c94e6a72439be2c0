//! Units as firmware leaves them, and units Weir cannot use.

use super::unit::{CAP, ECAP, Event, Model, Sabotage};
use super::{DEVICE, HOST_BITS, Kind, LEGACY, Machine, PLAIN, kinds, start};
use weir_iommu::address::UnitIndex;
use weir_iommu::environment::{Registers, TableMemory};
use weir_iommu::vtd::{ApicMode, Unit};
use weir_iommu::{Error, Mode, Wait};

const TE: u32 = 1 << 31;
const QIE: u32 = 1 << 26;

/// A unit that translates with an empty root table of firmware's, in some table mode.
fn left_on(kind: Kind, table_mode: u64) -> Model {
    let model = Model::new(kind.cap, kind.ecap);
    let root = model.memory().alloc(1).unwrap();
    let queue = model.memory().alloc(1).unwrap();
    model.left_on_by_firmware(root.0 | table_mode << 10, queue.0);
    model
}

fn table_mode(mode: Mode) -> u64 {
    if mode == Mode::VtdLegacy { 0 } else { 1 }
}

#[test]
fn translation_in_the_same_table_mode_is_never_interrupted() {
    for kind in kinds() {
        let mut machine = Machine::on(left_on(kind, table_mode(kind.mode)), kind.mode);
        machine.unit.enable_translation(kind.mode).unwrap();
        for event in machine.model.take_events() {
            assert!(!matches!(event, Event::Command(command) if command & TE == 0), "{event:x?}");
        }
        assert_eq!(machine.model.dma(DEVICE.0, 0x1000, true), None);
    }
}

#[test]
fn translation_in_another_table_mode_is_switched_off_first() {
    for kind in PLAIN {
        for foreign in (0..4).filter(|&foreign| foreign != table_mode(kind.mode)) {
            let mut machine = Machine::on(left_on(kind, foreign), kind.mode);
            machine.model.take_events();
            machine.unit.enable_translation(kind.mode).unwrap();
            assert_eq!(machine.model.take_events()[0], Event::Command(QIE));
            assert_eq!(machine.model.dma(DEVICE.0, 0x1000, true), None);
        }
    }
}

/// A unit that breaks down before its mode is chosen is isolated in the table mode it is in.
#[test]
fn isolation_never_changes_the_table_mode_under_a_unit_that_is_on() {
    for kind in PLAIN {
        for foreign in [0, table_mode(kind.mode)] {
            let mut machine = Machine::on(left_on(kind, foreign), kind.mode);
            machine.model.sabotage(Sabotage { is_stuck: true, ..Sabotage::default() });
            let failed = machine.unit.enable_interrupt_remapping(ApicMode::X2Apic);
            assert!(failed.is_err() && machine.unit.is_isolated());
            machine.model.0.borrow_mut().forget_everything();
            assert_eq!(machine.model.dma(DEVICE.0, 0x1000, true), None);
        }
    }
}

#[test]
fn a_queue_firmware_left_full_is_waited_for_with_a_bound() {
    let model = left_on(LEGACY, 0);
    model.clone().write64(0x88, 0x80);
    let limit_us = 100_000;
    model.sabotage(Sabotage { is_stuck: true, ..Sabotage::default() });
    assert_eq!(start(&model, 0).err(), Some(Error::Timeout { what: Wait::FirmwareQueueDrained, limit_us }));
}

#[test]
fn old_faults_and_queue_errors_are_forgotten() {
    let model = left_on(LEGACY, 0);
    model.dma(DEVICE.0, 0x1000, true);
    model.0.borrow_mut().fault_status |= 1 << 4 | 1;
    // Firmware's fault event, which is not masked.
    model.0.borrow_mut().fault_event[0] = 0;
    let mut machine = Machine::on(model, LEGACY.mode);
    assert_eq!(machine.model.0.borrow().fault_event[0], 1 << 31);
    machine.unit.enable_translation(LEGACY.mode).unwrap();
    assert_eq!(machine.unit.drain_faults(|_| panic!("not ours")).faults, 0);
}

#[test]
fn protected_regions_end_once_translation_is_on() {
    let model = Model::new(CAP | 1 << 5, ECAP);
    model.0.borrow_mut().protected_memory = 1 << 31 | 1;
    let mut machine = Machine::on(model, LEGACY.mode);
    assert_ne!(machine.model.0.borrow().protected_memory, 0);
    machine.unit.enable_translation(LEGACY.mode).unwrap();
    assert_eq!(machine.model.0.borrow().protected_memory, 0);
}

#[test]
fn units_that_lack_something_are_refused() {
    for (cap, ecap) in [
        (CAP, ECAP & !2),               // no queued invalidation
        (CAP & !0x1f00, ECAP),          // no translation
        (CAP & !0x1f00 | 1 << 8, ECAP), // two levels only
        (CAP | 0x3ff << 24, ECAP),      // fault records beyond the registers
        (CAP | 0xff << 40, ECAP),
    ] {
        assert_eq!(start(&Model::new(cap, ecap), 0).err(), Some(Error::Unsupported), "{cap:#x} {ecap:#x}");
    }
    assert!(UnitIndex::new(UnitIndex::MAX).is_none());
}

#[test]
fn without_frames_a_unit_is_refused() {
    for budget in 0..3 {
        let model = Model::new(CAP, ECAP);
        model.memory().set_budget(budget);
        let unit =
            Unit::new(UnitIndex::new(0).unwrap(), model.clone(), model.memory(), model.clone(), HOST_BITS);
        assert_eq!(unit.err(), Some(Error::OutOfFrames));
    }
}
