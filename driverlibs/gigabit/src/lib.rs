//! What Intel's gigabit Ethernet controllers share: rings with a head and a tail register, the registers of the
//! MAC, and the order in which all of it is started and stopped.
//!
//! **Invariants: nothing a device writes is believed; a buffer that the device had comes back to the CPU only by a
//! completion, or after the device was reset ([`Net::stop`], with which every start begins).** The device writes two
//! things that the driver reads: the second word of a receive descriptor (read once, checked) and one "done" bit of
//! a transmit descriptor. Positions and buffers are the driver's own record; head registers are never read.
//!
//! One queue each way, or several where the controller spreads frames over them. Frames of up to [`FRAME_MAX_BYTES`], or where
//! asked for [`FRAME_LONG_BYTES`], in several buffers; checksums are computed and checked by the device. A controller adds a
//! [`Chip`]: where its queue and interrupt registers are, what its descriptors look like, what it alone needs at the start.
//!
//! Reading order: [`chip`] · [`regs`] · `ring`, [`received`], [`rx`], [`tx`] · [`net`], `nic` · [`statistics`].
//!
//! Citations: "82574 §" = Intel 82574 GbE Controller Family Datasheet, revision 3.4; "82576 §" = Intel 82576
//! Gigabit Ethernet Controller Datasheet, revision 2.61.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod chip;
mod error;
pub mod net;
mod nic;
pub mod received;
pub mod regs;
mod ring;
pub mod rx;
mod signal;
pub mod statistics;
pub mod tx;

pub use chip::Chip;
pub use error::{Error, Violation};
pub use net::{Filter, Net, Options};
pub use regs::Registers;
pub use rx::RxQueue;
pub use statistics::Statistics;
pub use tx::TxQueue;

/// Shortest frame: an Ethernet header.
pub const FRAME_MIN_BYTES: u16 = 14;
/// Longest frame that lies in one buffer: what the controllers let pass while long packets are off (82574 §10.2.5.1 "Receive Control Register",
/// LPE). Fits into a pool's fresh buffer, so that an honest device never writes past one, although the size it is told
/// is the next larger that it knows.
pub const FRAME_MAX_BYTES: u16 = 1522;
const _: () = assert!(FRAME_MAX_BYTES <= weir_pool::FRAME_BYTES);
/// Longest frame that is sent, or asked for, where frames may lie in several buffers: 9,000 bytes of payload, the header, a
/// VLAN tag.
pub const FRAME_LONG_BYTES: u16 = 9018;
/// Bytes of the checksum that ends a frame on the wire.
const CRC_BYTES: u16 = 4;
