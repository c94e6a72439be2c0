//! One entry of a ring.

use bitfield_struct::bitfield;

/// A buffer on its way: 64 bits, written and read by one access.
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct Desc {
    /// Which buffer of the pool.
    pub number: u32,
    /// Where its frame begins.
    #[bits(12)]
    pub start: u16,
    /// Bytes of the frame; 0 gives the buffer back.
    #[bits(12)]
    pub bytes: u16,
    /// The frame goes on in the next entry's buffer.
    pub continues: bool,
    #[bits(7)]
    __: u8,
}

const _: () = assert!(weir_pool::BUF_BYTES < 1 << 12, "a start and a length have 12 bits each");
