//! Interrupt remapping: only what was allocated arrives, only from whom it was allocated for.

use super::model::{FULL, Kind, Model, OLD, Sabotage};
use super::{DEVICE, Machine, OTHER, kinds, start};
use weir_iommu::Error;
use weir_iommu::amdvi::{ApicMode, FaultKind, FaultReason, InterruptHandle, InterruptRoute, Trigger};

const ROUTE: InterruptRoute =
    InterruptRoute { requester: DEVICE, vector: 0x41, apic_id: 0x34, trigger: Trigger::Edge };

fn machine(kind: Kind, mode: ApicMode) -> Machine {
    let mut machine = Machine::new(kind);
    machine.unit.enable_interrupt_remapping(mode).unwrap();
    machine.unit.enable_translation().unwrap();
    machine
}

/// The three formats of entries, with and without caches in between.
fn formats() -> impl Iterator<Item = (Kind, ApicMode)> {
    let both = kinds().filter(|kind| kind.features >> 7 & 1 == 1).map(|kind| (kind, ApicMode::X2Apic));
    let short = Kind { features: 0x40, ..FULL };
    let narrow = [FULL, short, Kind { is_coherent: false, ..short }].map(|kind| (kind, ApicMode::XApic));
    both.chain(narrow)
}

fn raise(
    machine: &Machine,
    from: weir_iommu::address::RequesterId,
    handle: &InterruptHandle,
) -> Option<(u8, u32)> {
    machine.model.message(from.0, handle.msi().data)
}

#[test]
fn an_interrupt_arrives_from_its_requester_only() {
    for (kind, mode) in formats().chain([(OLD, ApicMode::XApic)]) {
        let mut machine = machine(kind, mode);
        // Asked for before: the unit remembers what it found.
        for index in 0..4 {
            assert_eq!(machine.model.message(DEVICE.0, index), None);
        }
        let first = machine.unit.allocate_interrupt(ROUTE).unwrap();
        assert_eq!(raise(&machine, DEVICE, &first), Some((0x41, 0x34)), "{kind:x?}");
        for index in 1..4 {
            assert_eq!(machine.model.message(DEVICE.0, index), None);
        }
        let second = machine.unit.allocate_interrupt(InterruptRoute { vector: 0x42, ..ROUTE }).unwrap();
        assert_ne!(first.index(), second.index());
        assert_eq!(raise(&machine, DEVICE, &first), Some((0x41, 0x34)), "the neighbour is not touched");
        assert_eq!(raise(&machine, DEVICE, &second), Some((0x42, 0x34)));
        machine.unit.drain_faults(|_| {});
        assert_eq!(raise(&machine, OTHER, &first), None);
        for forged in [0x100, 0x200, 0x400, 0x500, 0x700, 0xff] {
            assert_eq!(machine.model.message(DEVICE.0, forged), None, "{forged:#x}");
        }
        let mut faults = Vec::new();
        machine.unit.drain_faults(|fault| faults.push((fault.requester, fault.reason, fault.kind)));
        let kind = FaultKind::Interrupt { index: 0 };
        assert_eq!(faults[0], (OTHER, FaultReason::INTERRUPT_NOT_PRESENT, kind));
        assert_eq!(faults.len(), 7);
    }
}

#[test]
fn without_remapping_messages_pass() {
    let mut machine = Machine::new(FULL);
    machine.unit.enable_translation().unwrap();
    assert!(machine.model.message(DEVICE.0, 0x41).is_some());
    assert_eq!(machine.unit.allocate_interrupt(ROUTE).err(), Some(Error::NotThisUnit));
    let late = machine.unit.enable_interrupt_remapping(ApicMode::X2Apic);
    assert_eq!(late, Err(Error::AlreadyEnabled), "entries cannot change their size now");
}

#[test]
fn a_freed_or_redirected_interrupt_leaves_nothing_cached() {
    for (kind, mode) in formats() {
        let mut machine = machine(kind, mode);
        let handle = machine.unit.allocate_interrupt(ROUTE).unwrap();
        let data = handle.msi().data;
        assert!(machine.model.message(DEVICE.0, data).is_some());
        let route = InterruptRoute { vector: 0x50, apic_id: 7, ..ROUTE };
        machine.unit.redirect_interrupt(&handle, route).unwrap();
        assert_eq!(machine.model.message(DEVICE.0, data), Some((0x50, 7)));
        let elsewhere = InterruptRoute { requester: OTHER, ..route };
        let refused = machine.unit.redirect_interrupt(&handle, elsewhere);
        assert_eq!(refused, Err(Error::OtherRequester { requester: OTHER }));
        let index = handle.index();
        machine.unit.free_interrupt(handle).unwrap();
        assert_eq!(machine.model.message(DEVICE.0, data), None);
        let again = machine.unit.allocate_interrupt(ROUTE).unwrap();
        assert_eq!((again.index(), machine.model.message(DEVICE.0, data)), (index, Some((0x41, 0x34))));
    }
}

