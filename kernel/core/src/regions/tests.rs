use std::collections::BTreeMap;
use std::string::String;

use proptest::prelude::*;

use super::*;
use crate::testing::{cases, with_full_heap};

const PAGE: u64 = PAGE_BYTES;
const LARGE: u64 = weir_abi::layout::LARGE_PAGE_BYTES;

fn regions(limit: u32) -> Regions<char> {
    Regions::new(AREAS, limit)
}

#[test]
fn a_region_is_found_by_start_and_by_any_address() {
    let mut regions = regions(8);
    regions.insert_at(PRIVATE_START, 2 * PAGE, 'a').unwrap();
    assert_eq!(regions.get(PRIVATE_START).map(Region::range), Some(PRIVATE_START..PRIVATE_START + 2 * PAGE));
    assert!(regions.get(PRIVATE_START + PAGE).is_none());
    for inside in [0, 1, PAGE, 2 * PAGE - 1] {
        assert_eq!(regions.find_containing(PRIVATE_START + inside).map(Region::value), Some(&'a'));
    }
    assert!(regions.find_containing(PRIVATE_START + 2 * PAGE).is_none());
    assert!(regions.find_containing(PRIVATE_START - 1).is_none());
    assert!(regions.remove(PRIVATE_START + PAGE).is_none());
    assert_eq!(regions.remove(PRIVATE_START), Some((2 * PAGE, 'a')));
    assert!(regions.is_empty() && regions.remove(PRIVATE_START).is_none());
}

#[test]
fn one_area_is_looked_through_without_the_others() {
    let mut regions = regions(8);
    for (start, value) in [(DMA_WINDOW_START, 'd'), (PRIVATE_START, 'p'), (PROGRAM_BASE, 'x')] {
        regions.insert_at(start, PAGE, value).unwrap();
    }
    assert_eq!(regions.iter_in(REGISTERS).count(), 0);
    regions.insert_at(REGISTERS_START + PAGE, PAGE, 'b').unwrap();
    regions.insert_at(REGISTERS_START, PAGE, 'a').unwrap();
    let values = |range| regions.iter_in(range).map(|region| *region.value()).collect::<String>();
    assert_eq!(values(REGISTERS), "ab");
    assert_eq!(values(REGISTERS_START + PAGE..REGISTERS_END), "b");
    assert_eq!(values(REGISTERS_START..REGISTERS_START + PAGE), "a");
}

#[test]
fn only_whole_pages_in_one_area() {
    let mut regions = regions(8);
    let start = DMA_WINDOW_START;
    let wrong = [
        (start + 1, PAGE),
        (start, PAGE + 1),
        (start, 0),
        (start - PAGE, PAGE),
        (start - PAGE, 2 * PAGE),
        (DMA_WINDOW_END - PAGE, 2 * PAGE),
        (0, PAGE),
        (weir_abi::layout::KERNEL_PAGE, PAGE),
        (u64::MAX - PAGE + 1, PAGE),
        (PROGRAM_BASE, 0u64.wrapping_sub(PAGE)),
    ];
    for (start, bytes) in wrong {
        assert_eq!(regions.insert_at(start, bytes, 'x'), Err(Error::BadArgument), "{start:#x} {bytes:#x}");
    }
    for area in AREAS {
        regions.insert_at(area.start, area.end - area.start, 'a').unwrap();
    }
}

#[test]
fn overlaps_are_busy_and_neighbours_may_touch() {
    let mut regions = regions(8);
    let at = |page: u64| PRIVATE_START + page * PAGE;
    regions.insert_at(at(4), 4 * PAGE, 'a').unwrap();
    for (first, pages) in [(4, 4), (3, 2), (7, 2), (5, 1), (0, 20)] {
        assert_eq!(regions.insert_at(at(first), pages * PAGE, 'x'), Err(Error::Busy));
    }
    regions.insert_at(at(3), PAGE, 'b').unwrap();
    regions.insert_at(at(8), PAGE, 'c').unwrap();
    assert_eq!(regions.iter().map(|region| *region.value()).collect::<String>(), "bac");
}

