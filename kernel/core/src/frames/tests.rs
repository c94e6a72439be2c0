use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::testing::cases;

fn states(count: usize) -> Vec<FrameState> {
    vec![FrameState::UNUSABLE; count]
}

fn bytes(frames: Range<u64>) -> Range<PhysAddr> {
    Frame(frames.start).address()..Frame(frames.end).address()
}

#[test]
fn frames_and_addresses_convert() {
    assert_eq!(Frame::containing(PhysAddr(0x1fff)), Frame(1));
    assert_eq!(Frame(2).address(), PhysAddr(0x2000));
}

#[test]
fn without_memory_nothing_is_allocated() {
    let mut states = states(8);
    let mut allocator = FrameAllocator::new(&mut states);
    assert_eq!(allocator.allocate(0), None);
    assert_eq!((allocator.free_frames(), allocator.total_frames()), (0, 0));
}

#[test]
fn old_states_are_forgotten() {
    let mut states = states(8);
    FrameAllocator::new(&mut states).add(bytes(0..8)).unwrap();
    assert_eq!(FrameAllocator::new(&mut states).allocate(0), None);
}

#[test]
fn frames_cut_by_an_end_are_left_out() {
    let mut states = states(8);
    let mut allocator = FrameAllocator::new(&mut states);
    allocator.add(PhysAddr(0x1001)..PhysAddr(0x4fff)).unwrap();
    assert_eq!(allocator.total_frames(), 2);
    assert_eq!(allocator.allocate(1), Some(Frame(2)));
    allocator.add(PhysAddr(0x6001)..PhysAddr(0x6fff)).unwrap();
    allocator.add(PhysAddr(0x7000)..PhysAddr(0x6000)).unwrap();
    assert_eq!(allocator.total_frames(), 2);
}

#[test]
fn memory_is_added_once_and_only_where_covered() {
    let mut states = states(8);
    let mut allocator = FrameAllocator::new(&mut states);
    allocator.add(bytes(2..4)).unwrap();
    assert_eq!(allocator.add(bytes(0..3)), Err(FrameError::AddedTwice { frame: 2 }));
    assert_eq!(allocator.add(bytes(6..9)), Err(FrameError::NotCovered { frame: 8 }));
    assert_eq!(allocator.add(bytes(8..9)), Err(FrameError::NotCovered { frame: 8 }));
    assert_eq!(
        allocator.add(PhysAddr(0)..PhysAddr(u64::MAX)),
        Err(FrameError::NotCovered { frame: (1 << 52) - 2 })
    );
    assert_eq!((allocator.free_frames(), allocator.total_frames()), (2, 2));
}

#[test]
fn neighbouring_ranges_grow_together() {
    let mut states = states(16);
    let mut allocator = FrameAllocator::new(&mut states);
    for first in [3, 0, 2, 1] {
        allocator.add(bytes(first..first + 1)).unwrap();
    }
    assert_eq!(allocator.allocate(2), Some(Frame(0)));
    assert_eq!(allocator.allocate(0), None);
}

#[test]
fn orders_above_the_largest_are_refused() {
    let mut states = states(4);
    let mut allocator = FrameAllocator::new(&mut states);
    allocator.add(bytes(0..4)).unwrap();
    assert_eq!(allocator.allocate(3), None);
    for order in [MAX_ORDER + 1, 63, u8::MAX] {
        assert_eq!(allocator.allocate(order), None);
        assert!(allocator.free(Frame(0), order).is_err());
    }
}

#[test]
#[cfg_attr(miri, ignore = "a million frames")]
fn a_gibibyte_is_one_block_and_two_do_not_merge() {
    let mut states = states(2 << MAX_ORDER);
    let mut allocator = FrameAllocator::new(&mut states);
    allocator.add(bytes(0..2 << MAX_ORDER)).unwrap();
    let blocks = [allocator.allocate(MAX_ORDER).unwrap(), allocator.allocate(MAX_ORDER).unwrap()];
    assert_eq!(allocator.allocate(0), None);
    for block in blocks {
        allocator.free(block, MAX_ORDER).unwrap();
    }
    assert_eq!(allocator.free_frames(), 2 << MAX_ORDER);
    assert!(blocks.contains(&Frame(0)) && blocks.contains(&Frame(1 << MAX_ORDER)));
}

