//! Rings in memory shared with a device, and the driver's private record of what stands in them.
//!
//! **Invariant: no index reaches outside a ring.** Sizes are powers of two, fixed at set-up; every access masks
//! its index, so the data path has neither a bounds check nor a panic, whatever number a device wrote.
//!
//! Shared memory is read and written by volatile or atomic accesses only: the device may change it at any time,
//! so a value is loaded **once** into a variable, checked there, and used from there. Does not know what the
//! entries mean, and orders nothing except where a function says so.
//!
//! Glossary: *shared* = the device sees it; *local* = only the driver does; *position* = free-running count of
//! entries, of which the low bits name the slot.
#![no_std]
#![deny(unsafe_code)]

extern crate alloc;

pub mod local;
pub mod position;
pub mod shared;

pub use local::{LocalRing, LocalView};
pub use position::Position;
pub use shared::{Shareable, SharedRing, SharedU16, SharedView};

/// Most entries of a ring: what a free-running 16-bit [`Position`] can tell apart.
pub const MAX_ENTRIES: u16 = 1 << 15;
