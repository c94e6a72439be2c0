//! The game: a change at random, and after it the accesses it makes interesting.

use super::super::board::Edu;
use super::super::random::Random;
use super::books::{Books, FRAMES, MAIL, OWNERS, Owner, Refusal, SLOTS, WINDOW, iova_of, start_of, word_of};
use super::{Access, Wall};
use std::collections::BTreeMap;
use weir_iommu::Error;
use weir_iommu::address::{Iova, PhysAddr};
use weir_iommu::domain::Permissions;
use weir_iommu::vtd::Fault;

/// Changes between two looks at all frames.
const SWEEP: u64 = 64;

/// What was played.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tally {
    /// Calls that changed something: map, unmap, grant, revoke, births and deaths.
    pub(super) changes: u64,
    /// Reads and writes of devices.
    pub(super) accesses: u64,
    /// Of them refused.
    pub(super) refused: u64,
    /// Of them right after what allowed them was taken away.
    pub(super) stale: u64,
}

struct Game<'w, W: Wall> {
    wall: &'w mut W,
    books: Books<W::Domain>,
    seed: u64,
    random: Random,
    tally: Tally,
    next_frame: u64,
    /// What a device writes next; never 0, which stands for a refused read.
    token: u8,
}

/// Plays until there were `changes`.
pub(super) fn play<W: Wall>(wall: &mut W, seed: u64, changes: u64) -> Tally {
    let (books, random, tally) = (Books::new(), Random::new(seed), Tally::default());
    let mut game = Game { wall, books, seed, random, tally, next_frame: 0, token: 1 };
    game.write_words();
    while game.tally.changes < changes {
        let before = game.tally.changes;
        game.change();
        (0..3).for_each(|_| game.attack());
        if game.tally.changes / SWEEP != before / SWEEP {
            game.sweep();
        }
    }
    (0..OWNERS).for_each(|owner| game.die(owner));
    game.sweep();
    game.tally
}

impl<W: Wall> Drop for Game<'_, W> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("seed {}, after {:?}", self.seed, self.tally);
        }
    }
}

