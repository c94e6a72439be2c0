//! Driver library for virtio devices (Virtual I/O Device, version 1.2; its sections are cited as "virtio 1.2 §").
//!
//! **Invariant: nothing a device writes is believed.** Configuration, capability offsets, used indices, ids and
//! lengths are read once, checked against what the driver itself recorded, and refused as an [`Error`]; after a
//! [`Violation`] the device is reset and started anew by [`net::Net::start`]. Only devices that accept
//! `VIRTIO_F_ACCESS_PLATFORM` are driven: any other would go past the IOMMU.
//!
//! Modern PCI devices with split rings. Not here: legacy devices, packed rings, offloads, several queue pairs.
//!
//! Reading order: `regs`, `capability`, `features` · `device` (transport, negotiation) · `desc`,
//! `queue` (the ring) · [`net`] (the network device).
//!
//! Glossary: *available* = offered to the device; *used* = given back by it; *kick* = a doorbell write that
//! tells the device to look.
#![no_std]
#![forbid(unsafe_code)]

mod capability;
mod desc;
mod device;
mod error;
mod features;
pub mod net;
mod queue;
mod regs;

pub use error::{Error, Violation};
pub use features::Features;
