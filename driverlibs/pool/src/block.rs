//! Buffers for block devices: page-aligned, of one size per pool, 4 KiB to 1 MiB.
//!
//! **Invariant: a buffer is in one place only: on the free list, in one [`BlockBuf`] (the CPU owns its bytes), or in
//! one [`BlockInFlight`] (the device does; it has no accessors).** A buffer is one run of device addresses. It knows
//! its own, so a queue needs no pool to lend it.
#![expect(unsafe_code, reason = "buffers are carved out of DMA memory, and reached, by pointers")]

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;
use core::mem::ManuallyDrop;
use core::ptr::NonNull;

use weir_hal::dma::DMA_ALIGN_BYTES;
use weir_hal::{DmaMemory, Error, Iova};

/// Smallest buffer: a page. Shorter data lies at its start.
pub const BLOCK_BUF_MIN_BYTES: u32 = 4096;
/// Largest buffer.
pub const BLOCK_BUF_MAX_BYTES: u32 = 1 << 20;
const _: () = assert!(DMA_ALIGN_BYTES >= BLOCK_BUF_MIN_BYTES as usize, "buffers start on pages");

/// A buffer that the CPU owns, holding `len` bytes of data.
///
/// **Invariant: `base` points to `capacity` initialized bytes, which the device finds at `iova`, which live as long as
/// any buffer of the pool, and which no other `BlockBuf` reaches; `len ≤ capacity`.**
///
/// Give it back with [`BlockPool::put`]; one that is dropped is lost to its pool.
#[must_use = "a buffer that is dropped is lost to its pool"]
pub struct BlockBuf {
    base: NonNull<u8>,
    iova: Iova,
    len: u32,
    capacity: u32,
}

// SAFETY: a `BlockBuf` is the only way to its bytes, which belong to no thread.
unsafe impl Send for BlockBuf {}

impl BlockBuf {
    /// Bytes of data.
    #[must_use]
    #[inline]
    pub fn len(&self) -> u32 {
        self.len
    }

    /// Whether it holds no data.
    #[must_use]
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Most bytes it holds.
    #[must_use]
    #[inline]
    pub fn capacity(&self) -> u32 {
        self.capacity
    }

    /// Makes the data `len` bytes long; bytes it gains keep whatever the buffer held. `false`, and no change, where
    /// the buffer ends before.
    #[must_use]
    #[inline]
    pub fn set_len(&mut self, len: u32) -> bool {
        let fits = len <= self.capacity;
        if fits {
            self.len = len;
        }
        fits
    }

    /// The data.
    #[must_use]
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: `len` initialized bytes of the buffer, reached by no other `BlockBuf` (type invariant).
        unsafe { core::slice::from_raw_parts(self.base.as_ptr(), self.len as usize) }
    }

    /// The data, to be changed in place.
    #[must_use]
    #[inline]
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `bytes`; `&mut self` makes this the only reference.
        unsafe { core::slice::from_raw_parts_mut(self.base.as_ptr(), self.len as usize) }
    }

    /// Hands it to a device: what gives it back, and where the device finds its first byte.
    #[inline]
    pub fn lend(self) -> (BlockInFlight, Iova) {
        let iova = self.iova;
        (BlockInFlight(self), iova)
    }
}

impl fmt::Debug for BlockBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlockBuf").field("iova", &self.iova).field("len", &self.len).finish_non_exhaustive()
    }
}

/// A buffer that a device owns. It cannot be looked at.
#[derive(Debug)]
#[must_use = "a buffer that is dropped is lost to its pool"]
pub struct BlockInFlight(BlockBuf);

impl BlockInFlight {
    /// Takes it back after the device has said that it is done, or has been reset. It has the length it was lent with.
    #[inline]
    pub fn complete(self) -> BlockBuf {
        self.0
    }
}