#[test]
fn the_limit_is_a_quota_and_refusals_change_nothing() {
    let mut regions = regions(1);
    regions.insert_at(PRIVATE_START, PAGE, 'a').unwrap();
    assert_eq!(regions.insert_at(PRIVATE_START + PAGE, PAGE, 'b'), Err(Error::Quota));
    assert_eq!(regions.insert_anywhere(PRIVATE, PAGE, PAGE, 'b'), Err(Error::Quota));
    assert_eq!(regions.len(), 1);
    regions.remove(PRIVATE_START).unwrap();
    regions.insert_anywhere(PRIVATE, PAGE, PAGE, 'b').unwrap();
}

#[test]
fn first_fit_leaves_a_guard_page() {
    let mut regions = regions(8);
    assert_eq!(regions.insert_anywhere(PRIVATE, PAGE, PAGE, 'a'), Ok(PRIVATE_START));
    assert_eq!(regions.insert_anywhere(PRIVATE, 2 * PAGE, PAGE, 'b'), Ok(PRIVATE_START + 2 * PAGE));
    assert_eq!(regions.insert_anywhere(PRIVATE, PAGE, PAGE, 'c'), Ok(PRIVATE_START + 5 * PAGE));
    regions.remove(PRIVATE_START + 2 * PAGE).unwrap();
    assert_eq!(regions.insert_anywhere(PRIVATE, 3 * PAGE, PAGE, 'd'), Ok(PRIVATE_START + 7 * PAGE));
    assert_eq!(regions.insert_anywhere(PRIVATE, 2 * PAGE, PAGE, 'e'), Ok(PRIVATE_START + 2 * PAGE));
}

#[test]
fn large_pages_are_aligned_and_the_area_has_an_end() {
    let mut regions = regions(8);
    regions.insert_anywhere(DMA_WINDOW, PAGE, PAGE, 'a').unwrap();
    assert_eq!(regions.insert_anywhere(DMA_WINDOW, LARGE, LARGE, 'b'), Ok(DMA_WINDOW_START + LARGE));
    let rest = DMA_WINDOW_END - DMA_WINDOW_START - 2 * LARGE - PAGE;
    assert_eq!(regions.insert_anywhere(DMA_WINDOW, rest + PAGE, PAGE, 'x'), Err(Error::NoMemory));
    assert_eq!(regions.insert_anywhere(DMA_WINDOW, rest, PAGE, 'c'), Ok(DMA_WINDOW_START + 2 * LARGE + PAGE));
    assert_eq!(regions.insert_anywhere(DMA_WINDOW, LARGE, PAGE, 'x'), Err(Error::NoMemory));
}

#[test]
fn senseless_requests_are_refused() {
    let mut regions = regions(8);
    let wrong = [
        (PRIVATE, 0, PAGE),
        (PRIVATE, 1, PAGE),
        (PRIVATE, PAGE, 0),
        (PRIVATE, PAGE, 2048),
        (PRIVATE, PAGE, 3 * PAGE),
        (0..PRIVATE_END, PAGE, PAGE),
    ];
    for (area, bytes, align) in wrong {
        assert_eq!(regions.insert_anywhere(area, bytes, align, 'x'), Err(Error::BadArgument));
    }
    let most = u64::MAX - PAGE + 1;
    for (bytes, align) in [(most, PAGE), (PAGE, 1 << 63), (most, 1 << 63)] {
        assert_eq!(regions.insert_anywhere(PRIVATE, bytes, align, 'x'), Err(Error::NoMemory));
    }
    #[expect(clippy::reversed_empty_ranges, reason = "the empty area is the test")]
    let empty = PRIVATE_END..PRIVATE_START;
    assert_eq!(regions.insert_anywhere(empty, PAGE, PAGE, 'x'), Err(Error::NoMemory));
}

#[test]
fn a_full_heap_is_an_error() {
    let mut regions = regions(8);
    assert_eq!(with_full_heap(|| regions.insert_at(PRIVATE_START, PAGE, 'a')), Err(Error::NoMemory));
    assert!(regions.is_empty() && regions.iter().next().is_none());
    regions.insert_at(PRIVATE_START, PAGE, 'a').unwrap();
}

