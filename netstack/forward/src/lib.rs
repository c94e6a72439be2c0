//! Forwards frames between network devices, whichever they are: the modes of DPDK's `testpmd` (Testpmd User Guide
//! 22.11, §7.3.x "set fwd"), its statistics, and pcap files as source and destination of frames.
//!
//! **Invariant: no frame makes it panic, and every frame received is counted once: as a packet or as dropped.**
//! Nothing on the data path allocates, locks, copies a frame (but those replayed), or enters a kernel.
//!
//! A [`Stream`] knows queues, not devices; a [`Forwarder`] owns devices that have the face of [`weir_nic::Nic`].
//! Not here: checksum offloads, several queues of a port, frames in several buffers (what is [`weir_pool::Buf::continues`]
//! counts as a frame).
//!
//! Reading order: [`mode`] (what can be done) · [`settings`] (the words that say it) · [`stream`] (a pass) · [`mac`],
//! [`five_tuple`] (what happens to a frame) · `source` (frames made, or replayed) · [`forwarder`] (devices) ·
//! [`statistics`] · [`pcap`].
//!
//! Glossary: *port* = a device, by its number; *stream* = frames received at one port and sent at another, or the same.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod five_tuple;
pub mod forwarder;
pub mod mac;
pub mod mode;
pub mod pcap;
pub mod settings;
mod source;
pub mod statistics;
pub mod stream;

pub use forwarder::Forwarder;
pub use mode::Mode;
pub use settings::{BadWords, HELP, Settings, Topology};
pub use statistics::{Received, Sent};
pub use stream::{Capture, Ends, Passed, Stream};

/// Shortest frame: an Ethernet header.
pub const FRAME_MIN_BYTES: u16 = 14;
/// Longest frame to replay, without checksum: 1500 bytes of payload behind a header and two VLAN tags.
pub const FRAME_MAX_BYTES: u16 = 1522;
