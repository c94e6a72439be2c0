//! Interrupt remapping: only what was allocated arrives, only from whom it was allocated for.

use super::unit::{CACHING_MODE, CAP, ECAP, Event, Model, Sabotage};
use super::{DEVICE, Kind, LEGACY, Machine, OTHER, kinds, start};
use weir_iommu::Error;
use weir_iommu::vtd::{ApicMode, FaultKind, FaultReason, InterruptRoute, Trigger};

const ROUTE: InterruptRoute =
    InterruptRoute { requester: DEVICE, vector: 0x41, apic_id: 0x1234, trigger: Trigger::Edge };

fn machine(kind: Kind) -> Machine {
    let mut machine = Machine::new(kind);
    machine.unit.enable_interrupt_remapping(ApicMode::X2Apic).unwrap();
    machine
}

#[test]
fn an_interrupt_arrives_from_its_requester_only() {
    for kind in kinds() {
        let mut machine = machine(kind);
        // Asked for before: with caching mode the unit remembers that the entries were empty.
        for index in 0..4 {
            assert_eq!(machine.model.message(DEVICE.0, 0xfee0_0010 | index << 5), None);
        }
        let first = machine.unit.allocate_interrupt(ROUTE).unwrap();
        let second = machine.unit.allocate_interrupt(InterruptRoute { vector: 0x42, ..ROUTE }).unwrap();
        machine.unit.drain_faults(|_| {});
        assert_eq!(machine.model.message(DEVICE.0, first.msi().address), Some((0x41, 0x1234)));
        assert_eq!(machine.model.message(DEVICE.0, second.msi().address), Some((0x42, 0x1234)));
        assert_eq!(machine.model.message(OTHER.0, first.msi().address), None);
        let mut faults = Vec::new();
        machine.unit.drain_faults(|fault| faults.push((fault.requester, fault.reason, fault.kind)));
        let kind = FaultKind::Interrupt { index: first.index() };
        assert_eq!(faults, [(OTHER, FaultReason::INTERRUPT_SOURCE, kind)]);
    }
}

#[test]
fn a_freed_or_redirected_interrupt_leaves_nothing_cached() {
    for kind in kinds() {
        let mut machine = machine(kind);
        let handle = machine.unit.allocate_interrupt(ROUTE).unwrap();
        let address = handle.msi().address;
        assert!(machine.model.message(DEVICE.0, address).is_some());
        machine
            .unit
            .redirect_interrupt(&handle, InterruptRoute { vector: 0x50, apic_id: 7, ..ROUTE })
            .unwrap();
        assert_eq!(machine.model.message(DEVICE.0, address), Some((0x50, 7)));
        let index = handle.index();
        machine.unit.free_interrupt(handle).unwrap();
        assert_eq!(machine.model.message(DEVICE.0, address), None);
        let again = machine.unit.allocate_interrupt(InterruptRoute { requester: OTHER, ..ROUTE }).unwrap();
        assert_eq!(again.index(), index);
        assert_eq!(machine.model.message(DEVICE.0, address), None, "the entry is another's now");
        assert_eq!(machine.model.message(OTHER.0, address), Some((0x41, 0x1234)));
    }
}

/// The order of VT-d 5.10 6.7 and 5.1: table, cache, compatibility format off, remapping.
#[test]
fn enable_order_is_the_specifications() {
    let model = Model::new(CAP, ECAP);
    model.0.borrow_mut().status = 1 << 23 | 1 << 25;
    let mut machine = Machine::on(model, LEGACY.mode);
    machine.model.take_events();
    machine.unit.enable_interrupt_remapping(ApicMode::X2Apic).unwrap();
    let (cfi, sirtp, ire, qie) = (1 << 23, 1 << 24, 1 << 25, 1 << 26);
    let events = machine.model.take_events();
    let expected = [
        Event::Command(cfi | qie),
        Event::Command(cfi | qie | sirtp),
        Event::Descriptor([0x04, 0]),
        events[3],
        Event::Command(qie),
        Event::Command(qie | ire),
    ];
    assert_eq!(events, expected);
    assert_eq!(machine.unit.enable_interrupt_remapping(ApicMode::X2Apic), Err(Error::AlreadyEnabled));
    assert_eq!(machine.model.message(DEVICE.0, 0xfee0_0000), None, "compatibility format is blocked");
}

