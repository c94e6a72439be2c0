//! Fault records: decoded, cleared, bounded, muted.

use super::unit::Sabotage;
use super::{DEVICE, Kind, LEGACY, Machine, OTHER, PLAIN};
use weir_iommu::address::{Iova, RequesterId};
use weir_iommu::vtd::{ApicMode, Drained, Fault, FaultKind, FaultReason};
use weir_iommu::{Blame, Error, Mode};

/// The plain kinds, with four fault records.
fn with_four_records() -> [Kind; 3] {
    PLAIN.map(|kind| Kind { cap: kind.cap | 3 << 40, ..kind })
}

fn drain(machine: &mut Machine) -> (Vec<Fault>, Drained) {
    let mut faults = Vec::new();
    let drained = machine.unit.drain_faults(|fault| faults.push(fault));
    assert_eq!((faults.len(), drained.has_more), (drained.faults, false));
    (faults, drained)
}

#[test]
fn a_refused_access_is_reported_once() {
    for kind in with_four_records() {
        let (mut machine, _domain) = Machine::with_device(kind);
        machine.model.dma(DEVICE.0, 0x1_2345_6789, true);
        machine.model.dma(OTHER.0, 0x2000, false);
        let (faults, drained) = drain(&mut machine);
        let (dma, is_overflow) = (FaultKind::Dma, false);
        let (unmapped, unattached) = match kind.mode {
            Mode::VtdFirstStage => {
                (FaultReason::FIRST_STAGE_NOT_PRESENT, FaultReason::SCALABLE_ROOT_NOT_PRESENT)
            }
            Mode::VtdSecondStage => {
                (FaultReason::SECOND_STAGE_PERMISSION, FaultReason::SCALABLE_ROOT_NOT_PRESENT)
            }
            _ => (FaultReason::WRITE, FaultReason::ROOT_NOT_PRESENT),
        };
        let expected = [
            Fault {
                requester: DEVICE,
                iova: Iova(0x1_2345_6000),
                is_write: true,
                reason: unmapped,
                kind: dma,
            },
            Fault { requester: OTHER, iova: Iova(0x2000), is_write: false, reason: unattached, kind: dma },
        ];
        assert_eq!(faults, expected);
        assert_eq!(drained, Drained { faults: 2, is_overflow, has_more: false });
        assert_eq!(drain(&mut machine), (vec![], Drained { faults: 0, is_overflow, has_more: false }));
    }
}

#[test]
fn records_wrap_and_overflow_is_told_once() {
    for kind in with_four_records() {
        let (mut machine, _domain) = Machine::with_device(kind);
        for round in 0..5u64 {
            for page in 0..3 {
                machine.model.dma(DEVICE.0, (round * 16 + page) << 12, true);
            }
            let pages: Vec<u64> = drain(&mut machine).0.iter().map(|fault| fault.iova.0 >> 12).collect();
            assert_eq!(pages, [round * 16, round * 16 + 1, round * 16 + 2]);
        }
        for page in 0..100 {
            machine.model.dma(DEVICE.0, page << 12, true);
        }
        let (faults, drained) = drain(&mut machine);
        assert_eq!((faults.len(), drained.is_overflow), (4, true));
        assert_eq!(drain(&mut machine).1, Drained { faults: 0, is_overflow: false, has_more: false });
        machine.model.dma(DEVICE.0, 0, true);
        assert_eq!(drain(&mut machine).0.len(), 1, "recording goes on");
    }
}

/// The unit goes on recording while its records are read.
#[test]
fn faults_amid_a_drain_are_announced_or_drained() {
    for kind in with_four_records() {
        for arrivals in 0..6 {
            let (mut machine, _domain) = Machine::with_device(kind);
            machine.unit.enable_fault_event(ApicMode::XApic, 0x31, 0).unwrap();
            (0..2).for_each(|page| _ = machine.model.dma(DEVICE.0, page << 12, true));
            let messages = |machine: &Machine| machine.model.0.borrow().fault_messages;
            assert_eq!(messages(&machine), 1);
            let (model, mut reported) = (machine.model.clone(), 0);
            let drained = machine.unit.drain_faults(|_| {
                reported += 1;
                if reported == 2 {
                    (0..arrivals).for_each(|page| _ = model.dma(OTHER.0, page << 12, true));
                }
            });
            // The third finds the first record free again, behind the sweep.
            assert_eq!(drained.has_more, arrivals >= 3, "{arrivals} amid");
            while machine.unit.drain_faults(|_| ()).has_more {}
            let before = messages(&machine);
            machine.model.dma(DEVICE.0, 0x1000, true);
            assert_eq!(messages(&machine), before + 1, "{arrivals} amid");
        }
    }
}

