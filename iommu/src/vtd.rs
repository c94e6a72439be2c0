//! Intel VT-d, legacy mode (revision 5.10, D51397-018).
//!
//! **Invariant: a requester reaches memory only through the domain it is attached to**; root and context entries
//! that say otherwise do not exist, pass-through is never written.
//!
//! Glossary: *unit* = one DMA remapping hardware unit (DRHD); *requester* = bus/device/function as seen by the
//! unit; *second stage* = page table from I/O virtual to physical addresses; *IRT*, *IRTE* = interrupt remapping
//! table and its entries; *IEC* = interrupt entry cache.

mod capabilities;
mod context;
mod fault;
mod hardware;
mod interrupt;
mod queue;
mod registers;
pub(crate) mod second_stage;
mod unit;

pub use capabilities::Capabilities;
pub use fault::{Drained, Fault, FaultKind, FaultReason};
pub use interrupt::{ApicMode, InterruptHandle, InterruptRoute, Msi, Polarity, RedirectionEntry, Trigger};
pub use unit::Unit;
