//! What goes into a queue, and what comes out.

use weir_pool::BlockBuf;

/// What a disk is asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Read blocks into the buffer.
    Read,
    /// Write the buffer to blocks.
    Write,
    /// Make everything that was written, and reported as written, last.
    Flush,
    /// Say that blocks are no longer needed; what they hold is then up to the device.
    Trim,
}

/// One request.
#[derive(Debug)]
#[must_use = "its buffer is lost with it"]
pub struct Request {
    /// What to do.
    pub operation: Operation,
    /// On which of the device's disks, by its place in [`crate::BlockDevice::disks`].
    pub disk: u16,
    /// First block. Not for a flush.
    pub block: u64,
    /// How many blocks to trim; a read or a write has as many as its buffer's data.
    pub blocks: u32,
    /// Comes back with the completion; means nothing here.
    pub token: u64,
    /// The data of a read (as long as what is to be read) or write.
    pub buffer: Option<BlockBuf>,
}

impl Request {
    /// Reads as many blocks as the buffer's data has, from `block` on.
    #[inline]
    pub fn read(disk: u16, block: u64, buffer: BlockBuf, token: u64) -> Request {
        Request { operation: Operation::Read, disk, block, blocks: 0, token, buffer: Some(buffer) }
    }

    /// Writes the buffer's data, from `block` on.
    #[inline]
    pub fn write(disk: u16, block: u64, buffer: BlockBuf, token: u64) -> Request {
        Request { operation: Operation::Write, disk, block, blocks: 0, token, buffer: Some(buffer) }
    }

    /// Makes earlier writes last.
    pub fn flush(disk: u16, token: u64) -> Request {
        Request { operation: Operation::Flush, disk, block: 0, blocks: 0, token, buffer: None }
    }

    /// Gives up `blocks` blocks, from `block` on.
    pub fn trim(disk: u16, block: u64, blocks: u32, token: u64) -> Request {
        Request { operation: Operation::Trim, disk, block, blocks, token, buffer: None }
    }
}

/// A request that ended.
#[derive(Debug)]
#[must_use = "its buffer is lost with it"]
pub struct Completion {
    /// What was asked.
    pub operation: Operation,
    /// The request's token.
    pub token: u64,
    /// The request's buffer. After a read that failed its bytes are anything.
    pub buffer: Option<BlockBuf>,
    /// Whether it was done.
    pub result: Result<(), Failure>,
}

/// Why a request was not done; with the device's own status code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// The device does not know the command, or a field of it.
    #[error("the device takes no such request, status {status:#x}")]
    Unsupported {
        /// Its code.
        status: u16,
    },
    /// The blocks are beyond the disk's end, or there is no room for them.
    #[error("beyond the disk's end, status {status:#x}")]
    OutOfRange {
        /// Its code.
        status: u16,
    },
    /// The disk may not be written.
    #[error("write-protected, status {status:#x}")]
    ReadOnly {
        /// Its code.
        status: u16,
    },
    /// The medium failed: the blocks cannot be read or written.
    #[error("the medium failed, status {status:#x}")]
    Medium {
        /// Its code.
        status: u16,
    },
    /// It was given up because the driver asked for that.
    #[error("aborted, status {status:#x}")]
    Aborted {
        /// Its code.
        status: u16,
    },
    /// Anything else.
    #[error("failed, status {status:#x}")]
    Other {
        /// Its code.
        status: u16,
    },
    /// The device was reset before it answered. Whether a write was done is not known.
    #[error("the device was reset before it answered")]
    Reset,
}

/// Why a request was not submitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadRequest {
    /// The device has no such disk.
    #[error("no such disk")]
    NoDisk,
    /// The data is no whole number of blocks, or longer than a request may be.
    #[error("data of an impossible length")]
    Length,
    /// No blocks, or blocks beyond the disk's end.
    #[error("blocks beyond the disk's end")]
    OutOfRange,
    /// The disk may not be written.
    #[error("the disk is read-only")]
    ReadOnly,
    /// The disk does not take trims.
    #[error("the disk takes no trims")]
    NoTrim,
}
