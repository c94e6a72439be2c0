//! A descriptor ring with the driver's record beside it.
//!
//! **Invariants: only the slots from `taken` to `added`, fewer than `entries` of them, are the device's, and only of these
//! is anything read; `in_flight` is filled for no others.** A descriptor is two 64-bit words, so that the one that the
//! device writes is read by one load.

use weir_hal::{Device, DmaWindow, Mmio, Register, RegisterOf};
use weir_pool::{InFlight, Pool};
use weir_ring::{LocalRing, Position, SharedRing};

use crate::regs::queue;
use crate::{Error, Registers, Violation};

/// Lengths are multiples of 128 bytes, 8 descriptors (82574 §10.2.5.8 "RDLEN").
const ENTRIES_MIN: u16 = 8;
const ENTRIES_MAX: u16 = 4096;
const DESCRIPTOR_BYTES: u32 = 16;

/// A descriptor to be filled in.
pub(crate) struct Desc {
    /// None where the device is only told something.
    pub(crate) buffer: Option<InFlight>,
    pub(crate) words: [u64; 2],
}

pub(crate) struct DescRing<D: Device> {
    entries: u16,
    /// Descriptors filled in so far, whether the device knows yet or not.
    pub(crate) added: Position,
    /// Of these, how many the device was told of.
    pub(crate) published: Position,
    /// Descriptors given back so far.
    pub(crate) taken: Position,
    in_flight: LocalRing<Option<InFlight>>,
    words: SharedRing<[u64; 2]>,
    tail: RegisterOf<D, u32>,
}

impl<D: Device> DescRing<D> {
    /// Allocates a ring whose registers are at `offset`. Empty, and unknown to the device.
    pub(crate) fn new(
        window: &impl DmaWindow,
        regs: &Registers<D::Mmio>,
        offset: u64,
        entries: u16,
    ) -> Result<DescRing<D>, Error> {
        let is_possible = (ENTRIES_MIN..=ENTRIES_MAX).contains(&entries);
        let in_flight = LocalRing::new(entries, |_| None).filter(|_| is_possible);
        let in_flight = in_flight.ok_or(Error::BadRing { entries })?;
        let mut memory = window.allocate(SharedRing::<[u64; 2]>::bytes(entries))?;
        Ok(DescRing {
            entries,
            added: Position::default(),
            published: Position::default(),
            taken: Position::default(),
            in_flight,
            words: SharedRing::take_from(&mut memory, entries)?,
            tail: regs.register(offset + queue::TAIL)?,
        })
    }

    /// Makes it as new for a device that has been reset. Buffers the device had go back to `pool`.
    pub(crate) fn empty(&mut self, pool: &mut Pool) {
        self.take_until(self.added, |buffer| pool.put(buffer.complete_empty()));
        self.added = Position::default();
        self.published = Position::default();
        self.taken = Position::default();
    }

    /// Tells a device that has been reset where the ring is.
    pub(crate) fn announce<M: Mmio>(&self, regs: &Registers<M>, offset: u64) -> Result<(), Error> {
        let base = self.words.iova().0;
        #[expect(clippy::cast_possible_truncation, reason = "the halves of the address")]
        let (low, high) = (base as u32, (base >> 32) as u32);
        regs.write(offset + queue::BASE_LOW, low)?;
        regs.write(offset + queue::BASE_HIGH, high)?;
        regs.write(offset + queue::LENGTH, u32::from(self.entries) * DESCRIPTOR_BYTES)?;
        regs.write(offset + queue::HEAD, 0u32)?;
        regs.write(offset + queue::TAIL, 0u32)
    }

    pub(crate) fn entries(&self) -> u16 {
        self.entries
    }

    /// How many more descriptors can be filled in. One stays free: head and tail that meet mean "empty".
    #[inline]
    pub(crate) fn room(&self) -> u16 {
        self.entries - 1 - self.in_flight()
    }

    /// How many descriptors the device has.
    #[inline]
    pub(crate) fn in_flight(&self) -> u16 {
        self.added.ahead_of(self.taken)
    }

    /// Fills in descriptors with what `next` gives, until it gives nothing or `count` times, for which the caller has seen
    /// that there is [`DescRing::room`].
    #[inline]
    pub(crate) fn add(&mut self, count: u16, mut next: impl FnMut() -> Option<Desc>) {
        let (mut in_flight, mut words) = (self.in_flight.view(), self.words.view());
        let mut at = usize::from(self.added.0);
        let end = at + usize::from(count);
        while at != end
            && let Some(Desc { buffer, words: [first, second] }) = next()
        {
            words.store_first(at, first);
            words.store_second(at, second);
            *in_flight.at(at) = buffer;
            at += 1;
        }
        self.added = Position::of(at);
    }

    /// Writes the second word of a descriptor that the device was not told of again.
    #[inline]
    pub(crate) fn amend(&mut self, at: Position, word: u64) {
        self.words.view().store_second(at.0.into(), word);
    }

    /// Tells the device of the descriptors added since the last time, if there are any.
    #[inline]
    pub(crate) fn publish(&mut self) {
        if self.added != self.published {
            self.published = self.added;
            // The register write orders the descriptors before it.
            self.tail.write((self.added.0 & (self.entries - 1)).into());
        }
    }

    /// The second word of the descriptor at `at`, read once.
    #[inline]
    pub(crate) fn word(&mut self, at: Position) -> u64 {
        self.words.view().load_second(at.0.into())
    }

    /// Shows `each` the second words of the device's descriptors in turn, read once, `most` at most, with the buffers; until
    /// it says that one is still the device's. Gives how many were not.
    #[inline]
    pub(crate) fn take(
        &mut self,
        most: usize,
        mut each: impl FnMut(u64, &mut Option<InFlight>) -> Result<bool, Violation>,
    ) -> Result<usize, Violation> {
        let most = most.min(self.in_flight().into());
        let (mut in_flight, words) = (self.in_flight.view(), self.words.view());
        let first = usize::from(self.taken.0);
        let (mut at, mut is_done) = (first, Ok(true));
        while at != first + most {
            is_done = each(words.load_second(at), in_flight.at(at));
            if is_done != Ok(true) {
                break;
            }
            at += 1;
        }
        self.taken = Position::of(at);
        is_done.map(|_| at - first)
    }

    /// Takes back the buffers of the descriptors before `end`.
    #[inline]
    pub(crate) fn take_until(&mut self, end: Position, mut give: impl FnMut(InFlight)) {
        let mut in_flight = self.in_flight.view();
        let first = usize::from(self.taken.0);
        for at in first..first + usize::from(end.ahead_of(self.taken)) {
            if let Some(buffer) = in_flight.at(at).take() {
                give(buffer);
            }
        }
        self.taken = end;
    }
}
