//! Domains: what is mapped is reached, what is not is not, under every kind of unit.

use super::memory::Memory;
use super::owner::Owner;
use super::plain_map::{self, Changed};
use super::unit::{CAP, ECAP, FIRST_STAGE, Model, SCALABLE, SECOND_STAGE, Sabotage};
use super::{
    DEVICE, Kind, LEGACY, Machine, OTHER, PLAIN, TestDomain, TestUnit, flush, kinds, start, with_own_tables,
};
use proptest::prelude::*;
use weir_iommu::address::{Iova, PhysAddr, UnitIndex};
use weir_iommu::domain::{DomainIds, Permissions, Unflushed};
use weir_iommu::{Blame, Error, Mode};

const WINDOW: u64 = 0x1_0000_0000;

#[test]
fn a_mapping_is_reached_and_its_neighbours_are_not() {
    for kind in kinds() {
        let (mut machine, mut domain) = Machine::with_device(kind);
        // Touched before: with caching mode the unit remembers that nothing was there.
        assert_eq!(machine.model.dma(DEVICE.0, WINDOW, true), None);
        machine.map(&mut domain, WINDOW, 0x8000_0000, 0x3000);
        for (offset, lands) in [(0, true), (0x2ff8, true), (0x3000, false)] {
            let expected = lands.then_some(0x8000_0000 + offset);
            assert_eq!(machine.model.dma(DEVICE.0, WINDOW + offset, true), expected, "{kind:x?}");
        }
        assert_eq!(machine.model.dma(DEVICE.0, WINDOW - 8, false), None);
    }
}

#[test]
fn permissions_are_the_devices_view() {
    for kind in with_own_tables() {
        let (mut machine, mut domain) = Machine::with_device(kind);
        for (at, permissions) in [(0, Permissions::ReadOnly), (0x1000, Permissions::WriteOnly)] {
            let mapped = domain.map(Iova(WINDOW + at), PhysAddr(0x8000_0000), 4096, permissions).unwrap();
            flush(mapped, &mut machine.unit).unwrap();
        }
        let lands = |iova, is_write| machine.model.dma(DEVICE.0, iova, is_write).is_some();
        assert!(lands(WINDOW, false) && !lands(WINDOW, true));
        assert!(!lands(WINDOW + 0x1000, false) && lands(WINDOW + 0x1000, true));
    }
}

#[test]
fn after_a_flush_nothing_stale_is_left() {
    for kind in kinds() {
        let (mut machine, mut domain) = Machine::with_device(kind);
        for (bytes, phys) in [(0x1000, 0x8000_0000), (0x20_0000, 0x8000_0000), (0x60_3000, 0x8000_0000u64)] {
            machine.map(&mut domain, WINDOW, phys, bytes);
            assert!(machine.model.dma(DEVICE.0, WINDOW + bytes - 8, true).is_some());
            assert!(machine.model.dma(DEVICE.0, WINDOW, true).is_some());
            let change = domain.unmap(Iova(WINDOW), bytes).unwrap();
            assert!(
                machine.model.dma(DEVICE.0, WINDOW, true).is_some(),
                "the model keeps what it is not told"
            );
            assert!(machine.model.dma(DEVICE.0, WINDOW, false).is_some());
            flush(change, &mut machine.unit).unwrap();
            machine.assert_drained(WINDOW, bytes);
            assert_eq!(machine.model.dma(DEVICE.0, WINDOW, true), None, "{kind:x?} {bytes:#x}");
            assert_eq!(machine.model.dma(DEVICE.0, WINDOW + bytes - 8, false), None);
        }
    }
}

#[test]
fn page_tables_are_used_sparingly_and_come_back() {
    for kind in with_own_tables() {
        let (mut machine, mut domain) = Machine::with_device(kind);
        let empty = machine.model.memory().frames_in_use();
        let tables = |machine: &Machine| machine.model.memory().frames_in_use() - empty;
        machine.map(&mut domain, WINDOW, 0x40_0000_0000, 1 << 30);
        assert_eq!(tables(&machine), 0, "one 1 GiB leaf in the root of a three-level table");
        machine.map(&mut domain, WINDOW + (1 << 30), 0x40_4020_0000, 0x20_0000);
        assert_eq!(tables(&machine), 1, "one 2 MiB leaf");
        machine.map(&mut domain, WINDOW + (2 << 30), 0x40_4000_1000, 0x20_0000);
        assert_eq!(tables(&machine), 3, "4 KiB leaves where the addresses do not agree");
        machine.unmap(&mut domain, WINDOW + (2 << 30), 0x20_0000);
        assert_eq!(tables(&machine), 1);
        machine.unmap(&mut domain, WINDOW, (1 << 30) + 0x20_0000);
        assert_eq!(tables(&machine), 0);
    }
}

