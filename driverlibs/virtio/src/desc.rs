//! Ring entries (virtio 1.2 §2.7.5 "The Virtqueue Descriptor Table", §2.7.8 "The Virtqueue Used Ring").
//!
//! Both are one integer each, so that loading or storing an entry is one access and nothing can change in between.

use bitfield_struct::bitfield;
use zerocopy::{FromBytes, IntoBytes};

const _: () = assert!(cfg!(target_endian = "little"), "ring entries are little-endian");

/// Descriptor: one buffer. Chains are not used, so `next` stays 0.
#[bitfield(u128)]
#[derive(FromBytes, IntoBytes)]
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
