//! The packed virtqueue (virtio 1.2 §2.8 "Packed Virtqueues"): one ring, in which the device answers where it was asked.
//!
//! **Invariant: a descriptor that the device may have written is read by one load, and its id is compared with the
//! driver's record.** Positions run freely; the wrap counter of a lap is the bit above the slot's number.

use core::sync::atomic::{Ordering, fence};

use weir_hal::{DmaWindow, Iova, Register};
use weir_pool::{InFlight, Pool};
use weir_ring::{Position, SharedPairs, SharedRing};

use super::desc::{Access, Event, PackedWord};
use super::{Completed, LINE_BYTES, Lent, Virtqueue};
use crate::{Error, Features, QueueAddresses, Violation};

/// The ring and the driver's record of it.
pub(crate) struct PackedQueue {
    /// Buffers offered so far. The device sees each at once.
    added: Position,
    /// Of these, how many it was told of.
    published: Position,
    /// Buffers given back so far.
    taken: Position,
    has_event_index: bool,
    is_in_order: bool,
    lent: Lent,
    desc: SharedPairs,
    /// What the driver wants to be told of: one word, written by it.
    driver_event: SharedRing<Event>,
    /// What the device wants to be told of: one word, written by it.
    device_event: SharedRing<Event>,
}

impl PackedQueue {
    pub(super) fn new(window: &impl DmaWindow, entries: u16) -> Result<PackedQueue, Error> {
        let desc_bytes = SharedPairs::bytes(entries).next_multiple_of(LINE_BYTES);
        let mut memory = window.allocate(desc_bytes + 2 * LINE_BYTES)?;
        let mut desc = memory.split_to(desc_bytes)?;
        let mut driver_event = memory.split_to(LINE_BYTES)?;
        Ok(PackedQueue {
            added: Position::default(),
            published: Position::default(),
            taken: Position::default(),
            has_event_index: false,
            is_in_order: false,
            lent: Lent::new(entries)?,
            desc: SharedPairs::take_from(&mut desc, entries)?,
            driver_event: SharedRing::take_from(&mut driver_event, 1)?,
            device_event: SharedRing::take_from(&mut memory, 1)?,
        })
    }

    pub(super) fn entries(&self) -> u16 {
        self.lent.entries
    }

    pub(super) fn addresses(&self) -> QueueAddresses {
        QueueAddresses {
            desc: self.desc.iova(),
            driver: self.driver_event.iova(),
            device: self.device_event.iova(),
        }
    }

    pub(super) fn empty(&mut self, pool: &mut Pool) {
        self.lent.empty(pool);
        self.added = Position::default();
        self.published = Position::default();
        self.taken = Position::default();
        for slot in 0..self.lent.entries {
            // Neither available nor used in the first lap, whose wrap counter is 1.
            self.desc.store(slot, 0, 0);
        }
        self.device_event.store(0, Event::new());
    }

    pub(super) fn set_features(&mut self, features: Features) {
        self.has_event_index = features.contains(Features::EVENT_IDX);
        self.is_in_order = features.contains(Features::IN_ORDER);
        self.silence();
    }

    /// The wrap counter of the lap that `at` is in: 1 in the first (§2.8.1).
    #[inline]
    fn wrap(&self, at: Position) -> bool {
        at.0 & self.lent.entries == 0
    }

    #[inline]
    fn slot(&self, at: Position) -> u16 {
        at.0 & (self.lent.entries - 1)
    }

    /// What stands at the position that the device answers next, if it has.
    #[inline]
    fn answer(&self) -> Option<PackedWord> {
        let word = PackedWord::from_bits(self.desc.load_second(self.taken.0));
        word.is_used(self.wrap(self.taken)).then_some(word)
    }

    /// §2.8.10 "Driver and Device Event Suppression": whether the position passed the one asked for just now.
    #[inline]
    fn wants_kick(&self, new: u16) -> bool {
        let event = self.device_event.load(0);
        match event.when() {
            Event::WHEN_AT if self.has_event_index => {
                // The asked-for position, in this lap or the one before, as an offset from this lap's start.
                let laps = if event.wrap() == self.wrap(self.added) { 0 } else { self.lent.entries };
                let offset = Position(event.offset()).minus(laps);
                Position(self.slot(self.added)).ahead_of(offset.plus(1)) < new
            }
            when => when != Event::NEVER,
        }
    }