#[test]
fn leaves_are_as_large_as_the_unit_has_them() {
    for (sizes, tables) in [(0, 1 + 512), (1, 1), (3, 0)] {
        let cap = CAP & !(3 << 34) | sizes << 34;
        let (mut machine, mut domain) = Machine::with_device(Kind { cap, ..LEGACY });
        let empty = machine.model.memory().frames_in_use();
        machine.map(&mut domain, WINDOW, 0x40_0000_0000, 1 << 30);
        assert_eq!(machine.model.memory().frames_in_use() - empty, tables);
        let last = (1 << 30) - 8;
        assert_eq!(machine.model.dma(DEVICE.0, WINDOW + last, true), Some(0x40_0000_0000 + last));
    }
}

#[test]
fn running_out_of_frames_changes_nothing() {
    for kind in kinds().filter(|kind| kind.mode != Mode::VtdFirstStage && kind.cap == CAP) {
        let (mut machine, mut domain) = Machine::with_device(kind);
        machine.map(&mut domain, WINDOW, 0x8000_0000, 0x1000);
        let memory = machine.model.memory();
        let before = memory.frames_in_use();
        for budget in 0..4 {
            memory.set_budget(budget);
            // Needs 4: two page tables below one directory, and one below another.
            let refused = domain.map(
                Iova(WINDOW + (1 << 30) - 0x40_0000),
                PhysAddr(0x8000_1000),
                0x40_1000,
                Permissions::ReadWrite,
            );
            let error = refused.err();
            assert_eq!(error, Some(Error::OutOfFrames));
            assert_eq!(error.map(Error::blame), Some(Blame::Resources));
            assert_eq!(memory.frames_in_use(), before);
        }
        memory.set_budget(4);
        machine.map(&mut domain, WINDOW + (1 << 30) - 0x40_0000, 0x8000_1000, 0x40_1000);
        assert_eq!(machine.model.dma(DEVICE.0, WINDOW + (1 << 30), true), Some(0x8040_1000));
    }
}

#[test]
fn refusals_name_the_place_and_change_nothing() {
    for kind in with_own_tables() {
        let (mut machine, mut domain) = Machine::with_device(kind);
        machine.map(&mut domain, WINDOW, 0x8000_0000, 0x40_0000);
        let mut map =
            |iova, bytes| domain.map(Iova(iova), PhysAddr(0x9000_0000), bytes, Permissions::ReadWrite).err();
        assert_eq!(map(WINDOW - 0x1000, 0x2000), Some(Error::AlreadyMapped { iova: Iova(WINDOW) }));
        assert_eq!(map(WINDOW & !0x3fff_ffff, 1 << 30), Some(Error::AlreadyMapped { iova: Iova(WINDOW) }));
        assert_eq!(map(1 << 39, 0x1000), Some(Error::BadRange { iova: Iova(1 << 39), bytes: 0x1000 }));
        assert_eq!(map(0xfee0_0000, 0x1000), Some(Error::InterruptRange { iova: Iova(0xfee0_0000) }));
        let mut unmap = |iova, bytes| domain.unmap(Iova(iova), bytes).err();
        assert_eq!(unmap(WINDOW, 0x1000), Some(Error::SplitsLargePage { iova: Iova(WINDOW) }));
        assert_eq!(unmap(WINDOW, 0x30_0000), Some(Error::SplitsLargePage { iova: Iova(WINDOW + 0x20_0000) }));
        assert_eq!(unmap(WINDOW, 0x60_0000), Some(Error::NotMapped { iova: Iova(WINDOW + 0x40_0000) }));
        assert_eq!(unmap(1 << 39, 0x1000), Some(Error::BadRange { iova: Iova(1 << 39), bytes: 0x1000 }));
        assert!(machine.model.dma(DEVICE.0, WINDOW, true).is_some());
        assert!(domain.unflushed().is_none(), "refused calls leave nothing to confirm");
    }
}