#[test]
fn values_are_dropped_once() {
    let value = std::rc::Rc::new(());
    let mut regions = Regions::new(AREAS, 3);
    for _ in 0..3 {
        regions.insert_anywhere(PRIVATE, PAGE, PAGE, value.clone()).unwrap();
    }
    assert!(regions.insert_anywhere(PRIVATE, PAGE, PAGE, value.clone()).is_err());
    assert_eq!(std::rc::Rc::strong_count(&value), 4);
    assert_eq!(regions.pop_first().map(|region| region.range().start), Some(PRIVATE_START));
    assert_eq!((regions.len(), std::rc::Rc::strong_count(&value)), (2, 3));
    drop(regions);
    assert_eq!(std::rc::Rc::strong_count(&value), 1);
}

#[derive(Clone, Debug)]
enum Step {
    At(u64, u64),
    Anywhere(u64, u64),
    Remove(u64),
}

const PAGES: u64 = 32;
const AREA: Range<u64> = PRIVATE_START..PRIVATE_START + PAGES * PAGE;

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..PAGES, 1u64..6).prop_map(|(page, pages)| Step::At(page, pages)),
        (1u64..6, 0u32..4).prop_map(|(pages, shift)| Step::Anywhere(pages, 1 << shift)),
        (0..PAGES).prop_map(Step::Remove),
    ]
}

/// Which regions exist: first page → pages.
#[derive(Default)]
struct Model(BTreeMap<u64, u64>);

impl Model {
    fn overlaps(&self, first: u64, end: u64) -> bool {
        self.0.iter().any(|(start, pages)| *start < end && first < start + pages)
    }

    /// The lowest aligned place with a free page on each side.
    fn place(&self, pages: u64, align: u64) -> Option<u64> {
        (0..=PAGES - pages)
            .filter(|first| (PRIVATE_START / PAGE + first).is_multiple_of(align))
            .find(|first| !self.overlaps(first.saturating_sub(1), first + pages + 1))
    }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn behaves_as_the_model(steps in prop::collection::vec(step(), 0..60)) {
        const ONLY: &[Range<u64>] = &[AREA];
        let mut regions = Regions::new(ONLY, 100);
        let mut model = Model::default();
        let at = |page: u64| PRIVATE_START + page * PAGE;
        for (value, step) in steps.into_iter().enumerate() {
            match step {
                Step::At(page, pages) => {
                    let expected = match (page + pages > PAGES, model.overlaps(page, page + pages)) {
                        (true, _) => Err(Error::BadArgument),
                        (false, true) => Err(Error::Busy),
                        (false, false) => Ok(()),
                    };
                    prop_assert_eq!(regions.insert_at(at(page), pages * PAGE, value), expected);
                    if expected.is_ok() {
                        model.0.insert(page, pages);
                    }
                }
                Step::Anywhere(pages, align) => {
                    let place = model.place(pages, align);
                    let got = regions.insert_anywhere(AREA, pages * PAGE, align * PAGE, value);
                    prop_assert_eq!(got, place.map(at).ok_or(Error::NoMemory));
                    if let Some(page) = place {
                        model.0.insert(page, pages);
                    }
                }
                Step::Remove(page) => {
                    let expected = model.0.remove(&page).map(|pages| pages * PAGE);
                    prop_assert_eq!(regions.remove(at(page)).map(|(bytes, _)| bytes), expected);
                }
            }
            let listed: Vec<_> = regions.iter().map(Region::range).collect();
            let expected: Vec<_> = model.0.iter().map(|(page, pages)| at(*page)..at(page + pages)).collect();
            prop_assert_eq!(listed, expected);
            prop_assert_eq!(regions.len() as usize, model.0.len());
            for page in 0..PAGES {
                prop_assert_eq!(regions.find_containing(at(page)).is_some(), model.overlaps(page, page + 1));
            }
        }
    }
}

#[test]
fn a_value_is_replaced_in_place() {
    let mut regions = Regions::new(AREAS, 4);
    regions.insert_at(PRIVATE.start, 4096, 1).unwrap();
    assert_eq!(regions.replace(PRIVATE.start, 2), Some(1));
    assert_eq!(regions.replace(PRIVATE.start + 4096, 3), None);
    assert_eq!(regions.remove(PRIVATE.start), Some((4096, 2)));
}
