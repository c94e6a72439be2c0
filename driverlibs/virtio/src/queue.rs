//! A split virtqueue whose every buffer is one descriptor (virtio 1.2 §2.7 "Split Virtqueues").
//!
//! **Invariants: `in_flight[id]` is filled exactly for descriptors the device has; `added − taken` of them, at
//! most `entries`; the device is told only addresses that a pool lent.** What the device writes is compared with
//! these; what the driver wrote into shared memory is never read back.
//!
//! Descriptor ids circulate: the `k`-th buffer given back leaves its id in `ids[k]`, where the `k + entries`-th
//! buffer offered finds it. For a device that works in order, `ids[k] = k` for ever.

use core::sync::atomic::{Ordering, fence};

use weir_hal::{DmaWindow, Iova, Register};
use weir_pool::{InFlight, Pool};
use weir_ring::{LocalRing, Position, SharedRing, SharedU16};

use crate::desc::{Desc, Used};
use crate::transport::QueueAddresses;
use crate::{Error, Features, Violation};

/// `VIRTQ_AVAIL_F_NO_INTERRUPT` and `VIRTQ_USED_F_NO_NOTIFY` have the same value.
const QUIET: u16 = 1;
/// Keeps what the device writes off the cache lines that the driver writes.
const LINE_BYTES: usize = 64;

/// A buffer that the device gave back.
pub(crate) struct Completed {
    pub(crate) buffer: InFlight,
    pub(crate) len: u32,
}

/// The ring and the driver's record of it.
pub(crate) struct SplitQueue {
    entries: u16,
    /// Buffers offered so far, whether the device knows yet or not.
    added: Position,
    /// Of these, how many the device knows of.
    published: Position,
    /// Buffers given back so far.
    taken: Position,
    has_event_index: bool,
    in_flight: LocalRing<Option<InFlight>>,
    ids: LocalRing<u16>,
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
    /// Allocates a queue of `entries`, a power of two. Empty, and unknown to the device.
    pub(crate) fn new(window: &impl DmaWindow, entries: u16) -> Result<SplitQueue, Error> {
        let bad = weir_hal::Error::OutOfRange;
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
            entries,
            added: Position::default(),
            published: Position::default(),
            taken: Position::default(),
            has_event_index: false,
            in_flight: LocalRing::new(entries, |_| None).ok_or(bad)?,
            ids: LocalRing::new(entries, |id| id).ok_or(bad)?,
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

    pub(crate) fn entries(&self) -> u16 {
        self.entries
    }

    /// Where the device finds the queue.
    pub(crate) fn addresses(&self) -> QueueAddresses {
        QueueAddresses {
            desc: self.desc.iova(),
            driver: self.available.flags.iova(),
            device: self.used.flags.iova(),
        }
    }

    /// Makes it as new for a device that has been reset. Buffers the device had go back to `pool`.
    pub(crate) fn empty(&mut self, pool: &mut Pool) {
        for id in 0..self.entries {
            if let Some(buffer) = self.in_flight.at(id).take() {
                pool.put(buffer.complete_empty());
            }
            *self.ids.at(id) = id;
        }
        self.added = Position::default();
        self.published = Position::default();
        self.taken = Position::default();
        self.available.index.store_release(0);
        self.used.flags.store_release(0);
        self.used.index.store_release(0);
        self.used.avail_event.store_release(0);
    }

    /// Takes over what device and driver agreed on, before the device runs.
    pub(crate) fn set_features(&mut self, features: Features) {
        self.has_event_index = features.contains(Features::EVENT_IDX);
        self.available.flags.store_release(0);
        self.silence();
    }

    /// How many more buffers can be offered.
    #[inline]
    pub(crate) fn room(&self) -> u16 {
        self.entries - self.in_flight()
    }

    /// How many buffers the device has.
    #[inline]
    pub(crate) fn in_flight(&self) -> u16 {
        self.added.ahead_of(self.taken)
    }

    /// Offers a buffer. The caller has seen that there is [`SplitQueue::room`].
    #[inline]
    pub(crate) fn add(&mut self, buffer: InFlight, addr: Iova, len: u16, device_writes: bool) {
        let id = *self.ids.at(self.added.0);
        let desc = Desc::new().with_addr(addr.0).with_len(len.into()).with_device_writes(device_writes);
        self.desc.store(id, desc);
        *self.in_flight.at(id) = Some(buffer);
        self.available.ring.store(self.added.0, id);
        self.added = self.added.plus(1);
    }

    /// Tells the device of the buffers added since the last time, by `doorbell` if it wants to be told.
    #[inline]
    pub(crate) fn publish(&mut self, doorbell: &impl Register<u16>, number: u16) {
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

    /// How many buffers the device gives back, by its index, read once.
    #[inline]
    pub(crate) fn completed(&self) -> Result<u16, Violation> {
        let jump = Position(self.used.index.load_acquire()).ahead_of(self.taken);
        let in_flight = self.published.ahead_of(self.taken);
        if jump > in_flight {
            return Err(Violation::UsedIndex { jump, in_flight });
        }
        Ok(jump)
    }

    /// Takes the next of the [`SplitQueue::completed`] buffers.
    #[inline]
    pub(crate) fn take(&mut self) -> Result<Completed, Violation> {
        let used = self.used.ring.load(self.taken.0);
        if used.id() >= self.entries.into() {
            return Err(Violation::UsedId { id: used.id() });
        }
        #[expect(clippy::cast_possible_truncation, reason = "below `entries`, just checked")]
        let id = used.id() as u16;
        let buffer = self.take_from(id)?;
        Ok(Completed { buffer, len: used.len() })
    }

    /// Takes the next of the completed buffers of a device that works in order. Its used elements need not be
    /// read, and most may not have been written (§2.7.9 "In-order use of descriptors").
    #[inline]
    pub(crate) fn take_in_order(&mut self) -> Result<InFlight, Violation> {
        let id = *self.ids.at(self.taken.0);
        self.take_from(id)
    }

    #[inline]
    fn take_from(&mut self, id: u16) -> Result<InFlight, Violation> {
        let buffer = self.in_flight.at(id).take().ok_or(Violation::UsedId { id: id.into() })?;
        *self.ids.at(self.taken.0) = id;
        self.taken = self.taken.plus(1);
        Ok(buffer)
    }

    /// Asks for no interrupt: with event indices, for one that is 2¹⁶ buffers away (§2.7.7). Called once per
    /// burst, so that it stays that far away.
    #[inline]
    pub(crate) fn silence(&mut self) {
        if self.has_event_index {
            self.available.used_event.store_release(self.taken.minus(1).0);
        } else {
            self.available.flags.store_release(QUIET);
        }
    }

    /// Asks for an interrupt at the next buffer given back. `true` where one was given back already: the
    /// interrupt may then never come, and the caller must not sleep.
    pub(crate) fn listen(&mut self) -> Result<bool, Violation> {
        if self.has_event_index {
            self.available.used_event.store_release(self.taken.0);
        } else {
            self.available.flags.store_release(0);
        }
        // The device must see the wish before we look for the last time.
        fence(Ordering::SeqCst);
        Ok(self.completed()? > 0)
    }
}