/// A queue error that stayed set would silence every fault after it.
#[test]
fn a_broken_unit_still_tells_faults() {
    for kind in PLAIN {
        for bit in [4, 5, 6] {
            let (mut machine, mut domain) = Machine::with_device(kind);
            machine.unit.enable_fault_event(ApicMode::XApic, 0x31, 0).unwrap();
            machine.model.sabotage(Sabotage { queue_error: Some((1 << bit, 1)), ..Sabotage::default() });
            machine.detach(DEVICE, &mut domain).unwrap_err();
            let before = machine.model.0.borrow().fault_messages;
            machine.model.0.borrow_mut().forget_everything();
            assert_eq!(machine.model.dma(OTHER.0, 0x1000, true), None);
            assert_eq!(machine.model.0.borrow().fault_messages, before + 1);
            assert_eq!(drain(&mut machine).0.len(), 1);
        }
    }
}

#[test]
fn a_hostile_record_index_is_no_index() {
    for kind in with_four_records() {
        let (mut machine, _domain) = Machine::with_device(kind);
        machine.model.dma(DEVICE.0, 0, true);
        machine.model.0.borrow_mut().fault_status |= 0xff00;
        assert_eq!(drain(&mut machine).0.len(), 1);
    }
}

#[test]
fn a_muted_requester_is_blocked_in_silence() {
    for kind in PLAIN {
        let (mut machine, mut domain) = Machine::with_device(kind);
        let silent = RequesterId(0x0418);
        machine.unit.mute_faults(DEVICE, true).unwrap();
        machine.unit.mute_faults(silent, true).unwrap();
        assert_eq!(machine.model.dma(DEVICE.0, 0x1000, true), None);
        assert_eq!(machine.model.dma(silent.0, 0x1000, true), None);
        assert_eq!(drain(&mut machine).0, []);
        machine.unit.mute_faults(DEVICE, false).unwrap();
        machine.model.dma(DEVICE.0, 0x1000, true);
        assert_eq!(drain(&mut machine).0.len(), 1);
        machine.unit.mute_faults(DEVICE, true).unwrap();
        machine.detach(DEVICE, &mut domain).unwrap();
        machine.model.dma(DEVICE.0, 0x1000, true);
        assert_eq!(drain(&mut machine).0.len(), 1, "detaching starts recording again");
    }
}

#[test]
fn the_fault_event_is_programmed_and_unmasked() {
    let mut machine = Machine::new(LEGACY);
    assert_eq!(machine.model.0.borrow().fault_event, [1 << 31, 0, 0, 0]);
    machine.unit.enable_fault_event(ApicMode::X2Apic, 0x31, 0x1234_5678).unwrap();
    assert_eq!(machine.model.0.borrow().fault_event, [0, 0x31, 0xfee7_8000, 0x1234_5600]);
    let refused = machine.unit.enable_fault_event(ApicMode::XApic, 0x31, 0x100);
    assert_eq!(refused, Err(Error::BadDestination { apic_id: 0x100 }));
    assert_eq!(refused.map_err(Error::blame), Err(Blame::Caller));
    let mut old = Machine::new(Kind { ecap: LEGACY.ecap & !(1 << 4), ..LEGACY });
    assert_eq!(old.unit.enable_fault_event(ApicMode::X2Apic, 0x31, 0), Err(Error::NoInterruptRemapping));
    old.unit.enable_fault_event(ApicMode::XApic, 0x31, 2).unwrap();
    assert_eq!(old.model.0.borrow().fault_event, [0, 0x31, 0xfee0_2000, 0]);
}
