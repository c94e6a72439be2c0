//! Intel VT-d, legacy and scalable mode (revision 5.10, D51397-018).
//!
//! **Invariant: a requester reaches memory only through the domain it is attached to**; root and context entries
//! that say otherwise do not exist, pass-through is never written. In scalable mode this holds for requests without
//! PASID; requests with one, translation requests and page requests are refused.
//!
//! Glossary: *unit* = one DMA remapping hardware unit (DRHD); *requester* = bus/device/function as seen by the
//! unit; *second stage* = page table from I/O virtual to physical addresses; *first stage* = page table in the CPU's
//! format; *PASID* = process address space id, of which only number 0 is used, for requests that carry none; *IRT*, *IRTE* = interrupt remapping
//! table and its entries; *IEC* = interrupt entry cache.

mod context;
mod fault;
mod hardware;
mod interrupt;
mod pasid;
mod queue;
mod registers;
mod root;
mod unit;

pub use crate::capabilities::Capabilities;
pub use crate::fault::{Drained, Fault, FaultKind, FaultReason};
pub use crate::interrupt::{ApicMode, InterruptRoute, Msi, Polarity, RedirectionEntry, Trigger};
pub use interrupt::InterruptHandle;
pub use unit::Unit;