/// Buffers of one size.
///
/// **Invariants: `free[..available]` are distinct buffers of `memory`, reached by no [`BlockBuf`] and no
/// [`BlockInFlight`]; `free` has as many slots as `memory` has buffers.** The last returned is the first given.
///
/// Dropping the pool gives its memory back if every buffer is home; otherwise the memory stays mapped for good,
/// because a buffer or a device may still use it.
pub struct BlockPool {
    free: Box<[NonNull<u8>]>,
    available: usize,
    base: usize,
    buffer_bytes: u32,
    iova: Iova,
    memory: ManuallyDrop<DmaMemory>,
}

// SAFETY: it owns its memory and the buffers on its list, which belong to no thread.
unsafe impl Send for BlockPool {}

impl BlockPool {
    /// Carves `memory` into buffers of `buffer_bytes`: a power of two between [`BLOCK_BUF_MIN_BYTES`] and
    /// [`BLOCK_BUF_MAX_BYTES`].
    ///
    /// # Errors
    /// `OutOfRange` where it is none, or the memory is too short for one or starts within a page.
    pub fn new(memory: DmaMemory, buffer_bytes: u32) -> Result<BlockPool, Error> {
        let is_possible = (BLOCK_BUF_MIN_BYTES..=BLOCK_BUF_MAX_BYTES).contains(&buffer_bytes);
        let is_aligned = memory.iova().0.is_multiple_of(BLOCK_BUF_MIN_BYTES.into());
        let count = memory.bytes() / buffer_bytes.max(1) as usize;
        if !is_possible || !buffer_bytes.is_power_of_two() || !is_aligned || count == 0 {
            return Err(Error::OutOfRange);
        }
        // SAFETY: `i < count`, so the buffer lies in the memory.
        let carve = |i| unsafe { memory.base().add(i * buffer_bytes as usize) };
        let free: Vec<NonNull<u8>> = (0..count).rev().map(carve).collect();
        Ok(BlockPool {
            free: free.into_boxed_slice(),
            available: count,
            base: memory.base().as_ptr().addr(),
            buffer_bytes,
            iova: memory.iova(),
            memory: ManuallyDrop::new(memory),
        })
    }

    /// How many buffers can be taken.
    #[must_use]
    #[inline]
    pub fn available(&self) -> usize {
        self.available
    }

    /// How many buffers it has in all.
    #[must_use]
    pub fn buffers(&self) -> usize {
        self.free.len()
    }

    /// Bytes of each.
    #[must_use]
    pub fn buffer_bytes(&self) -> u32 {
        self.buffer_bytes
    }

    /// Takes an empty buffer; `None` where all are out.
    #[inline]
    pub fn take(&mut self) -> Option<BlockBuf> {
        let last = self.available.checked_sub(1)?;
        let base = *self.free.get(last)?;
        self.available = last;
        let iova = self.iova.add(base.as_ptr().addr().wrapping_sub(self.base) as u64);
        // A buffer of `memory` that nothing else reaches (type invariant), now off the list. `memory` is not given
        // back while a buffer is away from the list (`drop`).
        Some(BlockBuf { base, iova, len: 0, capacity: self.buffer_bytes })
    }

    /// Takes a buffer back. One of another pool is not taken in; it is lost to its own.
    #[inline]
    pub fn put(&mut self, buf: BlockBuf) {
        let offset = buf.base.as_ptr().addr().wrapping_sub(self.base);
        let is_ours = offset < self.free.len() * self.buffer_bytes as usize;
        debug_assert!(is_ours, "buffer of another pool");
        if is_ours && let Some(slot) = self.free.get_mut(self.available) {
            *slot = buf.base;
            self.available += 1;
        }
    }
}

impl Drop for BlockPool {
    fn drop(&mut self) {
        if self.available == self.free.len() {
            // SAFETY: dropped here only. Every buffer is on the list, so no buffer reaches it.
            unsafe { ManuallyDrop::drop(&mut self.memory) }
        }
    }
}
