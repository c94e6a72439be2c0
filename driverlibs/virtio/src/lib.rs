//! Driver library for virtio devices (Virtual I/O Device, version 1.2; its sections are cited as "virtio 1.2 §").
//!
//! **Invariant: nothing a device writes is believed.** Configuration, capability offsets, used indices, ids and
//! lengths are read once, checked against what the driver itself recorded, and refused as an [`Error`]; after a
//! [`Violation`] the device is reset and started anew by [`net::Net::start`]. PCI functions are driven only if they
//! accept `VIRTIO_F_ACCESS_PLATFORM`: any other would go past the IOMMU.
//!
//! Modern PCI devices, and others through [`Transport`], with split rings. Not here: legacy devices, packed rings,
//! offloads, several queue pairs.
//!
//! Reading order: `features`, `transport` (status, negotiation) · `regs`, `capability`, `pci` · `desc`, `queue` (the
//! ring) · [`net`] (the network device).
//!
//! Glossary: *available* = offered to the device; *used* = given back by it; *kick* = a doorbell write that
//! tells the device to look.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod capability;
mod error;
mod features;
pub mod net;
mod pci;
mod queue;
mod regs;
mod transport;

pub use error::{Error, Violation};
pub use features::Features;
pub use pci::Pci;
pub use transport::{QueueAddresses, Status, Transport};
