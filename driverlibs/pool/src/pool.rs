//! The pool: a free list over one run of DMA memory.
#![expect(unsafe_code, reason = "buffers are carved out of DMA memory by pointers")]

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::mem::ManuallyDrop;
use core::ptr::NonNull;

use weir_hal::{DmaMemory, Error, Iova};

use crate::{BUF_BYTES, Buf, InFlight};

/// Buffers of [`BUF_BYTES`] bytes.
///
/// **Invariants: `free[..available]` are distinct buffers of `memory`, reached by no `Buf` and no `InFlight`;
/// `free` has as many slots as `memory` has buffers.** The last returned is the first given: it is in the cache.
///
/// Dropping the pool gives its memory back if every buffer is home; otherwise the memory stays mapped for good,
/// because a `Buf` or a device may still use it.
pub struct Pool {
    free: Box<[NonNull<u8>]>,
    available: usize,
    base: usize,
    bytes: usize,
    iova: Iova,
    memory: ManuallyDrop<DmaMemory>,
    /// Who has each buffer, where the pool is shared (`lent`); otherwise empty.
    pub(crate) holders: Box<[u8]>,
    /// How many of these are not 0.
    pub(crate) lent: usize,
}

// SAFETY: it owns its memory and the buffers on its list, which belong to no thread.
unsafe impl Send for Pool {}

impl Pool {
    /// Carves `memory` into buffers.
    ///
    /// # Errors
    /// `OutOfRange` where it is too short for one, or has more than 32 bits count.
    pub fn new(memory: DmaMemory) -> Result<Pool, Error> {
        let count = memory.bytes() / usize::from(BUF_BYTES);
        if count == 0 || u32::try_from(count).is_err() {
            return Err(Error::OutOfRange);
        }
        // SAFETY: `i < count`, so the buffer lies in the memory.
        let carve = |i| unsafe { memory.base().add(i * usize::from(BUF_BYTES)) };
        let free: Vec<NonNull<u8>> = (0..count).rev().map(carve).collect();
        Ok(Pool {
            free: free.into_boxed_slice(),
            available: count,
            base: memory.base().as_ptr().addr(),
            bytes: count * usize::from(BUF_BYTES),
            iova: memory.iova(),
            memory: ManuallyDrop::new(memory),
            holders: Box::default(),
            lent: 0,
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

    /// Takes an empty buffer; `None` where all are out.
    #[inline]
    pub fn take(&mut self) -> Option<Buf> {
        let last = self.available.checked_sub(1)?;
        self.available = last;
        // SAFETY: `last < available ≤ free.len()` before the subtraction.
        let base = unsafe { *self.free.get_unchecked(last) };
        // SAFETY: a buffer of `memory` that nothing else reaches (type invariant), now off the list. `memory` is
        // not given back while a buffer is away from the list (`drop`).
        Some(unsafe { Buf::new(base) })
    }

    /// Takes a buffer back. One of another pool is not taken in; it is lost to its own.
    #[inline]
    pub fn put(&mut self, buf: Buf) {
        debug_assert!(self.offset(&buf).is_some(), "buffer of another pool");
        if self.offset(&buf).is_none() {
            return;
        }
        // SAFETY: at most `free.len()` distinct buffers of this pool exist, and this one was not on the list, so
        // `available` is below the length.
        unsafe { *self.free.get_unchecked_mut(self.available) = buf.base() };
        self.available += 1;
    }

    /// Whether a buffer is one of this pool.
    #[must_use]
    #[inline]
    pub fn has(&self, buf: &Buf) -> bool {
        self.offset(buf).is_some()
    }

    /// Hands a buffer's frame to a device: where the device finds it, and what gives it back.
    ///
    /// # Errors
    /// The buffer, where it belongs to another pool: its device address is not known here.
    #[inline]
    pub fn lend(&self, buf: Buf) -> Result<(InFlight, Iova), Buf> {
        let Some(offset) = self.offset(&buf) else { return Err(buf) };
        let iova = self.iova.add((offset + usize::from(buf.start())) as u64);
        Ok((buf.into_flight(), iova))
    }

    /// Hands an empty buffer to a device: what gives it back, and where the device finds the place of a fresh frame.
    /// `None` where all are out.
    #[inline]
    pub fn lend_fresh(&mut self) -> Option<(InFlight, Iova)> {
        let buf = self.take()?;
        // One of this pool, so that its offset needs no check.
        let offset = buf.base().as_ptr().addr().wrapping_sub(self.base) + usize::from(buf.start());
        Some((buf.into_flight(), self.iova.add(offset as u64)))
    }

    /// Buffer `number`, which a neighbour had, with a frame of `len` bytes at `start`.
    #[inline]
    pub(crate) fn buf(&self, number: usize, start: u16, len: u16) -> Buf {
        debug_assert!(number < self.free.len() && self.holders.get(number) == Some(&0));
        // SAFETY: `lent` asks for numbers of `holders` only, which has as many as there are buffers.
        let base = unsafe { self.memory.base().add(number * usize::from(BUF_BYTES)) };
        // SAFETY: `lent` has just taken it out of a neighbour's hands, where nothing here reached it.
        unsafe { Buf::of(base, start, len) }
    }

    #[inline]
    pub(crate) fn offset(&self, buf: &Buf) -> Option<usize> {
        let offset = buf.base().as_ptr().addr().wrapping_sub(self.base);
        (offset < self.bytes).then_some(offset)
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        if self.available == self.free.len() {
            // SAFETY: dropped here only. Every buffer is on the list, so no `Buf` or `InFlight` reaches it.
            unsafe { ManuallyDrop::drop(&mut self.memory) }
        }
    }
}
