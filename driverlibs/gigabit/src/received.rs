//! What a device says of what it received: the second word of a receive descriptor.
//!
//! **Invariant: a word that says the impossible is a violation.** The controllers have the same statements at different
//! places.

use weir_pool::BUF_BYTES;

use crate::{FRAME_MAX_BYTES, FRAME_MIN_BYTES, Violation};

/// Longest frame that a device lets pass where long ones are received: a controller without a limit of its own takes what the
/// next larger size is that it knows (82574 §10.2.5.1 "Receive Control Register", LPE).
const LONG_LIMIT_BYTES: u16 = 16_384;

/// Where a controller says what.
#[derive(Clone, Copy, Debug)]
pub struct Format {
    /// The device is done with the descriptor.
    pub done: u64,
    /// The frame ends in this buffer.
    pub last: u64,
    /// The frame is bad; means something where the frame ends.
    pub errors: u64,
    /// The checksum behind the IP header was computed: any of these.
    pub checked: u64,
    /// It, or that of the IP header, is not to be relied on: any of these.
    pub wrong: u64,
    /// Where the 16 bits of the length are.
    pub len_offset: usize,
}

/// A frame, or a part of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Its bytes, not yet checked.
    pub len: u16,
    /// The frame ends here.
    pub is_last: bool,
    /// The frame's checksum is right.
    pub is_checksum_good: bool,
}

impl Format {
    /// Reads a word where every frame lies in one buffer: `None` while none arrived, else its length.
    ///
    /// # Errors
    /// `Status`: it is not one whole good frame. `Length`.
    #[inline]
    pub fn whole(&self, word: u64) -> Result<Option<u16>, Violation> {
        if word & (self.done | self.last | self.errors) != self.done | self.last {
            return if word & self.done == 0 { Ok(None) } else { Err(Violation::Status { word }) };
        }
        let len = self.len(word);
        if (FRAME_MIN_BYTES..=FRAME_MAX_BYTES).contains(&len) {
            Ok(Some(len))
        } else {
            Err(Violation::Length { len })
        }
    }

    /// Reads a word where a frame may go on in the next buffer: `None` while nothing arrived.
    ///
    /// # Errors
    /// `Status`: it ends a bad frame.
    #[inline]
    pub fn part(&self, word: u64) -> Result<Option<Part>, Violation> {
        if word & self.done == 0 {
            return Ok(None);
        }
        let is_last = word & self.last != 0;
        if is_last && word & self.errors != 0 {
            return Err(Violation::Status { word });
        }
        let is_checksum_good = is_last && word & self.checked != 0 && word & self.wrong == 0;
        Ok(Some(Part { len: self.len(word), is_last, is_checksum_good }))
    }

    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "the length's 16 bits")]
    fn len(&self, word: u64) -> u16 {
        (word >> self.len_offset) as u16
    }
}

/// A frame that may lie in several buffers, while its parts arrive.
#[derive(Clone, Copy, Default)]
pub(crate) struct UnderWay {
    is_long: bool,
    bytes: u16,
}

impl UnderWay {
    /// No frame; `is_long`: those to come may lie in several buffers.
    pub(crate) fn new(is_long: bool) -> UnderWay {
        UnderWay { is_long, bytes: 0 }
    }

    /// Takes the next part in. A buffer that the frame does not end in is full: so a frame has few parts.
    #[inline]
    pub(crate) fn add(&mut self, part: Part) -> Result<(), Violation> {
        let Part { len, is_last, .. } = part;
        let limit = if self.is_long { LONG_LIMIT_BYTES } else { FRAME_MAX_BYTES };
        let is_possible = if is_last { len <= BUF_BYTES } else { len == BUF_BYTES && self.is_long };
        // No overflow: neither is above `LONG_LIMIT_BYTES`.
        let bytes = self.bytes + if is_possible { len } else { 0 };
        if !is_possible || !(FRAME_MIN_BYTES..=limit).contains(&bytes) {
            return Err(Violation::Length { len });
        }
        self.bytes = if is_last { 0 } else { bytes };
        Ok(())
    }
}
