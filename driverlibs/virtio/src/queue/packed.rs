//! The packed virtqueue (virtio 1.2 §2.8 "Packed Virtqueues"): one ring, in which the device answers where it was asked.
//!
//! **Invariant: a descriptor that the device may have written is read by one load, and its id is compared with the
//! driver's record.** Positions run freely; the wrap counter of a lap is the bit above the slot's number.

use core::sync::atomic::{Ordering, fence};

use weir_hal::{DmaWindow, Register};
use weir_pool::{InFlight, Pool};
use weir_ring::{Position, SharedRing, SharedView};

use super::desc::{Access, Event, PackedWord};
use super::{LINE_BYTES, Lent, Offer, Virtqueue};
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
    /// Two words for each descriptor: address; length, id, flags.
    desc: SharedRing<[u64; 2]>,
    /// What the driver wants to be told of: one word, written by it.
    driver_event: SharedRing<Event>,
    /// What the device wants to be told of: one word, written by it.
    device_event: SharedRing<Event>,
}

impl PackedQueue {
    pub(super) fn new(window: &impl DmaWindow, entries: u16) -> Result<PackedQueue, Error> {
        let desc_bytes = SharedRing::<[u64; 2]>::bytes(entries).next_multiple_of(LINE_BYTES);
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
            desc: SharedRing::take_from(&mut desc, entries)?,
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
            self.desc.store(slot, [0; 2]);
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
        let entries = self.lent.entries.into();
        Ok(answer(&self.desc.view(), self.taken.0.into(), entries).is_some())
    }
}

/// What stands at position `at`, if the device has answered there in this lap.
#[inline]
fn answer(desc: &SharedView<'_, [u64; 2]>, at: usize, entries: usize) -> Option<PackedWord> {
    let word = PackedWord::from_bits(desc.load_second(at));
    word.is_used(at & entries == 0).then_some(word)
}

/// How many buffers a device that works in order gives back at `at` by naming the last of them (§2.8.8 "In-order use
/// of descriptors"). Ids are slots then, because they never change places.
#[inline]
fn batch(word: PackedWord, at: usize, entries: usize) -> usize {
    (usize::from(word.id()).wrapping_sub(at) & (entries - 1)) + 1
}

impl Virtqueue for PackedQueue {
    #[inline]
    fn room(&self) -> u16 {
        self.lent.entries - self.added.ahead_of(self.taken)
    }

    /// The second word of the first descriptor comes last: the device sees the whole burst, or nothing of it yet
    /// (§2.8.21 "Supplying Buffers to The Device").
    #[inline]
    fn add(&mut self, count: u16, access: Access, mut next: impl FnMut() -> Option<Offer>) -> u16 {
        let entries = usize::from(self.lent.entries);
        let (mut lent, mut desc) = (self.lent.view(), self.desc.view());
        let first = usize::from(self.added.0);
        let (mut at, mut first_word, mut id) = (first, None, 0);
        while at != first + usize::from(count)
            && let Some(offer) = next()
        {
            id = lent.lend(at, offer.buffer);
            let word = PackedWord::offer(id, offer.len, access, at & entries == 0).into_bits();
            desc.store_first(at, offer.addr.0);
            if first_word.is_none() {
                first_word = Some(word);
            } else {
                desc.store_second(at, word);
            }
            at += 1;
        }
        if let Some(word) = first_word {
            fence(Ordering::Release);
            desc.store_second(first, word);
        }
        self.added = Position::of(at);
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

    #[inline]
    fn take(
        &mut self,
        most: usize,
        mut each: impl FnMut(InFlight, u32) -> Result<(), Violation>,
    ) -> Result<usize, Violation> {
        let (is_in_order, entries) = (self.is_in_order, usize::from(self.lent.entries));
        let (mut lent, desc) = (self.lent.view(), self.desc.view());
        let first = usize::from(self.taken.0);
        let mut at = first;
        while at != first + most
            && let Some(word) = answer(&desc, at, entries)
        {
            if is_in_order && word.id() != lent.id_in_order(at) {
                return Err(Violation::UsedId { id: word.id().into() });
            }
            each(lent.take(at, word.id().into())?, word.len())?;
            at += 1;
        }
        // What the device wrote before it answered is visible to whoever gets the buffers.
        fence(Ordering::Acquire);
        self.taken = Position::of(at);
        Ok(at - first)
    }

    #[inline]
    fn reclaim(&mut self, mut give: impl FnMut(u16, InFlight)) -> Result<(), Violation> {
        let (is_in_order, entries) = (self.is_in_order, usize::from(self.lent.entries));
        let in_flight = usize::from(self.added.ahead_of(self.taken));
        let (mut lent, desc) = (self.lent.view(), self.desc.view());
        let first = usize::from(self.taken.0);
        let mut at = first;
        while at != first + in_flight
            && let Some(word) = answer(&desc, at, entries)
        {
            let mut left = if is_in_order { batch(word, at, entries) } else { 1 };
            if at + left > first + in_flight {
                return Err(Violation::UsedId { id: word.id().into() });
            }
            while left > 0 {
                let id = if is_in_order { lent.id_in_order(at) } else { word.id() };
                give(id, lent.take(at, id.into())?);
                (at, left) = (at + 1, left - 1);
            }
        }
        fence(Ordering::Acquire);
        self.taken = Position::of(at);
        Ok(())
    }

    /// Nothing: "never" does not wear off.
    #[inline]
    fn stay_silent(&mut self) {}
}
