//! AMD-Vi (48882, *AMD I/O Virtualization Technology (IOMMU) Specification*, revision 3.x).
//!
//! **Invariant: a requester reaches memory only through the domain it is attached to**: every entry of the device
//! table is valid from the start and blocks, for an entry that is all zero passes everything.
//!
//! Glossary: *unit* = one IOMMU; *requester* = DeviceID as the unit sees it; *DTE* = device table entry; *host
//! table* = page table from I/O virtual to physical addresses; *IRTE* = interrupt remapping table entry.
//! Guest tables, page requests, device TLBs, virtual APIC and segmented device tables are never switched on.

mod capability;
mod commands;
mod device_table;
mod events;
mod interrupt;
mod registers;
mod unit;

pub use crate::capabilities::Capabilities;
pub use crate::fault::{Drained, Fault, FaultKind, FaultReason};
pub use crate::interrupt::{ApicMode, InterruptRoute, Msi, Polarity, RedirectionEntry, Trigger};
pub use capability::{CapabilityHeader, Setup};
pub use interrupt::InterruptHandle;
pub use unit::Unit;