    /// Asks for no interrupt.
    pub(super) fn silence(&mut self) {
        self.driver_event.store(0, Event::new().with_when(Event::NEVER));
    }

    pub(super) fn listen(&mut self) -> Result<bool, Violation> {
        let event = if self.has_event_index {
            let (offset, wrap) = (self.slot(self.taken), self.wrap(self.taken));
            Event::new().with_when(Event::WHEN_AT).with_offset(offset).with_wrap(wrap)
        } else {
            Event::new().with_when(Event::ALWAYS)
        };
        self.driver_event.store(0, event);
        // The device must see the wish before we look for the last time.
        fence(Ordering::SeqCst);
        self.has_completed()
    }

    #[expect(clippy::unnecessary_wraps, reason = "a split queue's index may be a violation")]
    pub(super) fn has_completed(&mut self) -> Result<bool, Violation> {
        Ok(self.answer().is_some())
    }

    /// How many buffers a device that works in order gives back by naming the last of them (§2.8.8 "In-order use of
    /// descriptors"): up to the one whose id it is.
    #[inline]
    fn batch(&self, id: u16) -> Result<u16, Violation> {
        // Ids are slots, because they never change places.
        let count = self.slot(Position(id).minus(self.taken.0)) + 1;
        let in_flight = self.added.ahead_of(self.taken);
        if id >= self.lent.entries || count > in_flight {
            return Err(Violation::UsedId { id: id.into() });
        }
        Ok(count)
    }
}

impl Virtqueue for PackedQueue {
    #[inline]
    fn room(&self) -> u16 {
        self.lent.entries - self.added.ahead_of(self.taken)
    }

    #[inline]
    fn add(&mut self, buffer: InFlight, addr: Iova, len: u32, access: Access) -> u16 {
        let id = self.lent.lend(self.added, buffer);
        let word = PackedWord::offer(id, len, access, self.wrap(self.added));
        self.desc.store(self.added.0, addr.0, word.into_bits());
        self.added = self.added.plus(1);
        id
    }

    #[inline]
    fn publish(&mut self, doorbell: &impl Register<u16>, number: u16) {
        let new = self.added.ahead_of(self.published);
        if new == 0 {
            return;
        }
        self.published = self.added;
        // The device must see the descriptors before we see whether it wants a kick (§2.8.21.3.1).
        fence(Ordering::SeqCst);
        if self.wants_kick(new) {
            doorbell.write(number);
        }
    }

    /// Nothing: each descriptor tells for itself.
    #[inline]
    fn look(&mut self) -> Result<(), Violation> {
        Ok(())
    }

    #[inline]
    fn take(&mut self) -> Result<Option<Completed>, Violation> {
        let Some(word) = self.answer() else { return Ok(None) };
        let id = u32::from(word.id());
        if self.is_in_order && word.id() != self.lent.id_in_order(self.taken) {
            return Err(Violation::UsedId { id });
        }
        let buffer = self.lent.take(self.taken, id)?;
        self.taken = self.taken.plus(1);
        Ok(Some(Completed { buffer, len: word.len() }))
    }

    #[inline]
    fn reclaim(&mut self, mut give: impl FnMut(u16, InFlight)) -> Result<(), Violation> {
        while let Some(word) = self.answer() {
            let count = if self.is_in_order { self.batch(word.id())? } else { 1 };
            for _ in 0..count {
                let id = if self.is_in_order { self.lent.id_in_order(self.taken) } else { word.id() };
                let buffer = self.lent.take(self.taken, id.into())?;
                self.taken = self.taken.plus(1);
                give(id, buffer);
            }
        }
        Ok(())
    }

    /// Nothing: "never" does not wear off.
    #[inline]
    fn stay_silent(&mut self) {}
}