#[test]
fn wrong_frees_are_refused() {
    let mut states = states(8);
    let mut allocator = FrameAllocator::new(&mut states);
    allocator.add(bytes(0..6)).unwrap();
    let block = allocator.allocate(1).unwrap();
    let wrong_order = FrameError::WrongOrder { frame: block.0, allocated: 1, given: 0 };
    assert_eq!(allocator.free(block, 0), Err(wrong_order));
    let middle = Frame(block.0 + 1);
    assert_eq!(allocator.free(middle, 0), Err(FrameError::NotAllocated { frame: middle.0 }));
    assert_eq!(allocator.free(Frame(7), 0), Err(FrameError::NotAllocated { frame: 7 }));
    assert_eq!(allocator.free(Frame(8), 0), Err(FrameError::NotCovered { frame: 8 }));
    let far = 1 << 32 | block.0;
    assert_eq!(allocator.free(Frame(far), 1), Err(FrameError::NotCovered { frame: far }));
    assert_eq!(allocator.free_frames(), 4);
    allocator.free(block, 1).unwrap();
    assert_eq!(allocator.free(block, 1), Err(FrameError::NotAllocated { frame: block.0 }));
    assert_eq!(allocator.free_frames(), 6);
}

const COVERED: u64 = 200;

#[derive(Clone, Debug)]
enum Step {
    Allocate(u8),
    Free(prop::sample::Index),
    FreeAnything(u64, u8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0u8..8).prop_map(Step::Allocate),
        2 => any::<prop::sample::Index>().prop_map(Step::Free),
        1 => (0..COVERED + 8, 0u8..8).prop_map(|(frame, order)| Step::FreeAnything(frame, order)),
    ]
}

/// What must be true: which frames are usable, and the allocated blocks with their orders.
struct Model {
    usable: Vec<bool>,
    blocks: BTreeMap<u64, u8>,
}

impl Model {
    fn is_free(&self, range: Range<u64>) -> bool {
        let taken =
            self.blocks.iter().any(|(first, order)| *first < range.end && range.start < first + (1 << order));
        !taken
            && range.end <= COVERED
            && range.into_iter().all(|frame| self.usable[usize::try_from(frame).unwrap()])
    }

    fn fits(&self, order: u8) -> bool {
        (0..COVERED).step_by(1 << order).any(|first| self.is_free(first..first + (1 << order)))
    }

    fn free_frames(&self) -> u64 {
        (0..COVERED).filter(|frame| self.is_free(*frame..frame + 1)).count() as u64
    }

    fn allocate(&mut self, order: u8, got: Option<Frame>) {
        let Some(Frame(first)) = got else { return assert!(!self.fits(order)) };
        assert_eq!(first % (1 << order), 0);
        assert!(self.is_free(first..first + (1 << order)));
        self.blocks.insert(first, order);
    }

    fn free(&mut self, frame: u64, order: u8, result: Result<(), FrameError>) {
        let expected = match self.blocks.get(&frame) {
            Some(allocated) if *allocated == order => Ok(()),
            Some(allocated) => Err(FrameError::WrongOrder { frame, allocated: *allocated, given: order }),
            None if frame >= COVERED => Err(FrameError::NotCovered { frame }),
            None => Err(FrameError::NotAllocated { frame }),
        };
        assert_eq!(result, expected);
        if result.is_ok() {
            self.blocks.remove(&frame);
        }
    }
}

proptest! {
    #![proptest_config(cases())]

    /// Any sequence does what the model does; because `allocate` fails only where no aligned block is free,
    /// this also proves that buddies are merged.
    #[test]
    #[cfg_attr(miri, ignore = "the model is slow, and the module has no unsafe code")]
    fn behaves_as_the_model(
        usable in prop::collection::vec(any::<prop::sample::Index>(), 0..4),
        steps in prop::collection::vec(step(), 0..80),
    ) {
        let mut states = states(usize::try_from(COVERED).unwrap());
        let mut allocator = FrameAllocator::new(&mut states);
        let mut model = Model { usable: vec![true; 200], blocks: BTreeMap::new() };
        let mut holes: Vec<u64> = usable.iter().map(|index| index.index(200) as u64).collect();
        holes.sort_unstable();
        holes.dedup();
        let mut first = 0;
        for hole in holes.iter().copied().chain([COVERED]) {
            allocator.add(bytes(first..hole)).unwrap();
            first = hole + 1;
        }
        for hole in holes {
            model.usable[usize::try_from(hole).unwrap()] = false;
        }
        let total = model.free_frames();
        for step in steps {
            match step {
                Step::Allocate(order) => model.allocate(order, allocator.allocate(order)),
                Step::Free(_) if model.blocks.is_empty() => {}
                Step::Free(index) => {
                    let (frame, order) = model.blocks.iter().nth(index.index(model.blocks.len())).unwrap();
                    let (frame, order) = (*frame, *order);
                    model.free(frame, order, allocator.free(Frame(frame), order));
                }
                Step::FreeAnything(frame, order) => {
                    model.free(frame, order, allocator.free(Frame(frame), order));
                }
            }
            prop_assert_eq!(allocator.free_frames(), model.free_frames());
            prop_assert_eq!(allocator.total_frames(), total);
        }
    }
}
