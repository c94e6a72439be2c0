//! The property both makes have: after any sequence of changes, devices reach what a plain map says and no more.

use super::memory::Memory;
use proptest::prelude::*;
use std::collections::BTreeMap;
use weir_iommu::Error;
use weir_iommu::address::{Iova, PhysAddr};
use weir_iommu::domain::{Domain, Permissions, Unflushed};

const WINDOW: u64 = 0x1_0000_0000;

/// A machine with a device in the domain.
pub(crate) trait Bed {
    fn memory(&self) -> Memory;
    fn flush(&mut self, change: Unflushed<'_, Memory>);
    /// Where an access of the device lands.
    fn lands(&self, iova: u64, is_write: bool) -> Option<u64>;
    /// Makes room for fault records.
    fn drain(&mut self);
}

/// What the steps are applied to: all a domain does but attaching.
pub(crate) trait Mapped {
    fn map(&mut self, iova: Iova, phys: PhysAddr, bytes: u64, permissions: Permissions) -> Changed<'_>;
    fn unmap(&mut self, iova: Iova, bytes: u64) -> Changed<'_>;
    /// Page-table frames that wait for a confirmation.
    fn quarantined_frames(&mut self) -> usize;
    /// What devices are allowed where this is asked for.
    fn granted(&self, permissions: Permissions) -> Permissions {
        permissions
    }
}

pub(crate) type Changed<'d> = weir_iommu::Result<Unflushed<'d, Memory>>;

impl Mapped for Domain<Memory> {
    fn map(&mut self, iova: Iova, phys: PhysAddr, bytes: u64, permissions: Permissions) -> Changed<'_> {
        self.map(iova, phys, bytes, permissions)
    }

    fn unmap(&mut self, iova: Iova, bytes: u64) -> Changed<'_> {
        self.unmap(iova, bytes)
    }

    fn quarantined_frames(&mut self) -> usize {
        Domain::quarantined_frames(self)
    }
}

/// A step of the property; numbers are in pages of a small arena.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Map { page: u64, frame: u64, pages: u64, permissions: Permissions },
    Unmap { page: u64, pages: u64 },
    Touch { page: u64 },
}

pub(crate) fn steps() -> impl Strategy<Value = Vec<Step>> {
    // Near 2 MiB boundaries on both sides, so that large leaves occur often.
    let page = || {
        (0u64..4, prop_oneof![Just(0u64), 0u64..4, 509u64..512])
            .prop_map(|(large, small)| large * 512 + small)
    };
    let pages = || prop_oneof![1u64..6, Just(512), 510u64..515, Just(1024), Just(1536)];
    let permissions =
        prop_oneof![Just(Permissions::ReadOnly), Just(Permissions::WriteOnly), Just(Permissions::ReadWrite)];
    let map = (page(), page(), pages(), permissions)
        .prop_map(|(page, frame, pages, permissions)| Step::Map { page, frame, pages, permissions });
    let unmap = (page(), pages()).prop_map(|(page, pages)| Step::Unmap { page, pages });
    let touch = page().prop_map(|page| Step::Touch { page });
    prop::collection::vec(prop_oneof![2 => map, 2 => unmap, 3 => touch], 1..40)
}

/// The domain as a plain map: page to frame, permissions, and first page and length of its `map` call's leaf.
#[derive(Default)]
struct Expected(BTreeMap<u64, (u64, Permissions)>);

const FRAMES_AT: u64 = 0x40_0000_0000;
/// Beyond the last page a step can touch.
const ARENA_PAGES: u64 = 4096;

/// Runs the steps and compares after each, and everything at the end.
pub(crate) fn agrees(bed: &mut impl Bed, mut domain: impl Mapped, steps: Vec<Step>) {
    let empty = bed.memory().frames_in_use();
    let mut expected = Expected::default();
    for step in steps {
        expected.apply(&step, bed, &mut domain);
        bed.drain();
    }
    for page in 0..ARENA_PAGES {
        expected.check(page, bed);
        bed.drain();
    }
    // Every leaf is still there to be removed: page by page, or as the large page it is part of.
    for page in 0..ARENA_PAGES {
        if expected.0.contains_key(&page) {
            let gone = [1, 512, 512 * 512].into_iter().find(|&pages| {
                let range = (Iova(WINDOW + page * 4096), pages * 4096);
                domain.unmap(range.0, range.1).map(|change| bed.flush(change)).is_ok()
            });
            let gone = gone.expect("some leaf starts here");
            (page..page + gone).for_each(|page| {
                expected.0.remove(&page);
            });
        }
    }
    assert_eq!(domain.quarantined_frames(), 0);
    assert_eq!(bed.memory().frames_in_use(), empty);
}

impl Expected {
    fn apply(&mut self, step: &Step, bed: &mut impl Bed, domain: &mut impl Mapped) {
        match *step {
            Step::Map { page, frame, pages, permissions } => {
                let is_free = (page..page + pages).all(|page| !self.0.contains_key(&page));
                let (iova, phys) = (Iova(WINDOW + page * 4096), PhysAddr(FRAMES_AT + frame * 4096));
                let permissions = domain.granted(permissions);
                let mapped = domain.map(iova, phys, pages * 4096, permissions);
                assert_eq!(mapped.is_ok(), is_free);
                if let Ok(mapped) = mapped {
                    bed.flush(mapped);
                    self.0.extend((0..pages).map(|at| (page + at, (frame + at, permissions))));
                }
            }
            Step::Unmap { page, pages } => {
                let is_mapped = (page..page + pages).all(|page| self.0.contains_key(&page));
                match domain.unmap(Iova(WINDOW + page * 4096), pages * 4096) {
                    Ok(change) => {
                        assert!(is_mapped);
                        bed.flush(change);
                        (page..page + pages).for_each(|page| {
                            self.0.remove(&page);
                        });
                    }
                    Err(Error::NotMapped { .. }) => assert!(!is_mapped),
                    Err(error) => assert!(matches!(error, Error::SplitsLargePage { .. }), "{error}"),
                }
            }
            Step::Touch { page } => self.check(page, bed),
        }
    }

    fn check(&self, page: u64, bed: &impl Bed) {
        for is_write in [false, true] {
            let allowed = self.0.get(&page).filter(|(_, permissions)| {
                if is_write { permissions.allows_write() } else { permissions.allows_read() }
            });
            let lands = bed.lands(WINDOW + page * 4096 + 8, is_write);
            assert_eq!(lands, allowed.map(|(frame, _)| FRAMES_AT + frame * 4096 + 8));
        }
    }
}
