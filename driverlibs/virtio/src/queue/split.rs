//! The split virtqueue (virtio 1.2 §2.7 "Split Virtqueues").
//!
//! **Invariant: the device's index is read once per burst, an element once per buffer, and both are compared with what
//! the driver recorded itself.**

use core::sync::atomic::{Ordering, fence};

use weir_hal::{DmaWindow, Register};
use weir_pool::{InFlight, Pool};
use weir_ring::{Position, SharedRing, SharedU16};

use super::desc::{Access, Desc, Used};
use super::{LINE_BYTES, Lent, Offer, Virtqueue};
use crate::{Error, Features, QueueAddresses, Violation};

/// `VIRTQ_AVAIL_F_NO_INTERRUPT` and `VIRTQ_USED_F_NO_NOTIFY` have the same value.
const QUIET: u16 = 1;

/// The ring and the driver's record of it.
pub(crate) struct SplitQueue {
    /// Buffers offered so far, whether the device knows yet or not.
    added: Position,
    /// Of these, how many the device knows of.
    published: Position,
    /// Buffers given back so far.
    taken: Position,
    has_event_index: bool,
    is_in_order: bool,
    lent: Lent,
    desc: SharedRing<Desc>,
    available: Available,
    used: UsedRing,
}

/// What the driver writes (§2.7.6 "The Virtqueue Available Ring").
struct Available {
    flags: SharedU16,
    index: SharedU16,
    ring: SharedRing<u16>,
    used_event: SharedU16,
}

/// What the device writes (§2.7.8 "The Virtqueue Used Ring").
struct UsedRing {
    flags: SharedU16,
    index: SharedU16,
    ring: SharedRing<Used>,
    avail_event: SharedU16,
}

impl SplitQueue {
    pub(super) fn new(window: &impl DmaWindow, entries: u16) -> Result<SplitQueue, Error> {
        let desc_bytes = SharedRing::<Desc>::bytes(entries);
        let available_bytes = (6 + SharedRing::<u16>::bytes(entries)).next_multiple_of(LINE_BYTES);
        let used_bytes = 4 + 6 + SharedRing::<Used>::bytes(entries);
        let mut memory = window.allocate(desc_bytes + available_bytes + used_bytes)?;
        let desc = SharedRing::take_from(&mut memory, entries)?;
        let mut available = memory.split_to(available_bytes)?;
        // The used ring must be 4-byte aligned. 4 bytes past a multiple of 8, its entries are 8-byte aligned, so
        // that each is one load.
        memory.split_to(4)?;
        Ok(SplitQueue {
            added: Position::default(),
            published: Position::default(),
            taken: Position::default(),
            has_event_index: false,
            is_in_order: false,
            lent: Lent::new(entries)?,
            desc,
            available: Available {
                flags: SharedU16::take_from(&mut available)?,
                index: SharedU16::take_from(&mut available)?,
                ring: SharedRing::take_from(&mut available, entries)?,
                used_event: SharedU16::take_from(&mut available)?,
            },
            used: UsedRing {
                flags: SharedU16::take_from(&mut memory)?,
                index: SharedU16::take_from(&mut memory)?,
                ring: SharedRing::take_from(&mut memory, entries)?,
                avail_event: SharedU16::take_from(&mut memory)?,
            },
        })
    }

    pub(super) fn entries(&self) -> u16 {
        self.lent.entries
    }

    pub(super) fn addresses(&self) -> QueueAddresses {
        QueueAddresses {
            desc: self.desc.iova(),
            driver: self.available.flags.iova(),
            device: self.used.flags.iova(),
        }
    }

    pub(super) fn empty(&mut self, pool: &mut Pool) {
        self.lent.empty(pool);
        self.added = Position::default();
        self.published = Position::default();
        self.taken = Position::default();
        self.available.index.store_release(0);
        self.used.flags.store_release(0);
        self.used.index.store_release(0);
        self.used.avail_event.store_release(0);
    }

    pub(super) fn set_features(&mut self, features: Features) {
        self.has_event_index = features.contains(Features::EVENT_IDX);
        self.is_in_order = features.contains(Features::IN_ORDER);
        self.available.flags.store_release(0);
        if self.is_in_order {
            let entries = usize::from(self.lent.entries);
            let (mut lent, mut ring) = (self.lent.view(), self.available.ring.view());
            (0..entries).for_each(|at| ring.store(at, lent.id_in_order(at)));
        }
        self.silence();
    }

    /// §2.7.10 "Available Buffer Notification Suppression": whether the index passed `avail_event` just now.
    #[inline]
    fn wants_kick(&self, new: u16) -> bool {
        if self.has_event_index {
            let event = Position(self.used.avail_event.load_acquire());
            self.added.ahead_of(event.plus(1)) < new
        } else {
            self.used.flags.load_acquire() & QUIET == 0
        }
    }

