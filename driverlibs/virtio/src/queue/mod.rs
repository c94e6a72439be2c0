//! Virtqueues: the two layouts that a device may have (virtio 1.2 §2.7 "Split Virtqueues", §2.8 "Packed Virtqueues").
//!
//! **Invariant: `in_flight` is filled exactly for the ids of buffers that the device has**, in either layout. What the
//! device says is compared with that record; what the driver wrote into shared memory is never read back.
//!
//! The layout is chosen once, when features are agreed on; a burst chooses its code once ([`Queue`]), a packet does
//! not. A buffer takes one descriptor; what is longer is a table of its own.

mod desc;
mod packed;
mod split;
mod tables;

pub(crate) use desc::Access;
pub(crate) use packed::PackedQueue;
pub(crate) use split::SplitQueue;
pub(crate) use tables::{PARTS, Tables};

use weir_hal::{DmaWindow, Iova, Register};
use weir_pool::{InFlight, Pool};
use weir_ring::{LocalRing, LocalView};

use crate::{Error, Features, QueueAddresses, Violation};

/// Keeps what the device writes off the cache lines that the driver writes.
const LINE_BYTES: usize = 64;

/// A buffer to be offered.
pub(crate) struct Offer {
    pub(crate) buffer: InFlight,
    pub(crate) addr: Iova,
    pub(crate) len: u32,
}

/// What a queue does for each burst: one call, in which its state may stay in registers.
pub(crate) trait Virtqueue {
    /// How many more buffers can be offered.
    fn room(&self) -> u16;

    /// Offers what `next` gives, until it gives nothing or `count` times, of which the caller has seen that there is
    /// [`Virtqueue::room`]. Gives the id of the last.
    fn add(&mut self, count: u16, access: Access, next: impl FnMut() -> Option<Offer>) -> u16;

    /// Tells the device of the buffers added since the last time, by `doorbell` if it wants to be told.
    fn publish(&mut self, doorbell: &impl Register<u16>, number: u16);

    /// Passes buffers that the device gave back to `each`, with the number of bytes it says it wrote, `most` at most.
    /// Gives how many.
    fn take(
        &mut self,
        most: usize,
        each: impl FnMut(InFlight, u32) -> Result<(), Violation>,
    ) -> Result<usize, Violation>;

    /// Passes every buffer given back to `give`, with its id. The device may have left out what it wrote into them.
    fn reclaim(&mut self, give: impl FnMut(u16, InFlight)) -> Result<(), Violation>;

    /// Called once per burst by who wants no interrupt, so that none comes.
    fn stay_silent(&mut self);
}

/// A queue of either layout.
#[expect(
    clippy::large_enum_variant,
    reason = "the data path reaches a queue's state without another pointer"
)]
pub(crate) enum Queue {
    Split(SplitQueue),
    Packed(PackedQueue),
}

/// Does the same with either layout.
macro_rules! with_queue {
    ($queue:expr, $name:ident => $act:expr) => {
        match $queue {
            $crate::queue::Queue::Split($name) => $act,
            $crate::queue::Queue::Packed($name) => $act,
        }
    };
}
pub(crate) use with_queue;

impl Queue {
    /// Allocates a queue of `entries`, a power of two, of the layout agreed on. Empty, and unknown to the device.
    pub(crate) fn new(window: &impl DmaWindow, entries: u16, features: Features) -> Result<Queue, Error> {
        if features.contains(Features::RING_PACKED) {
            Ok(Queue::Packed(PackedQueue::new(window, entries)?))
        } else {
            Ok(Queue::Split(SplitQueue::new(window, entries)?))
        }
    }

    pub(crate) fn entries(&self) -> u16 {
        with_queue!(self, queue => queue.entries())
    }

    /// How many buffers the device has.
    pub(crate) fn in_flight(&self) -> u16 {
        with_queue!(self, queue => queue.entries() - queue.room())
    }

    /// Where the device finds the queue.
    pub(crate) fn addresses(&self) -> QueueAddresses {
        with_queue!(self, queue => queue.addresses())
    }

    /// Makes it as new for a device that has been reset. Buffers the device had go back to `pool`.
    pub(crate) fn empty(&mut self, pool: &mut Pool) {
        with_queue!(self, queue => queue.empty(pool));
    }

    /// Takes over what device and driver agreed on, before the device runs. Silent from now on.
    pub(crate) fn set_features(&mut self, features: Features) {
        with_queue!(self, queue => queue.set_features(features));
    }

    /// Asks for no interrupt.
    pub(crate) fn silence(&mut self) {
        with_queue!(self, queue => queue.silence());
    }

    /// Asks for an interrupt at the next buffer given back. `true` where one was given back already: the
    /// interrupt may then never come, and the caller must not sleep.
    pub(crate) fn listen(&mut self) -> Result<bool, Violation> {
        with_queue!(self, queue => queue.listen())
    }

    /// Whether the device gave a buffer back.
    pub(crate) fn has_completed(&mut self) -> Result<bool, Violation> {
        with_queue!(self, queue => queue.has_completed())
    }
}

/// Which buffers the device has, by descriptor id.
///
/// Ids circulate: the `k`-th buffer given back leaves its id in `ids[k]`, where the `k + entries`-th buffer offered
/// finds it. For a device that works in order, `ids[k] = k` for ever.
struct Lent {
    entries: u16,
    in_flight: LocalRing<Option<InFlight>>,
    ids: LocalRing<u16>,
}

impl Lent {
    fn new(entries: u16) -> Result<Lent, Error> {
        let bad = weir_hal::Error::OutOfRange;
        Ok(Lent {
            entries,
            in_flight: LocalRing::new(entries, |_| None).ok_or(bad)?,
            ids: LocalRing::new(entries, |id| id).ok_or(bad)?,
        })
    }

    fn empty(&mut self, pool: &mut Pool) {
        for id in 0..self.entries {
            if let Some(buffer) = self.in_flight.at(id).take() {
                pool.put(buffer.complete_empty());
            }
            *self.ids.at(id) = id;
        }
    }

    #[inline]
    fn view(&mut self) -> LentView<'_> {
        LentView { entries: self.entries.into(), in_flight: self.in_flight.view(), ids: self.ids.view() }
    }
}

/// The same, for a burst.
struct LentView<'a> {
    entries: u32,
    in_flight: LocalView<'a, Option<InFlight>>,
    ids: LocalView<'a, u16>,
}

impl LentView<'_> {
    /// Records the buffer offered at position `added`; gives its id.
    #[inline]
    fn lend(&mut self, added: usize, buffer: InFlight) -> u16 {
        let id = *self.ids.at(added);
        *self.in_flight.at(id.into()) = Some(buffer);
        id
    }

    /// The id of the buffer offered at `taken`, for a device that works in order.
    #[inline]
    fn id_in_order(&mut self, taken: usize) -> u16 {
        *self.ids.at(taken)
    }

    /// Takes back the buffer that the device names at position `taken`.
    #[inline]
    fn take(&mut self, taken: usize, id: u32) -> Result<InFlight, Violation> {
        if id >= self.entries {
            return Err(Violation::UsedId { id });
        }
        let buffer = self.in_flight.at(id as usize).take().ok_or(Violation::UsedId { id })?;
        #[expect(clippy::cast_possible_truncation, reason = "below `entries`, just checked")]
        let id = id as u16;
        *self.ids.at(taken) = id;
        Ok(buffer)
    }
}
