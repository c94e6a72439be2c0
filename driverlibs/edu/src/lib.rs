//! Driver library for QEMU's `edu` device (QEMU, "EDU device", docs/specs/edu.rst; cited as "edu §"): a device that
//! copies between its buffer of 4 KiB and any I/O address, and raises an interrupt when told to.
//!
//! **Invariant: a transfer never leaves the device's buffer**, because its place there is a [`Span`], checked when made;
//! where in memory it goes is the caller's word alone. So it is the rogue of the attack tests: what it may reach is
//! the IOMMU's business, and the device does not learn whether an access was blocked (a blocked read gives zeros).
//!
//! Start the device with `dma_mask=0xffffffffffffffff`: otherwise it cuts addresses to 28 bits, silently. It has no
//! function-level reset. Not here: its factorial engine.
//!
//! Reading order: [`span`] · [`error`] · [`device`].
#![no_std]
#![forbid(unsafe_code)]

pub mod device;
pub mod error;
pub mod span;

pub use device::{Direction, Edu};
pub use error::Error;
pub use span::{BUFFER_BYTES, Span};