#[test]
fn a_forgotten_flush_goes_with_the_next_one() {
    for kind in PLAIN {
        let (mut machine, mut domain) = Machine::with_device(kind);
        machine.map(&mut domain, WINDOW, 0x8000_0000, 0x1000);
        assert!(machine.model.dma(DEVICE.0, WINDOW, true).is_some());
        drop(domain.unmap(Iova(WINDOW), 0x1000).unwrap());
        assert_eq!(domain.quarantined_frames(), 2);
        machine.map(&mut domain, WINDOW + (5 << 30), 0x8000_2000, 0x1000);
        assert_eq!(domain.quarantined_frames(), 0, "even where the next change only adds");
        assert_eq!(machine.model.dma(DEVICE.0, WINDOW, true), None);
    }
}

#[test]
fn tables_that_no_flush_freed_come_back_with_the_domain() {
    for kind in with_own_tables() {
        let (mut machine, mut domain) = Machine::with_device(kind);
        let before = machine.model.memory().frames_in_use();
        machine.map(&mut domain, WINDOW, 0x8000_0000, 0x1000);
        drop(domain.unmap(Iova(WINDOW), 0x1000).unwrap());
        assert_eq!(domain.quarantined_frames(), 2);
        machine.detach(DEVICE, &mut domain).unwrap();
        assert!(domain.destroy(&mut machine.ids));
        let mut second = machine.domain();
        machine.attach(DEVICE, &mut second).unwrap();
        assert_eq!(machine.model.memory().frames_in_use(), before, "{kind:x?}");
    }
}

#[test]
fn unconfirmed_frames_stay_out_of_use() {
    for kind in PLAIN {
        let (mut machine, mut domain) = Machine::with_device(kind);
        machine.map(&mut domain, WINDOW, 0x8000_0000, 0x1000);
        let before = machine.model.memory().frames_in_use();
        machine.model.sabotage(Sabotage { is_stuck: true, ..Sabotage::default() });
        let failed = flush(domain.unmap(Iova(WINDOW), 0x1000).unwrap(), &mut machine.unit);
        assert_eq!(failed.map_err(Error::blame), Err(Blame::Unit));
        assert_eq!(machine.model.memory().frames_in_use(), before);
        assert_eq!(domain.quarantined_frames(), 2);
        let again = flush(domain.unflushed().unwrap(), &mut machine.unit);
        assert_eq!(again, Err(Error::Isolated));
        assert!(!domain.destroy(&mut machine.ids), "still attached to a unit that may use it");
    }
}

#[test]
fn destroying_gives_everything_back() {
    for kind in kinds() {
        let mut machine = Machine::new(kind);
        machine.unit.enable_translation(kind.mode).unwrap();
        let mut first = machine.domain();
        machine.attach(DEVICE, &mut first).unwrap();
        machine.detach(DEVICE, &mut first).unwrap();
        let before = machine.model.memory().frames_in_use();
        for _ in 0..3 {
            machine.attach(DEVICE, &mut first).unwrap();
            machine.map(&mut first, WINDOW, 0x8000_1000, 0x40_0000);
            assert!(machine.model.dma(DEVICE.0, WINDOW, false).is_some());
            machine.detach(DEVICE, &mut first).unwrap();
            let id = first.id();
            assert!(first.destroy(&mut machine.ids));
            first = machine.domain();
            assert_eq!(first.id(), id, "the id is used again, and nothing of its old life shows");
            machine.attach(DEVICE, &mut first).unwrap();
            assert_eq!(machine.model.dma(DEVICE.0, WINDOW, false), None);
            machine.detach(DEVICE, &mut first).unwrap();
            assert_eq!(machine.model.memory().frames_in_use(), before);
        }
    }
}

#[test]
fn one_domain_behind_two_units_of_different_kinds() {
    for mode in PLAIN.map(|kind| kind.mode) {
        one_domain_behind_two_units(mode);
    }
}

/// Two units of different kinds in one mode.
struct Pair {
    memory: Memory,
    models: [Model; 2],
    units: [TestUnit; 2],
    ids: DomainIds,
}

impl Pair {
    /// With a domain that has `DEVICE` behind both.
    fn with_domain(mode: Mode) -> (Self, TestDomain) {
        let memory = Memory::new(false, false);
        let scalable = SCALABLE | SECOND_STAGE | FIRST_STAGE;
        let kinds = [(CAP, ECAP & !1 | scalable), (0x00d2_0080_2226_0286, ECAP & !1 | 1 << 7 | scalable)];
        let models = [0, 1].map(|id| Model::with_memory(id, kinds[id].0, kinds[id].1, memory.clone()));
        let mut units = [0, 1].map(|id| start(&models[id], id).unwrap());
        units.iter_mut().for_each(|unit| unit.enable_translation(mode).unwrap());
        let both = units[0].capabilities().intersection(units[1].capabilities());
        let mut ids = DomainIds::new();
        let mut domain = Owner::new(&memory, &mut ids, both, mode).unwrap();
        for unit in &mut units {
            domain.attach(unit, DEVICE).unwrap();
        }
        (Pair { memory, models, units, ids }, domain)
    }
}

