//! DMA and interrupt remapping: the wall around a device.
//!
//! A [`Domain`](domain::Domain) is what one owner's devices may reach; a unit ([`unit::Unit`], of either make) is one
//! remapping unit of the machine, which keeps every requester inside the domain it is attached to, or blocked;
//! firmware's table ([`Dmar`](acpi::Dmar), [`Ivrs`](acpi::Ivrs)) says which unit covers which function.
//!
//! **Invariant: a frame that was reachable by a device, and a page-table frame a unit may have walked, is handed
//! back only after every unit involved has confirmed the invalidation.** What cannot be confirmed is never
//! reported as done: the unit is isolated (all its requesters blocked) and the frames stay out of use.
//!
//! Knows nothing of the kernel: it reaches registers, table memory and time through the three small traits of
//! [`environment`], so the same code runs in the kernel, in host tests and against QEMU's model.
//! It does not decide who owns what, does not parse PCI, does not enable bus mastering, and never uses
//! pass-through, ATS or PASIDs. Written to the Intel VT-d specification, revision 5.10 (D51397-018), and to
//! the AMD IOMMU specification, 48882, revision 3.x.
#![no_std]

pub mod acpi;
pub mod address;
pub mod amdvi;
mod capabilities;
pub mod domain;
pub mod environment;
mod error;
mod fault;
mod hardware;
mod id_set;
mod interrupt;
mod second_stage;
mod tables;
pub mod unit;
pub mod vtd;

pub use capabilities::{Capabilities, Mode, Sharing};
pub use error::{Blame, Error, Result, Wait};
