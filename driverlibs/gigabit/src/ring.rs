//! A descriptor ring with the driver's record beside it.
//!
//! **Invariants: `in_flight` is filled exactly for the slots from `taken` to `added`, fewer than `entries` of them;
//! only these are the device's, and only of these is anything read.** A descriptor is two 64-bit words, so that the
//! one that the device writes is read by one load.

use weir_hal::{Device, DmaWindow, Iova, Mmio, Register, RegisterOf};
use weir_pool::{InFlight, Pool};
use weir_ring::{LocalRing, Position, SharedRing};

use crate::regs::queue;
use crate::{Error, Registers};

/// Lengths are multiples of 128 bytes, 8 descriptors (82574 §10.2.5.8 "RDLEN").
const ENTRIES_MIN: u16 = 8;
const ENTRIES_MAX: u16 = 4096;
const DESCRIPTOR_BYTES: u32 = 16;

pub(crate) struct DescRing<D: Device> {
    entries: u16,
    /// Descriptors filled in so far, whether the device knows yet or not.
    pub(crate) added: Position,
    /// Of these, how many the device was told of.
    pub(crate) published: Position,
    /// Descriptors given back so far.
    pub(crate) taken: Position,
    in_flight: LocalRing<Option<InFlight>>,
    words: SharedRing<u64>,
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
        let mut memory = window.allocate(SharedRing::<u64>::bytes(2 * entries))?;
        Ok(DescRing {
            entries,
            added: Position::default(),
            published: Position::default(),
            taken: Position::default(),
            in_flight,
            words: SharedRing::take_from(&mut memory, 2 * entries)?,
            tail: regs.register(offset + queue::TAIL)?,
        })
    }

    /// Makes it as new for a device that has been reset. Buffers the device had go back to `pool`.
    pub(crate) fn empty(&mut self, pool: &mut Pool) {
        while self.in_flight() > 0 {
            if let Some(buffer) = self.take() {
                pool.put(buffer.complete_empty());
            }
        }
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

    /// How many buffers the device has.
    #[inline]
    pub(crate) fn in_flight(&self) -> u16 {
        self.added.ahead_of(self.taken)
    }

    /// Fills in a descriptor. The caller has seen that there is [`DescRing::room`].
    #[inline]
    pub(crate) fn add(&mut self, buffer: InFlight, addr: Iova, word: u64) {
        self.words.store(first_word(self.added), addr.0);
        self.words.store(second_word(self.added), word);
        *self.in_flight.at(self.added.0) = Some(buffer);
        self.added = self.added.plus(1);
    }

    /// Writes the second word of a descriptor that the device was not told of again.
    #[inline]
    pub(crate) fn amend(&mut self, at: Position, word: u64) {
        self.words.store(second_word(at), word);
    }

    /// Tells the device of the descriptors added since the last time.
    #[inline]
    pub(crate) fn publish(&mut self) {
        self.published = self.added;
        // The register write orders the descriptors before it.
        self.tail.write((self.added.0 & (self.entries - 1)).into());
    }

    /// The second word of the descriptor at `at`, read once.
    #[inline]
    pub(crate) fn word(&self, at: Position) -> u64 {
        self.words.load(second_word(at))
    }

    /// Takes back the next buffer.
    #[inline]
    pub(crate) fn take(&mut self) -> Option<InFlight> {
        let buffer = self.in_flight.at(self.taken.0).take();
        self.taken = self.taken.plus(1);
        buffer
    }
}

#[inline]
fn first_word(at: Position) -> u16 {
    at.0 << 1
}

#[inline]
fn second_word(at: Position) -> u16 {
    at.0 << 1 | 1
}
