//! The game: changes at random, and after each the attempts it makes interesting.

use super::super::plain_map::Mapped;
use super::books::{Books, FRAMES_AT, Owner, PAGES, WINDOW};
use super::random::Random;
use super::{Refusal, Wall};
use weir_iommu::Error;
use weir_iommu::address::{Iova, PhysAddr, RequesterId};
use weir_iommu::domain::Permissions;
use weir_iommu::vtd::{InterruptRoute, Trigger};

const OWNERS: usize = 4;
/// On three buses; with two units every other bus is behind the second.
const DEVICES: [RequesterId; 6] = [
    RequesterId(0x0018),
    RequesterId(0x0019),
    RequesterId(0x0100),
    RequesterId(0x0108),
    RequesterId(0x0200),
    RequesterId(0x02ff),
];

/// What was played.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    /// Calls that changed something: map, unmap, grant, revoke, births and deaths, interrupts.
    pub(crate) changes: u64,
    /// Requests of devices.
    pub(crate) attempts: u64,
    /// Of them refused, each with its record.
    pub(crate) refused: u64,
    /// Of them right after what allowed them was taken away.
    pub(crate) stale: u64,
}

impl std::ops::AddAssign for Tally {
    fn add_assign(&mut self, more: Tally) {
        self.changes += more.changes;
        self.attempts += more.attempts;
        self.refused += more.refused;
        self.stale += more.stale;
    }
}

struct Game<'w, W: Wall> {
    wall: &'w mut W,
    books: Books<W>,
    random: Random,
    tally: Tally,
    next_frame: u64,
}

/// Plays until there were `changes`, ends everybody, and checks that every frame came back.
pub(crate) fn play<W: Wall>(wall: &mut W, seed: u64, changes: u64) -> Tally {
    let books = Books::new(OWNERS, DEVICES.len());
    let mut game = Game { wall, books, random: Random::new(seed), tally: Tally::default(), next_frame: 0 };
    // The first round leaves behind what stays with the units for ever: context and interrupt tables.
    for device in 0..DEVICES.len() {
        game.live(0);
        game.grant(device, 0);
        game.add_interrupt(device);
        game.die(0);
    }
    let before = game.wall.memory().frames_in_use();
    while game.tally.changes < changes {
        game.change();
        for _ in 0..4 {
            game.attack();
        }
    }
    (0..OWNERS).for_each(|owner| game.die(owner));
    assert_eq!(game.wall.memory().frames_in_use(), before, "frames were lost");
    game.tally
}