    /// For a device that works in order the available ring never changes ([`Lent`]): it is not written again, and its
    /// cache lines stay with both sides.
    #[inline]
    fn add_as<const IN_ORDER: bool>(
        &mut self,
        count: u16,
        access: Access,
        mut next: impl FnMut() -> Option<Offer>,
    ) -> u16 {
        let (mut lent, mut desc) = (self.lent.view(), self.desc.view());
        let mut ring = self.available.ring.view();
        let first = usize::from(self.added.0);
        let (mut at, mut id) = (first, 0);
        while at != first + usize::from(count)
            && let Some(offer) = next()
        {
            id = lent.lend(at, offer.buffer);
            desc.store(id.into(), Desc::of(offer.addr, offer.len, access));
            if !IN_ORDER {
                ring.store(at, id);
            }
            at += 1;
        }
        self.added = Position::of(at);
        id
    }

    #[inline]
    fn take_as<const IN_ORDER: bool>(
        &mut self,
        most: usize,
        mut each: impl FnMut(InFlight, u32) -> Result<(), Violation>,
    ) -> Result<usize, Violation> {
        let count = usize::from(self.completed()?).min(most);
        let (mut lent, used) = (self.lent.view(), self.used.ring.view());
        let first = usize::from(self.taken.0);
        for at in first..first + count {
            let used = used.load(at);
            if IN_ORDER && used.id() != lent.id_in_order(at).into() {
                return Err(Violation::UsedId { id: used.id() });
            }
            each(lent.take(at, used.id())?, used.len())?;
        }
        self.taken = Position::of(first + count);
        Ok(count)
    }

    /// How many buffers the device gives back, by its index, read once.
    #[inline]
    fn completed(&self) -> Result<u16, Violation> {
        let jump = Position(self.used.index.load_acquire()).ahead_of(self.taken);
        let in_flight = self.published.ahead_of(self.taken);
        if jump > in_flight {
            return Err(Violation::UsedIndex { jump, in_flight });
        }
        Ok(jump)
    }

    /// Asks for no interrupt: with event indices, for one that is 2¹⁶ buffers away (§2.7.7).
    #[inline]
    pub(super) fn silence(&mut self) {
        if self.has_event_index {
            self.available.used_event.store_release(self.taken.minus(1).0);
        } else {
            self.available.flags.store_release(QUIET);
        }
    }

    pub(super) fn listen(&mut self) -> Result<bool, Violation> {
        if self.has_event_index {
            self.available.used_event.store_release(self.taken.0);
        } else {
            self.available.flags.store_release(0);
        }
        // The device must see the wish before we look for the last time.
        fence(Ordering::SeqCst);
        self.has_completed()
    }

    pub(super) fn has_completed(&mut self) -> Result<bool, Violation> {
        Ok(self.completed()? > 0)
    }
}

impl Virtqueue for SplitQueue {
    #[inline]
    fn room(&self) -> u16 {
        self.lent.entries - self.added.ahead_of(self.taken)
    }

    #[inline]
    fn add(&mut self, count: u16, access: Access, next: impl FnMut() -> Option<Offer>) -> u16 {
        if self.is_in_order {
            self.add_as::<true>(count, access, next)
        } else {
            self.add_as::<false>(count, access, next)
        }
    }

    #[inline]
    fn publish(&mut self, doorbell: &impl Register<u16>, number: u16) {
        let new = self.added.ahead_of(self.published);
        if new == 0 {
            return;
        }
        self.published = self.added;
        self.available.index.store_release(self.added.0);
        // The device must see the index before we see whether it wants a kick (§2.7.13.4.1); a store and a later
        // load are the one pair that x86 reorders.
        fence(Ordering::SeqCst);
        if self.wants_kick(new) {
            doorbell.write(number);
        }
    }

    #[inline]
    fn take(
        &mut self,
        most: usize,
        each: impl FnMut(InFlight, u32) -> Result<(), Violation>,
    ) -> Result<usize, Violation> {
        if self.is_in_order { self.take_as::<true>(most, each) } else { self.take_as::<false>(most, each) }
    }

    /// The elements of a device that works in order need not be read, and most may not have been written (§2.7.9
    /// "In-order use of descriptors").
    #[inline]
    fn reclaim(&mut self, mut give: impl FnMut(u16, InFlight)) -> Result<(), Violation> {
        let count = usize::from(self.completed()?);
        let (mut lent, used) = (self.lent.view(), self.used.ring.view());
        let first = usize::from(self.taken.0);
        for at in first..first + count {
            let id = if self.is_in_order { lent.id_in_order(at).into() } else { used.load(at).id() };
            let buffer = lent.take(at, id)?;
            give(lent.id_in_order(at), buffer);
        }
        self.taken = Position::of(first + count);
        Ok(())
    }

    /// With event indices, so that the one asked for stays 2¹⁶ buffers away.
    #[inline]
    fn stay_silent(&mut self) {
        if self.has_event_index {
            self.silence();
        }
    }
}
