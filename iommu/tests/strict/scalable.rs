//! What is only so in scalable mode: shared tables, PASID tables, both halves of a bus.

use super::unit::Event;
use super::{DEVICE, FIRST_STAGE, Machine, PLAIN, flush, kinds};
use weir_iommu::address::{Iova, PhysAddr, RequesterId};
use weir_iommu::domain::{DomainIds, Permissions, SharedDomain};
use weir_iommu::vtd::FaultReason;
use weir_iommu::{Error, Mode, Sharing};

const WINDOW: u64 = 0x1_0000_0000;

#[test]
fn devices_of_both_halves_of_a_bus_have_their_own_tables() {
    for kind in kinds() {
        let (mut machine, mut domain) = Machine::with_device(kind);
        machine.map(&mut domain, WINDOW, 0x8000_0000, 0x1000);
        // The same place in the other half, and in another bus.
        let (upper, elsewhere) = (RequesterId(DEVICE.0 | 0x80), RequesterId(DEVICE.0 | 0xff00));
        let lands = |machine: &Machine, id: RequesterId| machine.model.dma(id.0, WINDOW, true).is_some();
        assert!(lands(&machine, DEVICE) && !lands(&machine, upper) && !lands(&machine, elsewhere));
        machine.attach(upper, &mut domain).unwrap();
        assert!(lands(&machine, upper) && !lands(&machine, elsewhere), "{kind:x?}");
        machine.detach(DEVICE, &mut domain).unwrap();
        assert!(!lands(&machine, DEVICE) && lands(&machine, upper), "{kind:x?}");
    }
}

#[test]
fn read_only_pages_are_not_written_through_shared_tables() {
    let (mut machine, mut domain) = Machine::with_device(FIRST_STAGE);
    let mapped = domain.map(Iova(WINDOW), PhysAddr(0x8000_0000), 0x20_1000, Permissions::ReadOnly).unwrap();
    flush(mapped, &mut machine.unit).unwrap();
    for page in [0, 0x20_0000] {
        assert!(machine.model.dma(DEVICE.0, WINDOW + page, false).is_some());
        assert_eq!(machine.model.dma(DEVICE.0, WINDOW + page, true), None);
        let mut reasons = Vec::new();
        machine.unit.drain_faults(|fault| reasons.push(fault.reason));
        assert_eq!(reasons, [FaultReason::SCALABLE_WRITE]);
    }
}

/// Nothing but the window is reachable: not what would be the kernel's half, not the space above the window.
#[test]
fn addresses_outside_the_shared_window_lead_nowhere() {
    let (mut machine, mut domain) = Machine::with_device(FIRST_STAGE);
    machine.map(&mut domain, WINDOW, 0x8000_0000, 0x1000);
    for (iova, reason) in [
        (WINDOW | 1 << 39, FaultReason::FIRST_STAGE_NOT_PRESENT),
        (WINDOW | 1 << 46, FaultReason::FIRST_STAGE_NOT_PRESENT),
        (WINDOW | 0xffff_8000_0000_0000, FaultReason::FIRST_STAGE_NOT_PRESENT),
        (WINDOW | 1 << 47, FaultReason::NOT_CANONICAL),
        (WINDOW | 1 << 63, FaultReason::NOT_CANONICAL),
    ] {
        assert_eq!(machine.model.dma(DEVICE.0, iova, false), None);
        let mut reasons = Vec::new();
        machine.unit.drain_faults(|fault| reasons.push(fault.reason));
        assert_eq!(reasons, [reason], "{iova:#x}");
    }
}

#[test]
fn a_shared_domain_owns_one_frame_and_gives_it_back() {
    for kind in kinds().filter(|kind| kind.mode == Mode::VtdFirstStage) {
        let mut machine = Machine::enabled(kind);
        let memory = machine.model.page_table_memory(kind.mode);
        let all = machine.unit.capabilities();
        let before = memory.frames_in_use();
        let lower = PhysAddr(0x7000);
        let domain = SharedDomain::new(memory.clone(), &mut machine.ids, all, lower).unwrap();
        assert_eq!(memory.frames_in_use(), before + 1);
        let id = domain.id();
        assert!(domain.destroy(&mut machine.ids).is_ok());
        assert_eq!(memory.frames_in_use(), before);
        memory.set_budget(0);
        let refused = SharedDomain::new(memory.clone(), &mut machine.ids, all, lower);
        assert_eq!(refused.err(), Some(Error::OutOfFrames));
        memory.set_budget(1);
        let again = SharedDomain::new(memory, &mut machine.ids, all, lower).unwrap();
        assert_eq!(again.id(), id, "neither try kept it");
    }
}

