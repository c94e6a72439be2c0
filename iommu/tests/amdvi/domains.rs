//! Domains: what is mapped is reached, what is not is not, under every kind of unit.

use super::memory::Memory;
use super::model::{Event, FULL, Kind, OLD, Sabotage};
use super::{DEVICE, Machine, WINDOW, flush, kinds, plain_map};
use proptest::prelude::*;
use weir_iommu::address::{Iova, PhysAddr};
use weir_iommu::domain::{Domain, Permissions, Unflushed};
use weir_iommu::{Blame, Error, Mode};

#[test]
fn a_mapping_is_reached_and_its_neighbours_are_not() {
    for kind in kinds().chain([OLD]) {
        let (mut machine, mut domain) = Machine::with_device(kind);
        // Touched before: some units remember that nothing was there.
        assert_eq!(machine.model.dma(DEVICE.0, WINDOW, true), None);
        machine.map(&mut domain, WINDOW, 0x8000_0000, 0x3000);
        for (offset, lands) in [(0, true), (0x2ff8, true), (0x3000, false)] {
            let expected = lands.then_some(0x8000_0000 + offset);
            assert_eq!(machine.model.dma(DEVICE.0, WINDOW + offset, true), expected, "{kind:x?}");
        }
        assert_eq!(machine.model.dma(DEVICE.0, WINDOW - 8, false), None);
        assert_eq!(machine.model.dma(DEVICE.0, (1 << 39) + WINDOW, false), None, "beyond the table");
    }
}

#[test]
fn pages_of_every_size_translate_and_go() {
    for kind in kinds() {
        let (mut machine, mut domain) = Machine::with_device(kind);
        let empty = machine.model.memory().frames_in_use();
        for (bytes, tables) in [(0x1000, 2), (0x20_0000, 1), (1 << 30, 0u64)] {
            machine.map(&mut domain, WINDOW, 0x40_0000_0000, bytes);
            assert_eq!(machine.model.memory().frames_in_use() - empty, tables as usize);
            for at in [0, bytes - 8] {
                assert_eq!(machine.model.dma(DEVICE.0, WINDOW + at, true), Some(0x40_0000_0000 + at));
            }
            let change = domain.unmap(Iova(WINDOW), bytes).unwrap();
            assert!(
                machine.model.dma(DEVICE.0, WINDOW, true).is_some(),
                "the model keeps what it is not told"
            );
            flush(change, &mut machine.unit).unwrap();
            for at in [0, bytes - 8] {
                assert_eq!(machine.model.dma(DEVICE.0, WINDOW + at, true), None, "{kind:x?} {bytes:#x}");
            }
            assert_eq!(machine.model.memory().frames_in_use(), empty);
        }
    }
}

#[test]
fn tables_of_four_and_five_levels() {
    for (features, iova_bits) in [(0x29d7, 48), (0x29d7, 57), (0x21d7, 48)] {
        let mut machine = Machine::new(Kind { features, ..FULL });
        machine.unit.enable_translation().unwrap();
        let capabilities = machine.unit.capabilities();
        let mut domain =
            Domain::new(machine.model.memory(), &mut machine.ids, capabilities, Mode::AmdVi, iova_bits)
                .unwrap();
        machine.unit.attach(DEVICE, &mut domain).unwrap();
        let high = (1 << iova_bits) - 0x1000;
        machine.map(&mut domain, high, 0x8000_0000, 0x1000);
        assert_eq!(machine.model.dma(DEVICE.0, high + 8, true), Some(0x8000_0008));
        machine.unmap(&mut domain, high, 0x1000);
        assert_eq!(machine.model.dma(DEVICE.0, high + 8, true), None);
    }
    let mut machine = Machine::new(Kind { features: 0x21d7, ..FULL });
    let capabilities = machine.unit.capabilities();
    let five = Domain::new(machine.model.memory(), &mut machine.ids, capabilities, Mode::AmdVi, 49);
    assert_eq!(five.err(), Some(Error::Unsupported));
}