#[test]
fn a_level_triggered_line_gets_the_slot_of_its_vector() {
    let mut machine = machine(FULL, ApicMode::X2Apic);
    let level = InterruptRoute { vector: 0x61, trigger: Trigger::Level, ..ROUTE };
    let line = machine.unit.allocate_interrupt(level).unwrap();
    assert_eq!(line.index(), 0x61);
    assert_eq!(raise(&machine, DEVICE, &line), Some((0x61, 0x34)));
    assert_eq!(machine.unit.allocate_interrupt(level).err(), Some(Error::OutOfInterrupts));
    let other = InterruptRoute { vector: 0x62, ..level };
    assert_eq!(machine.unit.redirect_interrupt(&line, other), Err(Error::BadVector { vector: 0x62 }));
    machine.unit.redirect_interrupt(&line, InterruptRoute { apic_id: 9, ..level }).unwrap();
    assert_eq!(raise(&machine, DEVICE, &line), Some((0x61, 9)));
}

#[test]
fn destinations_fit_the_mode() {
    let mut wide = machine(FULL, ApicMode::X2Apic);
    let far = InterruptRoute { apic_id: 0x1234_5678, ..ROUTE };
    let handle = wide.unit.allocate_interrupt(far).unwrap();
    assert_eq!(raise(&wide, DEVICE, &handle), Some((0x41, 0x1234_5678)));
    let mut refused = |route| wide.unit.allocate_interrupt(route).err();
    assert_eq!(refused(InterruptRoute { vector: 15, ..ROUTE }), Some(Error::BadVector { vector: 15 }));
    let all = InterruptRoute { apic_id: u32::MAX, ..ROUTE };
    assert_eq!(refused(all), Some(Error::BadDestination { apic_id: u32::MAX }));
    for features in [0x29d3, 0x2957, 0] {
        let mut narrow = Machine::new(Kind { features, ..FULL });
        let refused = narrow.unit.enable_interrupt_remapping(ApicMode::X2Apic);
        assert_eq!(refused, Err(Error::NoInterruptRemapping), "{features:#x}");
    }
    let mut narrow = machine(FULL, ApicMode::XApic);
    let too_wide = narrow.unit.allocate_interrupt(InterruptRoute { apic_id: 0x100, ..ROUTE }).err();
    assert_eq!(too_wide, Some(Error::BadDestination { apic_id: 0x100 }));
}

#[test]
fn entries_run_out_and_come_back() {
    for (kind, mode) in [(FULL, ApicMode::X2Apic), (Kind { features: 0x40, ..FULL }, ApicMode::XApic)] {
        let mut machine = machine(kind, mode);
        let mut handles: Vec<_> = (0..256).map(|_| machine.unit.allocate_interrupt(ROUTE).unwrap()).collect();
        assert_eq!(machine.unit.allocate_interrupt(ROUTE).err(), Some(Error::OutOfInterrupts));
        assert!(machine.unit.allocate_interrupt(InterruptRoute { requester: OTHER, ..ROUTE }).is_ok());
        let freed = handles.swap_remove(123);
        let index = freed.index();
        machine.unit.free_interrupt(freed).unwrap();
        assert_eq!(machine.unit.allocate_interrupt(ROUTE).unwrap().index(), index);
    }
}

#[test]
fn without_a_frame_nothing_changes() {
    let mut machine = machine(FULL, ApicMode::X2Apic);
    machine.model.memory().set_budget(0);
    assert_eq!(machine.unit.allocate_interrupt(ROUTE).err(), Some(Error::OutOfFrames));
    assert_eq!(machine.model.message(DEVICE.0, 0), None);
    machine.model.memory().set_budget(1);
    assert!(machine.unit.allocate_interrupt(ROUTE).is_ok());
    assert!(machine.unit.allocate_interrupt(ROUTE).is_ok(), "the table is there now");
}

#[test]
fn a_handle_works_at_its_own_unit_only() {
    let mut machine = machine(FULL, ApicMode::X2Apic);
    let mut other = start(&Model::new(FULL), 1).unwrap();
    other.enable_interrupt_remapping(ApicMode::X2Apic).unwrap();
    let handle = machine.unit.allocate_interrupt(ROUTE).unwrap();
    let same = other.allocate_interrupt(ROUTE).unwrap();
    assert_eq!(handle.index(), same.index());
    assert_eq!(other.redirect_interrupt(&handle, ROUTE), Err(Error::NotThisUnit));
    assert_eq!(other.free_interrupt(handle), Err(Error::NotThisUnit));
}

#[test]
fn an_unconfirmed_entry_is_never_used_again() {
    let mut machine = machine(FULL, ApicMode::X2Apic);
    let handle = machine.unit.allocate_interrupt(ROUTE).unwrap();
    machine.model.sabotage(Sabotage { is_stuck: true, ..Sabotage::default() });
    assert!(machine.unit.free_interrupt(handle).is_err());
    assert_eq!(machine.unit.allocate_interrupt(ROUTE).err(), Some(Error::Isolated));
}

#[test]
fn attaching_leaves_interrupts_alone() {
    let mut machine = machine(FULL, ApicMode::X2Apic);
    let handle = machine.unit.allocate_interrupt(ROUTE).unwrap();
    let mut domain = machine.domain();
    machine.unit.attach(DEVICE, &mut domain).unwrap();
    assert!(raise(&machine, DEVICE, &handle).is_some());
    machine.unit.detach(DEVICE, &mut domain).unwrap();
    assert!(raise(&machine, DEVICE, &handle).is_some());
}
