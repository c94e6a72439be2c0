//! The parts of the Weir kernel that need no machine: tested on the host, linked into the kernel.
//!
//! Reading order: [`acpi`] (what firmware says) · [`frames`] (physical memory) · [`regions`] (a process's addresses) ·
//! [`handles`] (what it may use) · [`vectors`] (a CPU's interrupts) · [`pci`] · [`meter`] · [`refs`] · [`wait`] ·
//! [`try_box`].
#![cfg_attr(not(test), no_std)]

extern crate alloc;

pub mod acpi;
pub mod frames;
pub mod handles;
pub mod meter;
pub mod pci;
pub mod refs;
pub mod regions;
pub mod try_box;
pub mod vectors;
pub mod wait;

#[cfg(test)]
mod testing;
