//! Event records: decoded, cleared, bounded, muted, the log started again.

use super::model::{FULL, Sabotage};
use super::{DEVICE, Machine, OTHER, WINDOW};
use weir_iommu::Error;
use weir_iommu::address::Iova;
use weir_iommu::amdvi::{ApicMode, Drained, Fault, FaultKind, FaultReason, Msi};

fn drain(machine: &mut Machine) -> (Vec<Fault>, Drained) {
    let mut faults = Vec::new();
    let drained = machine.unit.drain_faults(|fault| faults.push(fault));
    assert_eq!(faults.len(), drained.faults);
    (faults, drained)
}

#[test]
fn a_refused_access_is_reported_once() {
    let (mut machine, _domain) = Machine::with_device(FULL);
    machine.model.dma(DEVICE.0, 0x1_2345_6789, true);
    machine.model.dma(DEVICE.0, 0x3000, false);
    machine.model.dma(OTHER.0, 0x2000, false);
    let (faults, drained) = drain(&mut machine);
    let fault = |requester, iova, is_write, reason| Fault {
        requester,
        iova: Iova(iova),
        is_write,
        reason,
        kind: FaultKind::Dma,
    };
    let expected = [
        fault(DEVICE, 0x1_2345_6000, true, FaultReason::WRITE),
        fault(DEVICE, 0x3000, false, FaultReason::READ),
        fault(OTHER, 0x2000, false, FaultReason::CONTEXT_NOT_PRESENT),
    ];
    assert_eq!(faults, expected);
    assert_eq!(drained, Drained { faults: 3, is_overflow: false, has_more: false });
    assert_eq!(drain(&mut machine), (vec![], Drained { faults: 0, is_overflow: false, has_more: false }));
}

#[test]
fn the_log_wraps_and_starts_again_after_an_overflow() {
    let (mut machine, _domain) = Machine::with_device(FULL);
    for round in 0..5u64 {
        for page in 0..100 {
            machine.model.dma(DEVICE.0, (round * 128 + page) << 12, true);
        }
        let pages: Vec<u64> = drain(&mut machine).0.iter().map(|fault| fault.iova.0 >> 12).collect();
        assert_eq!(pages, (round * 128..round * 128 + 100).collect::<Vec<_>>());
    }
    for page in 0..1000 {
        machine.model.dma(DEVICE.0, page << 12, true);
    }
    let (faults, drained) = drain(&mut machine);
    assert_eq!((faults.len(), drained.is_overflow), (255, true));
    assert_eq!(drain(&mut machine).1, Drained { faults: 0, is_overflow: false, has_more: false });
    machine.model.dma(DEVICE.0, 0, true);
    assert_eq!(drain(&mut machine).0.len(), 1, "logging goes on");
}

#[test]
fn a_record_that_is_never_written_is_not_waited_for_without_end() {
    let (mut machine, _domain) = Machine::with_device(FULL);
    machine.model.sabotage(Sabotage { writes_no_records: true, ..Sabotage::default() });
    for page in 0..10 {
        machine.model.dma(DEVICE.0, page << 12, true);
    }
    let before_us = machine.model.0.borrow().now_us;
    assert_eq!(drain(&mut machine).1, Drained { faults: 0, is_overflow: true, has_more: false });
    assert!(machine.model.0.borrow().now_us - before_us < 2000);
}

#[test]
fn a_muted_requester_is_blocked_in_silence() {
    let mut machine = Machine::new(FULL);
    machine.unit.enable_interrupt_remapping(ApicMode::X2Apic).unwrap();
    machine.unit.enable_translation().unwrap();
    let mut domain = machine.domain();
    machine.unit.attach(DEVICE, &mut domain).unwrap();
    machine.map(&mut domain, WINDOW, 0x8000_0000, 0x1000);
    for muted in [DEVICE, OTHER] {
        assert_eq!(machine.model.dma(muted.0, 0x1000, true), None);
        machine.unit.mute_faults(muted, true).unwrap();
    }
    drain(&mut machine);
    for muted in [DEVICE, OTHER] {
        assert_eq!(machine.model.dma(muted.0, 0x1000, true), None);
        assert_eq!(machine.model.message(muted.0, 0), None);
    }
    assert!(machine.model.dma(DEVICE.0, WINDOW, true).is_some(), "its rights did not change");
    assert_eq!(drain(&mut machine).0, []);
    machine.unit.mute_faults(OTHER, false).unwrap();
    machine.unit.detach(DEVICE, &mut domain).unwrap();
    for loud in [DEVICE, OTHER] {
        assert_eq!(machine.model.dma(loud.0, WINDOW, true), None);
        assert_eq!(machine.model.message(loud.0, 0), None);
        assert_eq!(drain(&mut machine).0.len(), 2, "{loud}");
    }
}

#[test]
fn the_fault_event_is_sent_again_after_each_drain() {
    let (mut machine, _domain) = Machine::with_device(FULL);
    machine.model.dma(DEVICE.0, 0, true);
    assert_eq!(machine.model.0.borrow().messages, 0, "not asked for");
    drain(&mut machine);
    let msi = machine.unit.enable_fault_event(0x31, 0xab).unwrap();
    assert_eq!(msi, Msi { address: 0xfeea_b000, data: 0x31 });
    for sent in 1..4 {
        machine.model.dma(DEVICE.0, 0, true);
        machine.model.dma(DEVICE.0, 0, true);
        assert_eq!(machine.model.0.borrow().messages, sent);
        assert_eq!(drain(&mut machine).0.len(), 2);
    }
    let refused = machine.unit.enable_fault_event(0x31, 0x100);
    assert_eq!(refused, Err(Error::BadDestination { apic_id: 0x100 }));
    assert_eq!(machine.unit.enable_fault_event(3, 0), Err(Error::BadVector { vector: 3 }));
}

#[test]
fn a_fault_event_asked_for_early_comes_with_translation() {
    let mut machine = Machine::new(FULL);
    machine.unit.enable_fault_event(0x31, 0).unwrap();
    machine.unit.enable_translation().unwrap();
    machine.model.dma(DEVICE.0, 0, true);
    assert_eq!(machine.model.0.borrow().messages, 1);
}
