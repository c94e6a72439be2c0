//! Errors of virtio drivers.

use crate::Features;

/// Why a virtio driver failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The host refused something.
    #[error("host: {0}")]
    Host(#[from] weir_hal::Error),
    /// The function is another device.
    #[error("not a virtio network device: {vendor:04x}:{device:04x}")]
    OtherDevice {
        /// PCI vendor id.
        vendor: u16,
        /// PCI device id.
        device: u16,
    },
    /// The device lacks a register structure that modern devices have (a legacy device has none of them).
    #[error("no usable virtio capability of type {kind}")]
    NoCapability {
        /// `cfg_type` (virtio 1.2 §4.1.4).
        kind: u8,
    },
    /// The device does not offer a feature without which it is not driven.
    #[error("device does not offer {missing:?}")]
    NoFeature {
        /// What is missing.
        missing: Features,
    },
    /// The device refused features that it had offered.
    #[error("device refused the features it offered")]
    FeaturesRefused,
    /// The device has no such queue, or one of an impossible size.
    #[error("queue {index} has an impossible size: {entries}")]
    BadQueue {
        /// Queue number.
        index: u16,
        /// Entries the device claims.
        entries: u16,
    },
    /// The device claims an impossible number of pairs of queues.
    #[error("{pairs} pairs of queues are impossible")]
    BadPairs {
        /// Pairs the device claims.
        pairs: u16,
    },
    /// The device has no interrupt vector left for the queue.
    #[error("device has no vector for queue {index}")]
    NoVector {
        /// Queue number.
        index: u16,
    },
    /// The device refused a command.
    #[error("device refused command {class}.{number}")]
    Refused {
        /// Class of the command.
        class: u8,
        /// Its number in that.
        number: u8,
    },
    /// The device broke the ring's protocol. It must be started again.
    #[error("device broke the protocol: {0}")]
    Violation(#[from] Violation),
    /// A buffer is of another pool than the one passed, or has no headroom left. It is lost.
    #[error("buffer of another pool, or without headroom")]
    BadBuffer,
}

/// What a device did wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Violation {
    /// It gave back more buffers than it had.
    #[error("used index jumps by {jump}, {in_flight} in flight")]
    UsedIndex {
        /// Buffers it claims to give back.
        jump: u16,
        /// Buffers it has.
        in_flight: u16,
    },
    /// It gave back a buffer that it did not have.
    #[error("used id {id} is not in flight")]
    UsedId {
        /// The descriptor it named.
        id: u32,
    },
    /// It claims to have written less than a header, or more than the buffer holds.
    #[error("used length {len} is impossible")]
    UsedLength {
        /// The length it claims.
        len: u32,
    },
    /// It merged no receive buffers into a frame, or more than a frame needs.
    #[error("a frame in {count} buffers")]
    MergedBuffers {
        /// The number it claims.
        count: u16,
    },
    /// It left out a checksum that lies outside the frame.
    #[error("checksum from {start} at {offset} is not in the frame")]
    Checksum {
        /// First byte summed.
        start: u16,
        /// Where it goes, from there.
        offset: u16,
    },
}
