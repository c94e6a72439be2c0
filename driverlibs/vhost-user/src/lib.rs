//! A host for virtio drivers on Linux: the front end of vhost-user (QEMU's "Vhost-user Protocol", sections cited as
//! "vhost-user"). The other end of a Unix socket, a process such as DPDK's `testpmd`, is the device.
//!
//! **Invariant: the back end reaches the [`Window`] and nothing else of this program, and no answer of it is believed
//! unread**: an answer to another question, of another size, or too late closes the connection, and the device is
//! [`weir_hal::Error::Gone`] until the next start connects again.
//!
//! The rings and the driver's loop are those of `weir-virtio`, compiled for this transport: no message is exchanged for
//! a packet, and an event file is written only where the back end asked to be kicked. Not here: migration, a software
//! IOMMU (`VIRTIO_F_ACCESS_PLATFORM`), requests of the back end, a control queue (the back end has none: it is the front
//! end's business in this protocol).
//!
//! Reading order: [`window`] (memory) · `message`, `connection` (the protocol) · [`event`] (kicks and interrupts) ·
//! [`device`] (the transport) · [`clock`] · [`error`].
//!
//! Glossary: *front end* = owns queues and memory, the driver's side; *back end* = works on them; *kick*, *call* = the
//! event files by which driver and device wake each other.
#![deny(unsafe_code)]

pub mod clock;
mod connection;
pub mod device;
pub mod error;
pub mod event;
mod message;
pub mod window;

pub use clock::MonotonicClock;
pub use device::{Options, VhostUser};
pub use error::Error;
pub use event::{Call, Kick};
pub use window::Window;
