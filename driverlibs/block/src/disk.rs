//! What a disk is like, and which requests it can be asked.

use crate::{BadRequest, Operation, Request};

/// Smallest and largest block, as powers of two: 512 bytes, 64 KiB.
pub const BLOCK_SHIFTS: core::ops::RangeInclusive<u8> = 9..=16;

/// What a disk is like. A driver has checked it: `block_shift` is one of [`BLOCK_SHIFTS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Disk {
    /// Bytes of a block, as a power of two.
    pub block_shift: u8,
    /// Blocks it has.
    pub blocks: u64,
    /// Most bytes of one request.
    pub transfer_max_bytes: u32,
    /// It cannot be written.
    pub is_read_only: bool,
    /// It takes [`Operation::Trim`].
    pub can_trim: bool,
}

impl Disk {
    /// Bytes of a block.
    #[must_use]
    #[inline]
    pub fn block_bytes(&self) -> u32 {
        1 << self.block_shift
    }

    /// Bytes it has.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.blocks.saturating_mul(self.block_bytes().into())
    }

    /// How many blocks `request` concerns; a driver submits nothing that did not pass here.
    ///
    /// # Errors
    /// What is wrong with it.
    #[inline]
    pub fn check(&self, request: &Request) -> Result<u32, BadRequest> {
        let blocks = match request.operation {
            Operation::Flush => return Ok(0),
            Operation::Trim if !self.can_trim => return Err(BadRequest::NoTrim),
            Operation::Trim => request.blocks,
            Operation::Read | Operation::Write => self.data_blocks(request)?,
        };
        if self.is_read_only && request.operation != Operation::Read {
            return Err(BadRequest::ReadOnly);
        }
        let end = request.block.checked_add(blocks.into());
        if blocks == 0 || end.is_none_or(|end| end > self.blocks) {
            return Err(BadRequest::OutOfRange);
        }
        Ok(blocks)
    }

    #[inline]
    fn data_blocks(&self, request: &Request) -> Result<u32, BadRequest> {
        let bytes = request.buffer.as_ref().map_or(0, weir_pool::BlockBuf::len);
        if bytes & (self.block_bytes() - 1) != 0 || bytes > self.transfer_max_bytes {
            return Err(BadRequest::Length);
        }
        Ok(bytes >> self.block_shift)
    }
}
