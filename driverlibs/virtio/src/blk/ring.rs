//! A split virtqueue of requests (virtio 1.2 §2.7 "Split Virtqueues"): each a chain of header, data and status.
//!
//! **Invariants: descriptors `k`, `k + slots` and `k + 2 × slots` are slot `k`'s, for ever; a chain leads to its slot's
//! header and status and to one buffer, nowhere else.** A quarter of the descriptors stays unused: so the number of slots is
//! a power of two, and the descriptor that the device names is the slot.

use bitfield_struct::bitfield;
use core::sync::atomic::{Ordering, fence};

use weir_hal::{DmaWindow, Iova, Register};
use weir_ring::{Position, SharedRing, SharedU16};
use zerocopy::{FromBytes, IntoBytes};

use crate::transport::QueueAddresses;
use crate::{Error, Violation};

/// Descriptors of a request, and the one that is unused.
pub(super) const ENTRIES_PER_REQUEST: u16 = 4;
/// `VIRTQ_AVAIL_F_NO_INTERRUPT` and `VIRTQ_USED_F_NO_NOTIFY` have the same value.
const QUIET: u16 = 1;
/// Keeps what the device writes off the cache lines that the driver writes.
const LINE_BYTES: usize = 64;

/// Words of a slot's memory: header, range of a trim, status; a cache line.
const SLOT_WORDS: u16 = 8;
const HEADER_BYTES: u32 = 16;
const RANGE_WORD: u16 = 2;
const RANGE_BYTES: u32 = 16;
const STATUS_WORD: u16 = 4;

/// Descriptor (§2.7.5 "The Virtqueue Descriptor Table").
#[bitfield(u128)]
#[derive(FromBytes, IntoBytes)]
struct Desc {
    addr: u64,
    len: u32,
    /// `VIRTQ_DESC_F_NEXT`.
    has_next: bool,
    /// `VIRTQ_DESC_F_WRITE`: the device writes; otherwise it reads.
    device_writes: bool,
    #[bits(14)]
    __: u16,
    next: u16,
}
const _: () = assert!(Desc::LEN_OFFSET == 64 && Desc::DEVICE_WRITES_OFFSET == 97 && Desc::NEXT_OFFSET == 112);

/// Used element (§2.7.8 "The Virtqueue Used Ring"), one word.
#[bitfield(u64)]
#[derive(FromBytes, IntoBytes)]
pub(super) struct Used {
    pub(super) id: u32,
    pub(super) len: u32,
}

/// Data of a request.
pub(super) enum Data {
    None,
    /// A trim's range, which the slot has room for: first sector, sectors.
    Range(u64, u32),
    /// Of a buffer: where, how long, and whether the device writes it.
    Buffer(Iova, u32, bool),
}

pub(super) struct Ring {
    entries: u16,
    /// Chains offered so far, and those the device was told of; chains given back.
    added: Position,
    published: Position,
    taken: Position,
    desc: SharedRing<Desc>,
    slots: SharedRing<u64>,
    available_flags: SharedU16,
    available_index: SharedU16,
    available: SharedRing<u16>,
    used_flags: SharedU16,
    used_index: SharedU16,
    used: SharedRing<Used>,
}

impl Ring {
    /// Allocates a ring of `entries` descriptors, a power of two. Empty, and unknown to the device.
    pub(super) fn new(window: &impl DmaWindow, entries: u16) -> Result<Ring, Error> {
        let words = entries / ENTRIES_PER_REQUEST * SLOT_WORDS;
        let desc_bytes = SharedRing::<Desc>::bytes(entries);
        let available_bytes = (4 + SharedRing::<u16>::bytes(entries)).next_multiple_of(LINE_BYTES);
        let used_bytes = 4 + 4 + SharedRing::<Used>::bytes(entries);
        let mut slots = window.allocate(SharedRing::<u64>::bytes(words))?;
        let mut memory = window.allocate(desc_bytes + available_bytes + used_bytes)?;
        let desc = SharedRing::take_from(&mut memory, entries)?;
        let mut available = memory.split_to(available_bytes)?;
        // 4 bytes past a multiple of 8, the used ring's entries are 8-byte aligned, so that each is one load.
        memory.split_to(4)?;
        let mut ring = Ring {
            entries,
            added: Position::default(),
            published: Position::default(),
            taken: Position::default(),
            desc,
            slots: SharedRing::take_from(&mut slots, words)?,
            available_flags: SharedU16::take_from(&mut available)?,
            available_index: SharedU16::take_from(&mut available)?,
            available: SharedRing::take_from(&mut available, entries)?,
            used_flags: SharedU16::take_from(&mut memory)?,
            used_index: SharedU16::take_from(&mut memory)?,
            used: SharedRing::take_from(&mut memory, entries)?,
        };
        ring.empty();
        Ok(ring)
    }

