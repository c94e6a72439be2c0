//! Ring entries (virtio 1.2 §2.7.5 "The Virtqueue Descriptor Table", §2.7.8 "The Virtqueue Used Ring", §2.8.13 "The
//! Virtqueue Descriptor Ring", §2.8.14 "Event Suppression Structure Format").
//!
//! What the device writes is one integer each, so that loading it is one access and nothing can change in between.

use bitfield_struct::bitfield;
use weir_hal::Iova;
use zerocopy::{FromBytes, Immutable, IntoBytes};

const _: () = assert!(cfg!(target_endian = "little"), "ring entries are little-endian");

/// What a device does with a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// It reads a frame.
    Reads,
    /// It writes one.
    Writes,
    /// It reads a table of descriptors (§2.7.5.3, §2.8.7 "Indirect Flag: Scatter-Gather Support").
    Table,
}

/// Descriptor of a split ring: one buffer. Chains are tables, so `next` is for these only.
#[bitfield(u128)]
#[derive(FromBytes, IntoBytes, Immutable)]
pub(crate) struct Desc {
    pub(crate) addr: u64,
    pub(crate) len: u32,
    /// `VIRTQ_DESC_F_NEXT`.
    pub(crate) has_next: bool,
    /// `VIRTQ_DESC_F_WRITE`: the device writes; otherwise it reads.
    pub(crate) device_writes: bool,
    /// `VIRTQ_DESC_F_INDIRECT`.
    pub(crate) is_indirect: bool,
    #[bits(13)]
    __: u16,
    pub(crate) next: u16,
}
const _: () = assert!(Desc::LEN_OFFSET == 64 && Desc::DEVICE_WRITES_OFFSET == 97 && Desc::NEXT_OFFSET == 112);

impl Desc {
    #[inline]
    pub(crate) fn of(addr: Iova, len: u32, access: Access) -> Desc {
        Desc::new()
            .with_addr(addr.0)
            .with_len(len)
            .with_device_writes(access == Access::Writes)
            .with_is_indirect(access == Access::Table)
    }
}

/// Used element: a buffer that the device gives back.
#[bitfield(u64)]
#[derive(FromBytes, IntoBytes)]
pub(crate) struct Used {
    /// Descriptor that the buffer was.
    pub(crate) id: u32,
    /// Bytes the device says it wrote.
    pub(crate) len: u32,
}
const _: () = assert!(Used::LEN_OFFSET == 32);

/// Second word of a packed ring's descriptor; the first is the address. Written by the driver to offer a buffer, and
/// by the device to give one back.
#[bitfield(u64)]
pub(crate) struct PackedWord {
    /// Bytes of the buffer; from the device, bytes it says it wrote.
    pub(crate) len: u32,
    /// Names the buffer.
    pub(crate) id: u16,
    /// `VIRTQ_DESC_F_NEXT`.
    pub(crate) has_next: bool,
    /// `VIRTQ_DESC_F_WRITE`.
    pub(crate) device_writes: bool,
    /// `VIRTQ_DESC_F_INDIRECT`.
    pub(crate) is_indirect: bool,
    #[bits(4)]
    __: u8,
    /// `VIRTQ_DESC_F_AVAIL`.
    pub(crate) available: bool,
    #[bits(7)]
    __: u8,
    /// `VIRTQ_DESC_F_USED`.
    pub(crate) used: bool,
}
const _: () = assert!(PackedWord::ID_OFFSET == 32 && PackedWord::DEVICE_WRITES_OFFSET == 49);
const _: () = assert!(PackedWord::AVAILABLE_OFFSET == 55 && PackedWord::USED_OFFSET == 63);

impl PackedWord {
    const AVAILABLE: u64 = PackedWord::new().with_available(true).into_bits();
    const USED: u64 = PackedWord::new().with_used(true).into_bits();

    /// Offers a buffer in a lap of the ring whose wrap counter is `wrap`.
    #[inline]
    pub(crate) fn offer(id: u16, len: u32, access: Access, wrap: bool) -> PackedWord {
        let word = PackedWord::new()
            .with_len(len)
            .with_id(id)
            .with_device_writes(access == Access::Writes)
            .with_is_indirect(access == Access::Table);
        PackedWord::from_bits(word.into_bits() | if wrap { Self::AVAILABLE } else { Self::USED })
    }

    /// Whether the device gave a buffer back here in the lap whose wrap counter is `wrap` (§2.8.1 "Driver and Device
    /// Ring Wrap Counters").
    #[inline]
    pub(crate) fn is_used(self, wrap: bool) -> bool {
        let both = Self::AVAILABLE | Self::USED;
        self.into_bits() & both == if wrap { both } else { 0 }
    }
}

/// A packed ring's event suppression structure: when the writer wants to be told.
#[bitfield(u32)]
#[derive(FromBytes, IntoBytes)]
pub(crate) struct Event {
    /// Ring position at which to tell, with `WHEN_AT`.
    #[bits(15)]
    pub(crate) offset: u16,
    /// Wrap counter of the lap in which that is.
    pub(crate) wrap: bool,
    /// One of `ALWAYS`, `NEVER`, `WHEN_AT`.
    #[bits(2)]
    pub(crate) when: u8,
    #[bits(14)]
    __: u16,
}
const _: () = assert!(Event::WRAP_OFFSET == 15 && Event::WHEN_OFFSET == 16);

impl Event {
    /// `RING_EVENT_FLAGS_ENABLE`.
    pub(crate) const ALWAYS: u8 = 0;
    /// `RING_EVENT_FLAGS_DISABLE`.
    pub(crate) const NEVER: u8 = 1;
    /// `RING_EVENT_FLAGS_DESC`.
    pub(crate) const WHEN_AT: u8 = 2;
}