impl<W: Wall> Game<'_, W> {
    fn change(&mut self) {
        let (owner, device) = (self.random.below(OWNERS), self.random.below(DEVICES.len()));
        match self.random.below(32) {
            0 => self.die(owner),
            1..=5 => self.live(owner),
            6..=12 => self.map(owner),
            13..=18 => self.unmap(owner),
            19..=23 => self.grant(device, owner),
            24..=27 => self.revoke(device),
            28..=29 => self.add_interrupt(device),
            _ => self.drop_interrupt(device),
        }
    }

    fn live(&mut self, owner: usize) {
        if self.books.owners[owner].is_some() {
            return;
        }
        let domain = self.wall.new_domain().expect("ids and frames suffice");
        self.books.owners[owner] = Some(Owner { domain, pages: Default::default(), regions: Vec::new() });
        self.tally.changes += 1;
    }

    /// The owner ends: all it has is taken away, and every device tries what it had.
    fn die(&mut self, owner: usize) {
        for device in self.books.devices_of(owner) {
            self.revoke(device);
        }
        let Some(gone) = self.books.owners[owner].take() else { return };
        self.wall.destroy(gone.domain);
        self.tally.changes += 1;
        for page in gone.regions.iter().map(|(page, _)| *page).take(3) {
            for device in 0..DEVICES.len() {
                self.stale_access(device, page);
            }
        }
    }

    fn map(&mut self, owner: usize) {
        let Some(it) = self.books.owners[owner].as_mut() else { return };
        let (large, small) = (self.random.below(3) as u64, self.random.below(4) as u64);
        let (page, pages) = match self.random.below(8) {
            0 => (large * 512, 512),
            1 => (large * 512 + 510, 4),
            _ => (large * 512 + small * 128, 1 + self.random.below(3) as u64),
        };
        let is_free = (page..page + pages).all(|page| !it.pages.contains_key(&page));
        // Frames as they come, so that what one owner gives back another has next.
        let frame = if pages == 512 { self.next_frame / 512 * 512 } else { self.next_frame };
        self.next_frame = (self.next_frame + pages) % 4096;
        let permissions =
            self.random.pick(&[Permissions::ReadOnly, Permissions::WriteOnly, Permissions::ReadWrite]);
        let permissions = it.domain.granted(permissions);
        let (iova, phys) = (Iova(WINDOW + page * 4096), PhysAddr(FRAMES_AT + frame * 4096));
        let mapped = it.domain.map(iova, phys, pages * 4096, permissions);
        match mapped {
            Ok(change) => {
                assert!(is_free, "mapped over a mapping");
                self.wall.flush(change).unwrap();
                it.pages.extend((0..pages).map(|at| (page + at, (frame + at, permissions))));
                it.regions.push((page, pages));
                self.tally.changes += 1;
            }
            Err(error) => assert!(!is_free, "{error}"),
        }
    }

    fn unmap(&mut self, owner: usize) {
        let count = self.books.owners[owner].as_ref().map_or(0, |owner| owner.regions.len());
        if count == 0 {
            return;
        }
        let at = self.random.below(count);
        // Known to the units beforehand, so that there is something to forget.
        for device in self.books.devices_of(owner) {
            let page = self.books.owners[owner].as_ref().map_or(0, |owner| owner.regions[at].0);
            self.access(device, WINDOW + page * 4096, false);
        }
        let it = self.books.owners[owner].as_mut().expect("it has regions");
        let (page, pages) = it.regions.swap_remove(at);
        let change = it.domain.unmap(Iova(WINDOW + page * 4096), pages * 4096).unwrap();
        self.wall.flush(change).unwrap();
        (page..page + pages).for_each(|page| _ = it.pages.remove(&page));
        self.tally.changes += 1;
        for device in 0..DEVICES.len() {
            self.stale_access(device, page + pages - 1);
        }
    }

    fn grant(&mut self, device: usize, owner: usize) {
        let Some(it) = self.books.owners[owner].as_mut() else { return };
        let id = DEVICES[device];
        let attached = self.wall.attach(id, &mut it.domain);
        match self.books.devices[device].owner {
            None => {
                attached.unwrap();
                self.books.devices[device].owner = Some(owner);
                self.tally.changes += 1;
            }
            Some(_) => assert_eq!(attached, Err(Error::AlreadyAttached { requester: id })),
        }
    }

    /// The device is taken away, and tries everything it could do before.
    fn revoke(&mut self, device: usize) {
        let Some(owner) = self.books.devices[device].owner else { return };
        let pages: Vec<u64> =
            self.books.owners[owner].iter().flat_map(|owner| owner.regions.iter().map(|r| r.0)).collect();
        pages.iter().take(4).for_each(|page| self.access(device, WINDOW + page * 4096, true));
        let it = self.books.owners[owner].as_mut().expect("devices belong to the living");
        self.wall.detach(DEVICES[device], &mut it.domain).unwrap();
        self.books.devices[device].owner = None;
        while !self.books.devices[device].interrupts.is_empty() {
            self.drop_interrupt(device);
        }
        self.tally.changes += 1;
        pages.iter().take(8).for_each(|page| self.stale_access(device, *page));
        self.translated_access(device);
    }

    fn add_interrupt(&mut self, device: usize) {
        let vector = 0x30 + self.random.below(0xc0) as u8;
        let route = route(device, vector);
        if self.books.devices[device].owner.is_none() || self.books.devices[device].interrupts.len() > 3 {
            return;
        }
        let handle = self.wall.allocate(route).unwrap();
        self.books.devices[device].interrupts.push((handle, route.vector));
        self.tally.changes += 1;
    }

    fn drop_interrupt(&mut self, device: usize) {
        let count = self.books.devices[device].interrupts.len();
        if count == 0 {
            return;
        }
        let at = self.random.below(count);
        let (handle, vector) = self.books.devices[device].interrupts.swap_remove(at);
        let index = W::index(&handle);
        assert_eq!(self.wall.message(DEVICES[device], index), Some(vector));
        self.wall.free(route(device, vector), handle).unwrap();
        self.tally.changes += 1;
        for sender in 0..DEVICES.len() {
            self.message(sender, index);
            self.tally.stale += 1;
        }
    }

    /// One request at random.
    fn attack(&mut self) {
        let device = self.random.below(DEVICES.len());
        let page = match self.random.below(4) {
            0 => self.random.below(PAGES as usize) as u64,
            1 => 512 * self.random.below(4) as u64,
            _ => 128 * self.random.below(16) as u64,
        };
        match self.random.below(16) {
            0 => self.translated_access(device),
            1 => self.forged_message(device),
            2..=3 => {
                let index = self.random.below(12) as u16;
                self.message(device, index);
            }
            // Frames, by their own addresses.
            4 => self.access(device, FRAMES_AT + page * 4096, true),
            // Outside of the window, and beyond what the tables translate.
            5 => {
                let iova = self.random.pick(&[0, 0xfedf_f000, (1 << 39) - 4096, 1 << 39, 1 << 47]);
                self.access(device, iova, self.tally.attempts.is_multiple_of(2));
            }
            6..=9 => self.access(device, WINDOW + page * 4096 + 8, self.tally.attempts.is_multiple_of(2)),
            _ => self.allowed_access(device),
        }
    }

    /// A request that the owner has mapped something for, in one direction at least.
    fn allowed_access(&mut self, device: usize) {
        let owner = self.books.devices[device].owner.and_then(|owner| self.books.owners[owner].as_ref());
        let regions = owner.map_or(&[][..], |owner| &owner.regions);
        if !regions.is_empty() {
            let (page, pages) = self.random.pick(regions);
            let iova = WINDOW + (page + pages / 2) * 4096 + 0x10;
            self.access(device, iova, self.tally.attempts.is_multiple_of(2));
        }
    }

    fn stale_access(&mut self, device: usize, page: u64) {
        for is_write in [true, false] {
            self.access(device, WINDOW + page * 4096, is_write);
            self.tally.stale += 1;
        }
    }

    fn access(&mut self, device: usize, iova: u64, is_write: bool) {
        let lands = self.wall.access(DEVICES[device], iova, is_write);
        let expected = self.books.access(device, iova, is_write);
        self.compare(device, lands, expected);
    }

    fn translated_access(&mut self, device: usize) {
        let lands = self.wall.translated_access(DEVICES[device], FRAMES_AT);
        self.compare(device, lands, Err(Refusal::Translated));
    }

    fn message(&mut self, device: usize, index: u16) {
        let arrives = self.wall.message(DEVICES[device], index);
        let expected = self.books.message(device, index);
        self.compare(device, arrives, expected);
    }

    fn forged_message(&mut self, device: usize) {
        let arrives = self.wall.forged_message(DEVICES[device], 0x80);
        self.compare(device, arrives, Err(Refusal::Forged));
    }

    /// What happened is what the books say, and what was refused was recorded, once, in the right name.
    fn compare<T: PartialEq + core::fmt::Debug>(
        &mut self,
        device: usize,
        happened: Option<T>,
        expected: Result<T, Refusal>,
    ) {
        let id = DEVICES[device];
        self.tally.attempts += 1;
        let faults = self.wall.faults();
        let Err(refusal) = expected else {
            assert_eq!((happened, faults.as_slice()), (expected.ok(), &[][..]), "{id}");
            return;
        };
        assert_eq!(happened, None, "{id}: {refusal:?}");
        let [fault] = faults[..] else { panic!("{id}: {refusal:?} left {faults:?}") };
        assert_eq!(fault.requester, id);
        assert!(self.wall.reasons(refusal).contains(&fault.reason), "{id}: {refusal:?} left {fault:?}");
        self.tally.refused += 1;
    }
}

fn route(device: usize, vector: u8) -> InterruptRoute {
    InterruptRoute { requester: DEVICES[device], vector, apic_id: 3, trigger: Trigger::Edge }
}
