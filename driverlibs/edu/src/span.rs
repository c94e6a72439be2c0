//! A part of the device's buffer.

/// Bytes of the device's buffer.
pub const BUFFER_BYTES: u16 = 4096;
/// Where the buffer is among the device's own addresses (edu § "MMIO area spec": DMA buffer).
const BUFFER_START: u64 = 0x4_0000;

/// A part of the device's buffer. **Invariant: not empty, and inside**: some releases of QEMU do not check it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    offset: u16,
    bytes: u16,
}

impl Span {
    /// `bytes` bytes at `offset`, if the buffer has them.
    #[must_use]
    pub const fn new(offset: u16, bytes: u16) -> Option<Span> {
        if bytes > 0 && offset < BUFFER_BYTES && bytes <= BUFFER_BYTES - offset {
            Some(Span { offset, bytes })
        } else {
            None
        }
    }

    /// How many bytes it has.
    #[must_use]
    pub const fn bytes(self) -> u16 {
        self.bytes
    }

    /// Its first byte, as the device counts.
    pub(crate) fn address(self) -> u64 {
        BUFFER_START + u64::from(self.offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_stay_inside_the_buffer() {
        for (offset, bytes) in [(0, 1), (0, 4096), (4095, 1), (4088, 8)] {
            assert!(Span::new(offset, bytes).is_some(), "{offset} {bytes}");
        }
        for (offset, bytes) in [(0, 0), (0, 4097), (4095, 2), (4096, 1), (4096, 0), (u16::MAX, u16::MAX)] {
            assert!(Span::new(offset, bytes).is_none(), "{offset} {bytes}");
        }
        assert_eq!(Span::new(8, 16).map(Span::address), Some(0x4_0008));
    }
}