#[test]
fn permissions_are_the_devices_view() {
    let (mut machine, mut domain) = Machine::with_device(FULL);
    for (at, permissions) in [(0, Permissions::ReadOnly), (0x1000, Permissions::WriteOnly)] {
        let mapped = domain.map(Iova(WINDOW + at), PhysAddr(0x8000_0000), 4096, permissions).unwrap();
        flush(mapped, &mut machine.unit).unwrap();
    }
    let lands = |iova, is_write| machine.model.dma(DEVICE.0, iova, is_write).is_some();
    assert!(lands(WINDOW, false) && !lands(WINDOW, true));
    assert!(!lands(WINDOW + 0x1000, false) && lands(WINDOW + 0x1000, true));
}

#[test]
fn ranges_are_asked_for_by_page_and_additions_cost_nothing() {
    let (mut machine, mut domain) = Machine::with_device(FULL);
    let mut asked = |iova, bytes| {
        machine.model.take_events();
        machine.map(&mut domain, iova, 0x40_0000_0000, bytes);
        assert_eq!(machine.model.take_events(), []);
        machine.unmap(&mut domain, iova, bytes);
        machine.model.take_events()[0]
    };
    let pages = |address| Event::Command([0x3000_0001_0000_0000, address]);
    assert_eq!(asked(WINDOW + 0x1000, 0x1000), pages(WINDOW + 0x1002));
    assert_eq!(asked(WINDOW, 0x2000), pages(WINDOW + 3));
    assert_eq!(asked(WINDOW + 0x1000, 0x2000), pages(WINDOW + 0x1003), "the block of four around both");
    assert_eq!(asked(WINDOW, 1 << 30), pages(WINDOW + 0x1fff_f003));
    let (mut machine, mut domain) = Machine::with_device(Kind { caches_not_present: true, ..FULL });
    machine.model.take_events();
    machine.map(&mut domain, WINDOW, 0x8000_0000, 0x1000);
    assert_eq!(machine.model.take_events()[0], pages(WINDOW + 2));
}

#[test]
fn unconfirmed_frames_stay_out_of_use() {
    let (mut machine, mut domain) = Machine::with_device(FULL);
    machine.map(&mut domain, WINDOW, 0x8000_0000, 0x1000);
    assert!(machine.model.dma(DEVICE.0, WINDOW, true).is_some());
    let before = machine.model.memory().frames_in_use();
    machine.model.sabotage(Sabotage { stores_nothing: true, ..Sabotage::default() });
    let failed = flush(domain.unmap(Iova(WINDOW), 0x1000).unwrap(), &mut machine.unit);
    assert_eq!(failed.map_err(Error::blame), Err(Blame::Unit));
    assert_eq!(machine.model.memory().frames_in_use(), before);
    assert_eq!(domain.quarantined_frames(), 2);
    assert_eq!(flush(domain.unflushed().unwrap(), &mut machine.unit), Err(Error::Isolated));
    assert!(domain.destroy(&mut machine.ids).is_err(), "still attached to a unit that may use it");
}

#[test]
fn destroying_gives_everything_back() {
    for kind in kinds() {
        let mut machine = Machine::new(kind);
        machine.unit.enable_translation().unwrap();
        let mut first = machine.domain();
        let before = machine.model.memory().frames_in_use();
        for _ in 0..3 {
            machine.unit.attach(DEVICE, &mut first).unwrap();
            machine.map(&mut first, WINDOW, 0x8000_1000, 0x40_0000);
            assert!(machine.model.dma(DEVICE.0, WINDOW, false).is_some());
            machine.unit.detach(DEVICE, &mut first).unwrap();
            let id = first.id();
            first.destroy(&mut machine.ids).map_err(|_| ()).unwrap();
            first = machine.domain();
            assert_eq!(first.id(), id, "the id is used again, and nothing of its old life shows");
            machine.unit.attach(DEVICE, &mut first).unwrap();
            assert_eq!(machine.model.dma(DEVICE.0, WINDOW, false), None);
            machine.unit.detach(DEVICE, &mut first).unwrap();
            assert_eq!(machine.model.memory().frames_in_use(), before);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: if cfg!(miri) { 1 } else { 64 }, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn agrees_with_a_plain_map(kind in 0..kinds().count(), steps in plain_map::steps()) {
        let (mut machine, domain) = Machine::with_device(kinds().nth(kind).unwrap());
        plain_map::agrees(&mut machine, domain, steps);
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
