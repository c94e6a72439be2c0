//! The parts of the Weir kernel that need no machine: tested on the host, linked into the kernel.
//!
//! Reading order: [`frames`] (physical memory).
#![cfg_attr(not(test), no_std)]

pub mod frames;

#[cfg(test)]
mod testing;