    /// Makes it as new for a device that has been reset, which may have written anything anywhere in it. Silent.
    pub(super) fn empty(&mut self) {
        (0..self.slots()).for_each(|slot| self.link_status(slot));
        self.added = Position::default();
        self.published = Position::default();
        self.taken = Position::default();
        self.available_index.store_release(0);
        self.used_flags.store_release(0);
        self.used_index.store_release(0);
        self.silence();
    }

    pub(super) fn entries(&self) -> u16 {
        self.entries
    }

    /// How many requests it has room for.
    pub(super) fn slots(&self) -> u16 {
        self.entries / ENTRIES_PER_REQUEST
    }

    /// Where the device finds it.
    pub(super) fn addresses(&self) -> QueueAddresses {
        QueueAddresses {
            desc: self.desc.iova(),
            driver: self.available_flags.iova(),
            device: self.used_flags.iova(),
        }
    }

    /// How many requests the device has.
    #[inline]
    pub(super) fn in_flight(&self) -> u16 {
        self.added.ahead_of(self.taken)
    }

    #[inline]
    fn at(&self, slot: u16, word: u16) -> Iova {
        self.slots.iova().add(8 * u64::from(SLOT_WORDS * slot + word))
    }

    fn link_status(&mut self, slot: u16) {
        let status = Desc::new().with_addr(self.at(slot, STATUS_WORD).0).with_len(1).with_device_writes(true);
        self.desc.store(slot + 2 * self.slots(), status);
    }

    /// Offers a request in a slot that the device does not have (§5.2.6 "Device Operation").
    #[inline]
    pub(super) fn add(&mut self, slot: u16, kind: u32, sector: u64, data: Data) {
        let base = SLOT_WORDS * slot;
        self.slots.store(base, kind.into());
        self.slots.store(base + 1, sector);
        self.slots.store(base + STATUS_WORD, u64::MAX);
        let (body, tail) = (slot + self.slots(), slot + 2 * self.slots());
        let chained = Desc::new().with_has_next(true).with_next(tail);
        let next = match data {
            Data::None => tail,
            Data::Range(first, sectors) => {
                self.slots.store(base + RANGE_WORD, first);
                self.slots.store(base + RANGE_WORD + 1, sectors.into());
                let range = chained.with_addr(self.at(slot, RANGE_WORD).0).with_len(RANGE_BYTES);
                self.desc.store(body, range);
                body
            }
            Data::Buffer(iova, bytes, device_writes) => {
                let buffer = chained.with_addr(iova.0).with_len(bytes).with_device_writes(device_writes);
                self.desc.store(body, buffer);
                body
            }
        };
        let header = Desc::new().with_addr(self.at(slot, 0).0).with_len(HEADER_BYTES);
        self.desc.store(slot, header.with_has_next(true).with_next(next));
        self.available.store(self.added.0, slot);
        self.added = self.added.plus(1);
    }

    /// Tells the device of the requests added since the last time, by `doorbell` if it wants to be told.
    #[inline]
    pub(super) fn publish(&mut self, doorbell: &impl Register<u16>, number: u16) {
        if self.added == self.published {
            return;
        }
        self.published = self.added;
        self.available_index.store_release(self.added.0);
        // The device must see the index before we see whether it wants a kick (§2.7.13.4.1).
        fence(Ordering::SeqCst);
        if self.used_flags.load_acquire() & QUIET == 0 {
            doorbell.write(number);
        }
    }

    /// How many requests the device gives back, by its index, read once.
    #[inline]
    pub(super) fn completed(&self) -> Result<u16, Violation> {
        let jump = Position(self.used_index.load_acquire()).ahead_of(self.taken);
        let in_flight = self.published.ahead_of(self.taken);
        if jump > in_flight {
            return Err(Violation::UsedIndex { jump, in_flight });
        }
        Ok(jump)
    }

    /// The next of the [`Ring::completed`] requests, as the device names it.
    #[inline]
    pub(super) fn take(&mut self) -> Used {
        let used = self.used.load(self.taken.0);
        self.taken = self.taken.plus(1);
        used
    }

    /// What the device wrote as a slot's status.
    #[inline]
    pub(super) fn status(&self, slot: u16) -> u8 {
        let [status, ..] = self.slots.load(SLOT_WORDS * slot + STATUS_WORD).to_le_bytes();
        status
    }

    /// Asks for no interrupt (§2.7.7 "Used Buffer Notification Suppression").
    pub(super) fn silence(&mut self) {
        self.available_flags.store_release(QUIET);
    }

    /// Asks for an interrupt at the next request given back. `true` where one was already: it may then never come.
    pub(super) fn listen(&mut self) -> Result<bool, Violation> {
        self.available_flags.store_release(0);
        // The device must see the wish before we look for the last time.
        fence(Ordering::SeqCst);
        Ok(self.completed()? > 0)
    }
}
