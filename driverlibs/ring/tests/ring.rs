//! Rings stay inside their memory whatever the index. Also run under Miri.

use weir_hal::{DmaWindow, Error};
use weir_ring::{LocalRing, MAX_ENTRIES, Position, SharedRing, SharedU16};
use weir_sim::SimWindow;

#[test]
fn every_index_falls_on_a_slot() {
    let window = SimWindow::default();
    let mut memory = window.allocate(64).expect("memory");
    let mut ring = SharedRing::<u64>::take_from(&mut memory, 8).expect("fits");
    let mut local = LocalRing::new(8, |i| i).expect("a power of two");
    for index in [0, 7, 8, 0x7fff, 0x8000, u16::MAX] {
        ring.store(index, u64::from(index) + 1);
        assert_eq!(ring.load(index & 7), u64::from(index) + 1);
        assert_eq!(*local.at(index), index & 7);
    }
    for index in [0usize, 7, 8, 0x8000, 0x1_0003, usize::MAX] {
        ring.view().store(index, index as u64);
        assert_eq!(ring.view().load(index & 7), index as u64);
        assert_eq!(ring.load(Position::of(index).0), index as u64);
        assert_eq!(usize::from(*local.view().at(index)), index & 7);
    }
}

#[test]
fn driver_and_device_see_the_same_entries() {
    let window = SimWindow::default();
    let mut memory = window.allocate(4096).expect("memory");
    let mut index = SharedU16::take_from(&mut memory).expect("fits");
    memory.split_to(6).expect("fits");
    let mut ring = SharedRing::<u64>::take_from(&mut memory, 4).expect("fits");
    index.store_release(0x1234);
    ring.store(3, 0x1122_3344_5566_7788);
    assert_eq!(window.read_u16(index.iova().0), 0x1234);
    assert_eq!(window.read_u64(ring.iova().0 + 24), 0x1122_3344_5566_7788);
    window.write(index.iova().0, &[1, 0]);
    window.write(ring.iova().0, &[5, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!((index.load_acquire(), ring.load(4)), (1, 5));
    assert_eq!(window.faults(), 0);
}

#[test]
fn impossible_rings_are_refused() {
    let window = SimWindow::default();
    let mut memory = window.allocate(4096).expect("memory");
    for entries in [0, 3, MAX_ENTRIES + 1, u16::MAX] {
        assert_eq!(SharedRing::<u8>::take_from(&mut memory, entries).err(), Some(Error::OutOfRange));
        assert!(LocalRing::new(entries, |_| ()).is_none());
    }
    assert!(SharedRing::<u64>::take_from(&mut memory, 1024).is_err(), "longer than the memory");
    memory.split_to(1).expect("fits");
    assert!(SharedRing::<u64>::take_from(&mut memory, 8).is_err(), "not aligned");
    assert!(SharedU16::take_from(&mut memory).is_err(), "not aligned");
}

#[test]
fn positions_wrap() {
    let start = Position(u16::MAX);
    assert_eq!(start.plus(3), Position(2));
    assert_eq!(start.plus(3).ahead_of(start), 3);
    assert_eq!(Position(2).minus(3), start);
}

#[test]
fn slots_that_exist_become_a_ring_only_if_a_mask_can_index_them() {
    let mut ring = LocalRing::of(vec!["a", "b", "c", "d"]).expect("a power of two");
    assert_eq!((*ring.at(3), *ring.at(4), *ring.at(u16::MAX)), ("d", "a", "d"));
    assert!(LocalRing::of(Vec::<u8>::new()).is_none());
    assert!(LocalRing::of(vec![0; 3]).is_none());
    assert!(LocalRing::of(vec![0; 2 * usize::from(MAX_ENTRIES)]).is_none());
}