impl<W: Wall> Game<'_, W> {
    fn change(&mut self) {
        let (owner, device) = (self.random.below(OWNERS), self.random.below(SLOTS.len()));
        match self.random.below(32) {
            0 => self.die(owner),
            1..=4 => self.live(owner),
            5..=14 => self.map(owner),
            15..=21 => self.unmap(owner),
            22..=27 => self.grant(device, owner),
            _ => self.revoke(device),
        }
    }

    fn live(&mut self, owner: usize) {
        if self.books.owners[owner].is_some() {
            return;
        }
        let mut domain = self.wall.new_domain();
        let (frame, permissions) = (FRAMES + owner as u64, Permissions::ReadWrite);
        let (iova, phys) = (Iova(WINDOW + MAIL * 4096), PhysAddr(start_of(frame)));
        self.wall.map(&mut domain, iova, phys, 4096, permissions).unwrap();
        let pages = BTreeMap::from([(MAIL, (frame, permissions))]);
        self.books.owners[owner] = Some(Owner { domain, pages, regions: Vec::new() });
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
        for page in gone.regions.iter().map(|(page, _)| *page).take(2) {
            self.stale_accesses(page);
        }
    }

    fn map(&mut self, owner: usize) {
        let Some(it) = self.books.owners[owner].as_mut() else { return };
        let (large, small) = (self.random.below(3) as u64, self.random.below(4) as u64);
        let (page, pages) = match self.random.below(8) {
            0 => (large * 512, 512),
            1 if large < 2 => (large * 512 + 510, 4),
            _ => (large * 512 + small * 128, 1 + self.random.below(3) as u64),
        };
        let is_free = (page..page + pages).all(|page| !it.pages.contains_key(&page));
        // Frames as they come, so that what one owner gives back another has next.
        let frame = if pages == 512 { self.next_frame / 512 * 512 } else { self.next_frame };
        self.next_frame = (self.next_frame + pages) % (FRAMES - 4);
        let wanted =
            self.random.pick(&[Permissions::ReadOnly, Permissions::WriteOnly, Permissions::ReadWrite]);
        let permissions = self.wall.granted(wanted);
        let (iova, phys) = (Iova(WINDOW + page * 4096), PhysAddr(start_of(frame)));
        let mapped = self.wall.map(&mut it.domain, iova, phys, pages * 4096, permissions);
        if !is_free {
            assert!(matches!(mapped, Err(Error::AlreadyMapped { .. })), "mapped over a mapping: {mapped:?}");
            return;
        }
        mapped.unwrap();
        it.pages.extend((0..pages).map(|at| (page + at, (frame + at, permissions))));
        it.regions.push((page, pages));
        self.books.latest.extend((0..pages).map(|at| (page + at, frame + at)));
        self.tally.changes += 1;
    }

    fn unmap(&mut self, owner: usize) {
        let count = self.books.owners[owner].as_ref().map_or(0, |owner| owner.regions.len());
        if count == 0 {
            return;
        }
        let at = self.random.below(count);
        let (page, pages) = self.books.owners[owner].as_ref().expect("it has regions").regions[at];
        // Known to the unit beforehand, so that there is something to forget.
        for device in self.books.devices_of(owner) {
            self.read(device, iova_of(page));
            self.write(device, iova_of(page + pages - 1));
        }
        let it = self.books.owners[owner].as_mut().expect("it has regions");
        it.regions.swap_remove(at);
        self.wall.unmap(&mut it.domain, Iova(WINDOW + page * 4096), pages * 4096).unwrap();
        for page in page..page + pages {
            let (frame, _) = it.pages.remove(&page).expect("it was mapped");
            self.books.latest.insert(page, frame);
        }
        self.tally.changes += 1;
        self.stale_accesses(page);
        self.stale_accesses(page + pages - 1);
    }

    fn grant(&mut self, device: usize, owner: usize) {
        let Some(it) = self.books.owners[owner].as_mut() else { return };
        let id = self.wall.edu(SLOTS[device]).id();
        let attached = self.wall.attach(id, &mut it.domain);
        if self.books.devices[device].owner.is_some() {
            assert_eq!(attached, Err(Error::AlreadyAttached { requester: id }));
            return;
        }
        attached.unwrap();
        self.books.devices[device].owner = Some(owner);
        self.tally.changes += 1;
        self.report(device);
    }

    /// The device is taken away, and tries what it could do before.
    fn revoke(&mut self, device: usize) {
        let Some(owner) = self.books.owner_of(device) else { return };
        let pages: Vec<u64> = owner.regions.iter().map(|(page, _)| *page).chain([MAIL]).take(3).collect();
        pages.iter().for_each(|page| self.write(device, iova_of(*page)));
        let owner = self.books.devices[device].owner.take().expect("it has an owner");
        let it = self.books.owners[owner].as_mut().expect("devices belong to the living");
        self.wall.detach(self.wall.edu(SLOTS[device]).id(), &mut it.domain).unwrap();
        self.tally.changes += 1;
        for page in pages {
            self.write(device, iova_of(page));
            self.read(device, iova_of(page));
            self.tally.stale += 2;
        }
    }

    /// One access at random.
    fn attack(&mut self) {
        let device = self.random.below(SLOTS.len());
        let page = match self.random.below(2) {
            0 => 512 * self.random.below(3) as u64 + self.random.below(512) as u64,
            _ => 128 * self.random.below(12) as u64,
        };
        let iova = match self.random.below(16) {
            // Frames, by their own addresses.
            0..=1 => word_of(page % FRAMES),
            // Outside of the window, and beyond what the tables translate.
            2 => self.random.pick(&[0x18, 0xfedf_f018, (1 << 39) - 0xfe8, (1 << 39) + 0x18]),
            3..=6 => iova_of(page),
            _ => self.promising(device).unwrap_or(iova_of(page)),
        };
        match self.random.below(2) {
            0 => self.read(device, iova),
            _ => self.write(device, iova),
        }
    }

    /// An address that the owner has mapped something at, for one direction at least.
    fn promising(&mut self, device: usize) -> Option<u64> {
        let regions = &self.books.owner_of(device)?.regions;
        let (page, pages) = *regions.get(self.random.below(regions.len().max(1)))?;
        Some(iova_of(page + pages / 2))
    }

    fn stale_accesses(&mut self, page: u64) {
        for device in 0..SLOTS.len() {
            self.write(device, iova_of(page));
            self.read(device, iova_of(page));
            self.tally.stale += 2;
        }
    }

    fn write(&mut self, device: usize, iova: u64) {
        self.edu(device).write(iova, self.token);
        let expected = self.books.access(device, iova, true);
        if let Ok(frame) = expected {
            self.books.words.insert(frame, self.token.into());
        }
        self.token = self.token.checked_add(1).unwrap_or(1);
        self.compare_faults(device, iova, true, expected.err());
        expected.into_iter().chain(self.books.suspects(iova)).for_each(|frame| self.compare_word(frame));
    }

    fn read(&mut self, device: usize, iova: u64) {
        self.edu(device).read(iova);
        let expected = self.books.access(device, iova, false);
        self.books.devices[device].has_read = expected.map_or(0, |frame| self.books.words[&frame]);
        self.compare_faults(device, iova, false, expected.err());
        self.report(device);
    }

    /// Lets the device write what it read last where its owner can see it. A device without an owner cannot: what it read
    /// shows when it has the next.
    fn report(&mut self, device: usize) {
        let Ok(frame) = self.books.access(device, iova_of(MAIL), true) else { return };
        self.edu(device).report(iova_of(MAIL));
        self.books.words.insert(frame, self.books.devices[device].has_read);
        self.compare_faults(device, iova_of(MAIL), true, None);
        self.compare_word(frame);
    }

    /// What was refused was recorded, in the right name; nothing else was.
    fn compare_faults(&mut self, device: usize, iova: u64, is_write: bool, refusal: Option<Refusal>) {
        self.tally.accesses += 1;
        self.tally.refused += u64::from(refusal.is_some());
        let access = Access { device: self.edu(device).id(), iova, is_write };
        let faults = self.wall.faults();
        let Some(refusal) = refusal else {
            assert_eq!(faults, [], "{access:x?}");
            return;
        };
        assert!(W::records(refusal).contains(&faults.len()), "{access:x?}: {refusal:?} left {faults:x?}");
        let is_right =
            |fault: &Fault| fault.requester == access.device && W::is_record(fault, &access, refusal);
        assert!(faults.iter().all(is_right), "{access:x?}: {refusal:?} left {faults:x?}");
    }

    fn compare_word(&self, frame: u64) {
        let found = self.wall.read(word_of(frame));
        assert_eq!(found, self.books.words[&frame], "in frame {frame}");
    }

    /// All frames hold what they should.
    fn sweep(&self) {
        self.books.words.keys().for_each(|frame| self.compare_word(*frame));
    }

    fn write_words(&self) {
        self.books.words.iter().for_each(|(frame, word)| self.wall.write(word_of(*frame), *word));
    }

    fn edu(&self, device: usize) -> Edu {
        self.wall.edu(SLOTS[device])
    }
}