#[test]
fn destinations_fit_the_mode() {
    let mut wide = machine(LEGACY);
    let mut refused = |route| wide.unit.allocate_interrupt(route).err();
    assert_eq!(refused(InterruptRoute { vector: 15, ..ROUTE }), Some(Error::BadVector { vector: 15 }));
    let all = u32::MAX;
    assert_eq!(
        refused(InterruptRoute { apic_id: all, ..ROUTE }),
        Some(Error::BadDestination { apic_id: all })
    );
    let mut narrow = Machine::new(Kind { ecap: ECAP & !(1 << 4), ..LEGACY });
    let without_eim = narrow.unit.enable_interrupt_remapping(ApicMode::X2Apic);
    assert_eq!(without_eim, Err(Error::NoInterruptRemapping));
    narrow.unit.enable_interrupt_remapping(ApicMode::XApic).unwrap();
    let too_wide = narrow.unit.allocate_interrupt(ROUTE).err();
    assert_eq!(too_wide, Some(Error::BadDestination { apic_id: 0x1234 }));
    let handle = narrow.unit.allocate_interrupt(InterruptRoute { apic_id: 0xab, ..ROUTE }).unwrap();
    assert_eq!(narrow.model.message(DEVICE.0, handle.msi().address), Some((0x41, 0xab00)));
    let redirected = narrow.unit.redirect_interrupt(&handle, ROUTE);
    assert_eq!(redirected, Err(Error::BadDestination { apic_id: 0x1234 }));
}

#[test]
fn entries_run_out_and_come_back() {
    let mut machine = machine(Kind { cap: CAP | CACHING_MODE, ..LEGACY });
    let mut handles: Vec<_> = (0..4096).map(|_| machine.unit.allocate_interrupt(ROUTE).unwrap()).collect();
    assert_eq!(machine.unit.allocate_interrupt(ROUTE).err(), Some(Error::OutOfInterrupts));
    let freed = handles.swap_remove(1234);
    let index = freed.index();
    machine.unit.free_interrupt(freed).unwrap();
    assert_eq!(machine.unit.allocate_interrupt(ROUTE).unwrap().index(), index);
}

#[test]
fn a_handle_works_at_its_own_unit_only() {
    let mut machine = machine(LEGACY);
    let mut other = start(&Model::new(CAP, ECAP), 1).unwrap();
    assert_eq!(other.allocate_interrupt(ROUTE).err(), Some(Error::NotThisUnit), "remapping is off");
    other.enable_interrupt_remapping(ApicMode::X2Apic).unwrap();
    let handle = machine.unit.allocate_interrupt(ROUTE).unwrap();
    let same_index = other.allocate_interrupt(ROUTE).unwrap();
    assert_eq!(handle.index(), same_index.index());
    assert_eq!(other.redirect_interrupt(&handle, ROUTE), Err(Error::NotThisUnit));
    assert_eq!(other.free_interrupt(handle), Err(Error::NotThisUnit));
}

#[test]
fn an_unconfirmed_entry_is_never_used_again() {
    let mut machine = machine(LEGACY);
    let handle = machine.unit.allocate_interrupt(ROUTE).unwrap();
    machine.model.sabotage(Sabotage { queue_error: Some((1 << 4, 1)), ..Sabotage::default() });
    assert_eq!(machine.unit.free_interrupt(handle), Err(Error::QueueError { fsts: 1 << 4 }));
    assert_eq!(machine.unit.allocate_interrupt(ROUTE).err(), Some(Error::Isolated));
}
