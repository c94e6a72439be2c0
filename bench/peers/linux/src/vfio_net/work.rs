//! What is done with a frame.

use weir_net::{Answer, EchoResponder};

/// Something to do with a frame. It is a type, so that the loop is compiled for it.
pub(crate) trait Work {
    /// Makes of a frame its answer; `false` where there is none.
    fn answer(&self, frame: &mut [u8]) -> bool;
}

impl Work for EchoResponder {
    #[inline]
    fn answer(&self, frame: &mut [u8]) -> bool {
        matches!(EchoResponder::answer(self, frame), Answer::Send)
    }
}

/// Sends every frame back to where it came from.
pub(crate) struct MacSwap;

impl Work for MacSwap {
    #[inline]
    fn answer(&self, frame: &mut [u8]) -> bool {
        let Some(addresses) = frame.first_chunk_mut::<12>() else { return false };
        addresses.rotate_left(6);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn destination_and_source_change_places() {
        let mut frame = *b"ddddddssssss\x08\x00data";
        assert!(MacSwap.answer(&mut frame));
        assert_eq!(&frame, b"ssssssdddddd\x08\x00data");
        assert!(!MacSwap.answer(&mut frame[..11]));
    }
}
