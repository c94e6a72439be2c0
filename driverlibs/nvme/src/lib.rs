//! Driver library for NVM Express controllers on PCI Express (NVM Express Base Specification, revision 2.0c, cited as
//! "NVMe §"; NVM Command Set Specification, revision 1.0c, "NVM §"; NVMe over PCIe Transport Specification, revision 1.0c,
//! "PCIe §").
//!
//! **Invariants: nothing a controller writes is believed; a buffer that it had comes back to the CPU only by a completion,
//! or after a controller reset ([`Nvme`]'s `start`, which serves the first start, too).** A completion is read by one load,
//! and its command identifier, queue and status are compared with the driver's own record; lengths and block numbers are
//! checked before a command is made. Anything else is a [`Violation`], after which the controller is reset.
//!
//! Pages of 4 KiB, data by PRPs, commands of the NVM command set, one pair of queues per core, all active namespaces with
//! a block format without metadata. Not here: SGLs, controller memory buffers, doorbell buffers, asynchronous events.
//!
//! Reading order: [`regs`] · [`desc`], [`status`] · `pair` (the two rings) · `admin`, `identify` · [`queue`] · [`device`].
//!
//! Glossary: *SQ*, *CQ* = submission and completion queue; *CID* = number of a command under way; *phase* = the bit of a
//! completion that flips with each pass through the CQ; *PRP* = physical region page, the address of a page of data.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod admin;
pub mod desc;
pub mod device;
mod error;
mod identify;
mod pair;
pub mod queue;
pub mod regs;
pub mod status;

pub use device::Nvme;
pub use error::{Error, Violation};
pub use queue::Queue;
pub use status::Status;

/// Most bytes of one request: what a PRP list of half a page leads to.
pub const TRANSFER_MAX_BYTES: u32 = weir_pool::BLOCK_BUF_MAX_BYTES;
