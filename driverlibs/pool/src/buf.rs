//! One buffer, in its two states.
#![expect(unsafe_code, reason = "buffers are reached by pointers")]

use core::fmt;
use core::ptr::NonNull;

/// Bytes of a buffer.
pub const BUF_BYTES: u16 = 2048;
/// Bytes kept free before a fresh frame, for what a device wants in front of it. A cache line, so that frames
/// start on one.
pub const HEADROOM_BYTES: u16 = 64;
/// Longest frame a fresh buffer holds.
pub const FRAME_BYTES: u16 = BUF_BYTES - HEADROOM_BYTES;

/// A buffer that the CPU owns, holding a frame of `len` bytes at `start`.
///
/// **Invariant: `base` points to `BUF_BYTES` initialized bytes, which live as long as any `Buf` of the pool and
/// are reached by no other `Buf`; `start + len ≤ BUF_BYTES`.**
///
/// Give it back with [`crate::Pool::put`]; one that is dropped is lost to its pool.
#[must_use = "a buffer that is dropped is lost to its pool"]
pub struct Buf {
    base: NonNull<u8>,
    start: u16,
    len: u16,
    continues: bool,
    is_checksum_good: bool,
}

// SAFETY: a `Buf` is the only way to its bytes, which belong to no thread.
unsafe impl Send for Buf {}

impl Buf {
    /// An empty buffer.
    ///
    /// # Safety
    /// `base` is as the type's invariant says.
    pub(crate) unsafe fn new(base: NonNull<u8>) -> Buf {
        Buf { base, start: HEADROOM_BYTES, len: 0, continues: false, is_checksum_good: false }
    }

    /// A buffer with a frame of `len` bytes at `start`.
    ///
    /// # Safety
    /// All three are as the type's invariant says.
    #[inline]
    pub(crate) unsafe fn of(base: NonNull<u8>, start: u16, len: u16) -> Buf {
        Buf { base, start, len, continues: false, is_checksum_good: false }
    }

    /// Where its bytes begin.
    #[inline]
    pub(crate) fn base(&self) -> NonNull<u8> {
        self.base
    }

    /// Where the frame begins, from the start of the buffer.
    #[must_use]
    #[inline]
    pub fn start(&self) -> u16 {
        self.start
    }

    /// Bytes of the frame.
    #[must_use]
    #[inline]
    pub fn len(&self) -> u16 {
        self.len
    }

    /// Whether the frame has no bytes.
    #[must_use]
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The frame.
    #[must_use]
    #[inline]
    pub fn frame(&self) -> &[u8] {
        // SAFETY: in the buffer, initialized, and reached by no other `Buf` (type invariant).
        unsafe { core::slice::from_raw_parts(self.frame_pointer(), usize::from(self.len)) }
    }

    /// The frame, to be changed in place.
    #[must_use]
    #[inline]
    pub fn frame_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `frame`; `&mut self` makes this the only reference.
        unsafe { core::slice::from_raw_parts_mut(self.frame_pointer(), usize::from(self.len)) }
    }

    /// Makes the frame `len` bytes long; bytes it gains keep whatever the buffer held. `false`, and no change,
    /// where the buffer ends before.
    #[must_use]
    #[inline]
    pub fn set_len(&mut self, len: u16) -> bool {
        let fits = len <= BUF_BYTES - self.start;
        if fits {
            self.len = len;
        }
        fits
    }

    /// Puts `header` in front of the frame, which grows by it. `false`, and no change, where the headroom is
    /// used up.
    #[must_use]
    #[inline]
    pub fn prepend<const N: usize>(&mut self, header: [u8; N]) -> bool {
        let bytes = const { header_bytes(N) };
        let Some(start) = self.start.checked_sub(bytes) else { return false };
        // SAFETY: `start + N` is the frame's old start, so the header lies in the buffer.
        let place = unsafe { self.base.add(usize::from(start)) }.cast::<[u8; N]>();
        // SAFETY: `self` owns the buffer; an array of bytes needs no alignment.
        unsafe { place.write(header) };
        // The end of the frame stays where it was.
        self.start = start;
        self.len += bytes;
        true
    }

    /// Takes a header of `N` bytes off the front of the frame; `None`, and no change, where the frame is shorter.
    #[must_use]
    #[inline]
    pub fn strip<const N: usize>(&mut self) -> Option<[u8; N]> {
        let bytes = const { header_bytes(N) };
        let header = *self.frame().first_chunk::<N>()?;
        // The end of the frame stays where it was.
        self.start += bytes;
        self.len -= bytes;
        Some(header)
    }

    /// Whether the frame goes on in the next buffer of a burst: a frame longer than a buffer lies in several.
    #[must_use]
    #[inline]
    pub fn continues(&self) -> bool {
        self.continues
    }

    /// Says whether the frame goes on in the next buffer.
    #[inline]
    pub fn set_continues(&mut self, continues: bool) {
        self.continues = continues;
    }

    /// Whether the device found the checksum behind the IP header to be right. "No" says nothing.
    #[must_use]
    #[inline]
    pub fn is_checksum_good(&self) -> bool {
        self.is_checksum_good
    }

    /// Says that the checksum behind the IP header is right.
    #[inline]
    pub fn set_checksum_good(&mut self) {
        self.is_checksum_good = true;
    }

    /// Hands it to a device. What the device is told is the caller's affair, so only the pool lends.
    #[inline]
    pub(crate) fn into_flight(self) -> InFlight {
        InFlight { base: self.base }
    }

    #[inline]
    fn frame_pointer(&self) -> *mut u8 {
        // SAFETY: `start ≤ BUF_BYTES` (type invariant).
        unsafe { self.base.add(usize::from(self.start)) }.as_ptr()
    }
}

/// `N` as a length, checked when compiled.
const fn header_bytes(n: usize) -> u16 {
    assert!(n <= BUF_BYTES as usize, "header longer than a buffer");
    #[expect(clippy::cast_possible_truncation, reason = "just checked")]
    let bytes = n as u16;
    bytes
}

impl fmt::Debug for Buf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Buf").field("start", &self.start).field("len", &self.len).finish()
    }
}

/// A buffer that a device owns. It cannot be looked at.
#[derive(Debug)]
#[must_use = "a buffer that is dropped is lost to its pool"]
pub struct InFlight {
    base: NonNull<u8>,
}

// SAFETY: as for `Buf`.
unsafe impl Send for InFlight {}

impl InFlight {
    /// Takes it back after the device has said that it is done, or has been reset, with a frame of `len` bytes
    /// at `start`.
    ///
    /// # Errors
    /// The buffer, where such a frame would not lie inside it.
    #[inline]
    pub fn complete(self, start: u16, len: u32) -> Result<Buf, InFlight> {
        // `len` has the width devices write it in, so that one comparison checks it.
        if start > BUF_BYTES || len > u32::from(BUF_BYTES - start) {
            return Err(self);
        }
        #[expect(clippy::cast_possible_truncation, reason = "at most BUF_BYTES, just checked")]
        let len = len as u16;
        Ok(Buf { base: self.base, start, len, continues: false, is_checksum_good: false })
    }

    /// Takes it back, empty.
    #[inline]
    pub fn complete_empty(self) -> Buf {
        // SAFETY: it was a `Buf`, which is gone: the type's invariant held for it.
        unsafe { Buf::new(self.base) }
    }
}