#[test]
fn a_shared_domain_refuses_what_cannot_be() {
    let machine = Machine::enabled(FIRST_STAGE);
    let (memory, mut ids) = (machine.model.memory(), DomainIds::new());
    let mut new = |lower| SharedDomain::new(memory.clone(), &mut ids, machine.unit.capabilities(), lower);
    for lower in [0, 0x7008, 1 << 46, 1 << 60].map(PhysAddr) {
        assert_eq!(new(lower).err(), Some(Error::BadPhysical { phys: lower }));
    }
    let mut domain = new(PhysAddr(0x7000)).unwrap();
    for (iova, bytes) in [(0, 0), (1, 0x1000), (0, 0x800), (1 << 39, 0x1000), (0, (1 << 39) + 0x1000)] {
        let refused = Some(Error::BadRange { iova: Iova(iova), bytes });
        assert_eq!(domain.added(Iova(iova), bytes).err(), refused);
        assert_eq!(domain.removed(Iova(iova), bytes).err(), refused);
    }
    assert!(domain.removed(Iova(u64::MAX - 0xfff), 0x1000).is_err());
    assert!(domain.unflushed().is_none(), "refused calls leave nothing to confirm");
    drop(domain.removed(Iova((1 << 39) - 0x1000), 0x1000).unwrap());
    assert!(domain.unflushed().is_some());
    let legacy = Machine::enabled(PLAIN[0]);
    let refused = SharedDomain::new(memory.clone(), &mut ids, legacy.unit.capabilities(), PhysAddr(0x7000));
    assert_eq!(refused.err(), Some(Error::Unsupported));
}

#[test]
fn what_the_cpus_tables_must_be_like_is_told() {
    let sharing = |cap, ecap| {
        let machine = Machine::new(super::Kind { cap, ecap, ..FIRST_STAGE });
        machine.unit.capabilities().sharing()
    };
    let (cap, ecap) = (FIRST_STAGE.cap, FIRST_STAGE.ecap);
    let all = Sharing { is_coherent: true, allows_huge_pages: true };
    assert_eq!(sharing(cap, ecap), Some(all));
    assert_eq!(sharing(cap & !(1 << 56), ecap), Some(Sharing { allows_huge_pages: false, ..all }));
    assert_eq!(sharing(cap, ecap & !(1 << 48)), Some(Sharing { is_coherent: false, ..all }));
    assert_eq!(sharing(cap, ecap & !(1 << 47)), None);
}

/// Many requesters come and go: their PASID tables come back, and none is walked after that.
#[test]
fn pasid_tables_come_back() {
    for kind in kinds() {
        let (mut machine, mut domain) = Machine::with_device(kind);
        machine.map(&mut domain, WINDOW, 0x8000_0000, 0x1000);
        let mut guests = (1..6).map(|device| RequesterId::new(0, device * 5, 1)).collect::<Vec<_>>();
        for &guest in &guests {
            machine.attach(guest, &mut domain).unwrap();
            machine.detach(guest, &mut domain).unwrap();
        }
        let before = machine.model.memory().frames_in_use();
        for round in 0..3 {
            guests.rotate_left(round);
            for &guest in &guests {
                machine.attach(guest, &mut domain).unwrap();
                assert!(machine.model.dma(guest.0, WINDOW, round % 2 == 0).is_some());
            }
            for &guest in guests.iter().rev() {
                machine.detach(guest, &mut domain).unwrap();
                assert_eq!(machine.model.dma(guest.0, WINDOW, true), None, "{kind:x?}");
            }
            assert_eq!(machine.model.memory().frames_in_use(), before);
        }
    }
}

/// The first change of mute must reach units that hold the PASID entry already.
#[test]
fn muting_drops_cached_pasids() {
    for kind in PLAIN.into_iter().filter(|kind| kind.mode != Mode::VtdLegacy) {
        let (mut machine, _domain) = Machine::with_device(kind);
        machine.model.dma(DEVICE.0, WINDOW, true);
        machine.model.take_events();
        machine.unit.mute_faults(DEVICE, true).unwrap();
        let asked = machine.model.take_events();
        assert_eq!((asked[0], asked[2]), (Event::Descriptor([0x11, 0]), Event::Descriptor([0x37, 0])));
    }
}
