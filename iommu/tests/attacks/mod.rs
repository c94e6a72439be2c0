//! Several owners and devices that try everything, against the books: who has which device, and which frames are
//! mapped where, with which permissions.
//!
//! **Invariant: each of a device's requests lands exactly where the books say, or is refused and leaves its record**,
//! whatever was granted, revoked, mapped, unmapped, and whoever died before: the translations, contexts and interrupt
//! entries taken away are tried again at once, by the device that had them and by the others.
//!
//! Shared by the suites of both makes; a suite says with [`Wall`] how its unit is used.

mod books;
mod game;
mod random;

pub(crate) use game::{Tally, play};

use super::memory::Memory;
use super::plain_map::Mapped;
use weir_iommu::Result;
use weir_iommu::address::RequesterId;
use weir_iommu::domain::Unflushed;
use weir_iommu::vtd::{Fault, FaultReason, InterruptRoute};

/// The units of a machine, and what devices do with them.
pub(crate) trait Wall {
    /// What an owner's devices reach.
    type Domain: Mapped;
    /// An interrupt entry.
    type Handle;
    /// Whether each requester has interrupt entries of its own, so that nobody can name another's.
    const HAS_OWN_ENTRIES: bool;

    fn memory(&self) -> Memory;
    fn new_domain(&mut self) -> Result<Self::Domain>;
    fn destroy(&mut self, domain: Self::Domain);
    fn attach(&mut self, device: RequesterId, domain: &mut Self::Domain) -> Result<()>;
    fn detach(&mut self, device: RequesterId, domain: &mut Self::Domain) -> Result<()>;
    fn flush(&mut self, change: Unflushed<'_, Memory>) -> Result<()>;
    fn allocate(&mut self, route: InterruptRoute) -> Result<Self::Handle>;
    fn free(&mut self, route: InterruptRoute, handle: Self::Handle) -> Result<()>;
    /// What names the entry in a message, besides the sender where entries are its own.
    fn index(handle: &Self::Handle) -> u16;

    /// Where an access lands.
    fn access(&self, device: RequesterId, iova: u64, is_write: bool) -> Option<u64>;
    /// Where an access lands that the device says it has translated itself.
    fn translated_access(&self, device: RequesterId, phys: u64) -> Option<u64>;
    /// Vector of the interrupt that a message with `index` raises.
    fn message(&self, device: RequesterId, index: u16) -> Option<u8>;
    /// Vector of the interrupt that a message raises which names no entry.
    fn forged_message(&self, device: RequesterId, vector: u8) -> Option<u8>;
    /// What was recorded since the last call.
    fn faults(&mut self) -> Vec<Fault>;
    /// What the record of a refusal may say.
    fn reasons(&self, refusal: Refusal) -> &'static [FaultReason];
}

/// Why a request must be refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The device is nobody's.
    Blocked,
    /// The owner has not mapped the page for reading.
    Read,
    /// The owner has not mapped the page for writing.
    Write,
    /// Devices do not translate for themselves.
    Translated,
    /// The message names no entry.
    Forged,
    /// The message names an entry that is nobody's.
    NoEntry,
    /// The message names another's entry.
    ForeignEntry,
}