/// Whichever unit fails: the others are told, and the change stays unconfirmed.
#[test]
fn a_change_is_confirmed_by_every_unit_or_not_at_all() {
    for (mode, broken) in PLAIN.into_iter().flat_map(|kind| [(kind.mode, 0), (kind.mode, 1)]) {
        let (Pair { models, mut units, .. }, mut domain) = Pair::with_domain(mode);
        let mapped = domain.map(Iova(WINDOW), PhysAddr(0x8000_0000), 0x1000, Permissions::ReadWrite).unwrap();
        mapped.flush(|unit, what| units[unit.get()].invalidate(what)).unwrap();
        models.iter().for_each(|model| assert!(model.dma(DEVICE.0, WINDOW, true).is_some()));
        models[broken].sabotage(Sabotage { is_stuck: true, ..Sabotage::default() });
        let unmapped = domain.unmap(Iova(WINDOW), 0x1000).unwrap();
        let failed = unmapped.flush(|unit, what| units[unit.get()].invalidate(what));
        assert_eq!(failed.map_err(Error::blame), Err(Blame::Unit), "{mode:?}, unit {broken}");
        assert_eq!(models[1 - broken].dma(DEVICE.0, WINDOW, true), None);
        assert!(domain.unflushed().is_some() && domain.quarantined_frames() > 0);
    }
}

fn one_domain_behind_two_units(mode: Mode) {
    let (Pair { memory, models, mut units, mut ids }, mut domain) = Pair::with_domain(mode);
    let mut strong = Owner::new(&memory, &mut ids, units[0].capabilities(), mode).unwrap();
    assert_eq!(strong.attach(&mut units[1], OTHER), Err(Error::IncompatibleDomain));
    for model in &models {
        assert_eq!(model.dma(DEVICE.0, WINDOW, true), None);
    }
    let mut asked = Vec::new();
    let mapped = domain.map(Iova(WINDOW), PhysAddr(0x8000_0000), 0x20_0000, Permissions::ReadWrite).unwrap();
    mapped
        .flush(|unit, what| {
            asked.push(unit);
            units[unit.get()].invalidate(what)
        })
        .unwrap();
    assert_eq!(asked, [0, 1].map(|at| UnitIndex::new(at).unwrap()));
    for model in &models {
        assert_eq!(model.dma(DEVICE.0, WINDOW + 0x1000, true), Some(0x8000_1000));
    }
    let unmapped = domain.unmap(Iova(WINDOW), 0x20_0000).unwrap();
    unmapped.flush(|unit, what| units[unit.get()].invalidate(what)).unwrap();
    for model in &models {
        assert_eq!(model.dma(DEVICE.0, WINDOW + 0x1000, true), None);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: if cfg!(miri) { 2 } else { 192 }, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn agrees_with_a_plain_map(kind in 0..kinds().count(), steps in plain_map::steps()) {
        let (mut machine, domain) = Machine::with_device(kinds().nth(kind).unwrap());
        plain_map::agrees(&mut machine, domain, steps);
    }
}

impl plain_map::Mapped for TestDomain {
    fn map(&mut self, iova: Iova, phys: PhysAddr, bytes: u64, permissions: Permissions) -> Changed<'_> {
        self.map(iova, phys, bytes, permissions)
    }

    fn unmap(&mut self, iova: Iova, bytes: u64) -> Changed<'_> {
        self.unmap(iova, bytes)
    }

    fn quarantined_frames(&mut self) -> usize {
        self.quarantined_frames()
    }

    /// The CPU's entries cannot forbid reading.
    fn granted(&self, permissions: Permissions) -> Permissions {
        match (self, permissions) {
            (Owner::Shared { .. }, Permissions::WriteOnly) => Permissions::ReadWrite,
            _ => permissions,
        }
    }
}

impl plain_map::Bed for Machine {
    fn memory(&self) -> Memory {
        self.model.memory()
    }

    fn flush(&mut self, change: Unflushed<'_, Memory>) {
        flush(change, &mut self.unit).unwrap();
    }

    fn lands(&self, iova: u64, is_write: bool) -> Option<u64> {
        self.model.dma(DEVICE.0, iova, is_write)
    }

    fn drain(&mut self) {
        self.unit.drain_faults(|_| {});
    }
}
