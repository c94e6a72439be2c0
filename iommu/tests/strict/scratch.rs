//! A device without an owner, under each kind of unit: whatever it asks for, it reaches its own page.

use super::memory::Memory;
use super::{DEVICE, Kind, Machine, OTHER, kinds};
use weir_iommu::domain::ScratchDomain;
use weir_iommu::{Error, Mode};

/// Addresses all over what the narrowest unit translates, and where an owner's window is.
const ANYWHERE: [u64; 6] = [0, 0x20_0000, 0x1_0000_0000, 0x12_3456_7000, 0x3f_ffff_f000, 0x7f_ffff_f000];

fn scratch(machine: &mut Machine, mode: Mode) -> ScratchDomain<Memory> {
    let memory = machine.model.page_table_memory(mode);
    ScratchDomain::new(memory, &mut machine.ids, machine.unit.capabilities(), mode).unwrap()
}

fn faults(machine: &mut Machine) -> usize {
    let mut count = 0;
    machine.unit.drain_faults(|_| count += 1);
    count
}

/// Where an access ends up.
fn lands(machine: &Machine, iova: u64, is_write: bool) -> Option<u64> {
    machine.model.dma(DEVICE.0, iova, is_write)
}

fn all_ends_in_the_sink(kind: Kind) {
    let mut machine = Machine::enabled(kind);
    let mut scratch = scratch(&mut machine, kind.mode);
    machine.unit.attach(DEVICE, &mut scratch).unwrap();
    let sink = scratch.sink().0;
    for iova in ANYWHERE {
        for is_write in [false, true] {
            assert_eq!(lands(&machine, iova + 0x128, is_write), Some(sink + 0x128), "{kind:x?} {iova:#x}");
        }
    }
    assert_eq!(faults(&mut machine), 0, "{kind:x?}");
    assert_eq!(machine.model.dma(OTHER.0, 0, true), None, "only who is attached");
    machine.unit.detach(DEVICE, &mut scratch).unwrap();
    for iova in ANYWHERE {
        assert_eq!(lands(&machine, iova, true), None, "{kind:x?} {iova:#x}");
    }
    assert!(scratch.destroy(&mut machine.ids).is_ok());
}

#[test]
fn every_access_ends_in_the_sink_and_none_faults() {
    kinds().for_each(all_ends_in_the_sink);
}

#[test]
fn an_owner_takes_the_device_out_of_its_scratch_domain() {
    for kind in kinds() {
        let (mut machine, mut owner) = Machine::with_device(kind);
        machine.map(&mut owner, ANYWHERE[2], 0x8000_0000, 0x1000);
        let mut scratch = scratch(&mut machine, kind.mode);
        let early = machine.unit.attach(DEVICE, &mut scratch);
        assert_eq!(early, Err(Error::AlreadyAttached { requester: DEVICE }));
        machine.detach(DEVICE, &mut owner).unwrap();
        machine.unit.attach(DEVICE, &mut scratch).unwrap();
        assert_eq!(lands(&machine, ANYWHERE[2], true), Some(scratch.sink().0));
        let Err(mut scratch) = scratch.destroy(&mut machine.ids) else { panic!("a device reaches it") };
        machine.unit.detach(DEVICE, &mut scratch).unwrap();
        machine.attach(DEVICE, &mut owner).unwrap();
        assert_eq!(lands(&machine, ANYWHERE[2], true), Some(0x8000_0000));
        assert_eq!(lands(&machine, ANYWHERE[3], true), None, "{kind:x?}");
    }
}

#[test]
fn it_owns_a_frame_per_level_and_one_and_gives_them_back() {
    for kind in kinds() {
        let mut machine = Machine::enabled(kind);
        let (memory, all) = (machine.model.page_table_memory(kind.mode), machine.unit.capabilities());
        let before = memory.frames_in_use();
        let domain = scratch(&mut machine, kind.mode);
        let (id, frames) = (domain.id(), memory.frames_in_use() - before);
        assert!((4..=6).contains(&frames), "{frames}");
        assert!(domain.destroy(&mut machine.ids).is_ok());
        for budget in 0..frames {
            memory.set_budget(budget);
            let refused = ScratchDomain::new(memory.clone(), &mut machine.ids, all, kind.mode);
            assert_eq!(refused.err(), Some(Error::OutOfFrames));
            assert_eq!(memory.frames_in_use(), before);
        }
        memory.set_budget(frames);
        assert_eq!(scratch(&mut machine, kind.mode).id(), id, "no try kept it");
    }
}

#[test]
fn a_mode_that_is_not_offered_is_refused() {
    let mut machine = Machine::enabled(super::LEGACY);
    let (memory, all) = (machine.model.memory(), machine.unit.capabilities());
    for mode in [Mode::VtdFirstStage, Mode::VtdSecondStage, Mode::AmdVi] {
        let refused = ScratchDomain::new(memory.clone(), &mut machine.ids, all, mode);
        assert_eq!(refused.err(), Some(Error::Unsupported));
    }
}
