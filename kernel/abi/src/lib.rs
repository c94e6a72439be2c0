//! What the kernel and its applications share: system calls, errors, object layouts.
//!
//! **Invariant: every type here has one layout, fixed by this crate; nothing in it depends on the kernel.**
//!
//! Reading order: [`call`] (the system calls, one documented constant each) · [`error`] · [`handle`] ·
//! [`layout`] (where things are in an address space) · [`page`] (the read-only page pair through which the
//! kernel talks to a process without being entered) · [`device`] · [`info`] · [`bundle`] (the boot image) ·
//! [`choice`] (which IOMMU mode is asked for) · [`manifest`] (which application gets what) · [`start`] (what an application finds when it starts) ·
//! [`stats`] (how an application tells the supervisor its counters).
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod bundle;
pub mod call;
pub mod channel;
pub mod choice;
pub mod device;
pub mod error;
pub mod handle;
pub mod info;
pub mod layout;
pub mod manifest;
pub mod page;
pub mod start;
pub mod stats;

pub use error::Error;
pub use handle::{Handle, Rights};

/// Version of this interface; the kernel and a program must agree on it exactly.
pub const ABI_VERSION: u32 = 1;
