//! Errors of these drivers.

use weir_nic::NicError;

/// Why a driver failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The host refused something. `Gone`: the device was revoked, or reads as all ones.
    #[error("host: {0}")]
    Host(#[from] weir_hal::Error),
    /// The function is another device.
    #[error("not the controller of this driver: {vendor:04x}:{device:04x}")]
    OtherDevice {
        /// PCI vendor id.
        vendor: u16,
        /// PCI device id.
        device: u16,
    },
    /// The ring size asked for is not a power of two between 8 and 4096.
    #[error("a ring of {entries} entries is not possible")]
    BadRing {
        /// Entries asked for.
        entries: u16,
    },
    /// The device broke the ring's protocol. It must be started again.
    #[error("device broke the protocol: {0}")]
    Violation(#[from] Violation),
    /// A buffer is of another pool than the one passed. It is lost.
    #[error("buffer of another pool")]
    BadBuffer,
    /// A frame is shorter than its header or longer than a frame may be, lies in too many buffers, or ends in none. It was
    /// not sent; its buffers are back.
    #[error("frame of {len} bytes cannot be sent")]
    BadFrame {
        /// Its length.
        len: u16,
    },
    /// What is asked for a frame the device cannot do, or the frame is too short for it. It was not sent; its buffers are back.
    #[error("the device cannot do that with a frame")]
    BadOffload,
}

impl NicError for Error {
    fn is_violation(&self) -> bool {
        matches!(self, Error::Violation(_))
    }
}

/// What a device did wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Violation {
    /// It claims to have received a frame of a length that it was told not to let pass, or a part of one that fills no buffer.
    #[error("received length {len} is impossible")]
    Length {
        /// The length it claims.
        len: u16,
    },
    /// It passed a part of a frame, or a bad one, which it was told not to; the descriptor's second word.
    #[error("received a fragment or a bad frame: {word:#018x}")]
    Status {
        /// What it wrote.
        word: u64,
    },
}
