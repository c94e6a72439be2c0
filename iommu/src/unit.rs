//! One remapping unit of either make, behind one face.
//!
//! **Invariant: each call keeps the promises of the same call of [`vtd::Unit`] and [`amdvi::Unit`]**; nothing here
//! adds to them. What differs between the makes is the order of [`Unit::start`] and who sends the fault event.
//! An enumeration and not a trait: a machine's units are known at boot, and every call is a system call's business.

use crate::address::RequesterId;
pub use crate::capabilities::{Capabilities, Mode, Sharing};
use crate::domain::{AnyDomain, Invalidation};
use crate::environment::{Clock, Registers, TableMemory};
use crate::error::{Error, Result};
pub use crate::fault::{Drained, Fault, FaultKind, FaultReason};
pub use crate::interrupt::{ApicMode, InterruptRoute, Msi, Polarity, RedirectionEntry, Trigger};
use crate::{amdvi, vtd};

/// One remapping unit.
#[expect(clippy::large_enum_variant, reason = "a machine has few units, and a box would need a heap")]
pub enum Unit<R, M, C> {
    /// Intel's.
    Vtd(vtd::Unit<R, M, C>),
    /// AMD's.
    AmdVi(amdvi::Unit<R, M, C>),
}

/// Runs the same call of either make.
macro_rules! either {
    ($unit:expr, $name:ident => $call:expr) => {
        match $unit {
            Unit::Vtd($name) => $call,
            Unit::AmdVi($name) => $call,
        }
    };
}

impl<R: Registers, M: TableMemory, C: Clock> Unit<R, M, C> {
    /// What the unit can do; domains are built for the intersection over all units.
    #[must_use]
    pub fn capabilities(&self) -> Capabilities {
        either!(self, unit => unit.capabilities())
    }

    /// Whether the unit broke down.
    #[must_use]
    pub fn is_isolated(&self) -> bool {
        either!(self, unit => unit.is_isolated())
    }

    /// Whether interrupts can be remapped to local APICs in this mode.
    #[must_use]
    pub fn can_remap_interrupts(&self, mode: ApicMode) -> bool {
        either!(self, unit => unit.can_remap_interrupts(mode))
    }

    /// Switches DMA remapping on in `mode`, and interrupt remapping for local APICs in `apic_mode`: everybody and
    /// everything is blocked. In the order this make needs.
    ///
    /// # Errors
    /// `Unsupported` (the mode is not offered): nothing was changed. `NoInterruptRemapping` and `AlreadyEnabled`: DMA may
    /// be blocked already, which is safe. `OutOfFrames`, `Timeout`, `QueueError`, `CommandError`, `Isolated`.
    pub fn start(&mut self, mode: Mode, apic_mode: ApicMode) -> Result<()> {
        if !self.capabilities().offers(mode) {
            return Err(Error::Unsupported);
        }
        match self {
            Unit::Vtd(unit) => {
                unit.enable_translation(mode)?;
                unit.enable_interrupt_remapping(apic_mode)
            }
            Unit::AmdVi(unit) => {
                unit.enable_interrupt_remapping(apic_mode)?;
                unit.enable_translation()
            }
        }
    }

    /// Has the unit send `vector` to `apic_id` when it records a fault; `mode` is that of [`Unit::start`]. Where a
    /// message is returned, it must be programmed into the MSI capability of the unit's own function (the first in
    /// the list: QEMU's has a second, of four bytes), and enabled.
    ///
    /// # Errors
    /// `BadVector`, `BadDestination` (AMD: ids above 254, in every mode), `NoInterruptRemapping`, `Isolated`.
    pub fn enable_fault_event(&mut self, mode: ApicMode, vector: u8, apic_id: u32) -> Result<Option<Msi>> {
        match self {
            Unit::Vtd(unit) => unit.enable_fault_event(mode, vector, apic_id).map(|()| None),
            Unit::AmdVi(unit) => unit.enable_fault_event(vector, apic_id).map(Some),
        }
    }

    /// Puts `requester` into `domain`: from now on it reaches what is mapped there.
    ///
    /// # Errors
    /// `AlreadyAttached`, `IncompatibleDomain`, `OutOfFrames`: nothing was changed. Else the unit broke down.
    pub fn attach(&mut self, requester: RequesterId, domain: &mut impl AnyDomain) -> Result<()> {
        either!(self, unit => unit.attach(requester, domain))
    }

    /// Blocks `requester`, which was in `domain`. When this has returned `Ok` no access of it lands any more.
    ///
    /// # Errors
    /// `NotAttached`: nothing was changed. Else the unit broke down, and the domain stays attached.
    pub fn detach(&mut self, requester: RequesterId, domain: &mut impl AnyDomain) -> Result<()> {
        either!(self, unit => unit.detach(requester, domain))
    }

    /// Stops (or starts again) recording faults of `requester`, against storms. Its access rights do not change.
    ///
    /// # Errors
    /// `OutOfFrames`: nothing was changed. Else the unit broke down.
    pub fn mute_faults(&mut self, requester: RequesterId, is_muted: bool) -> Result<()> {
        either!(self, unit => unit.mute_faults(requester, is_muted))
    }

    /// Makes the unit take note of a changed domain; called back from
    /// [`Unflushed::flush`](crate::domain::Unflushed::flush).
    ///
    /// # Errors
    /// The unit broke down and may still use what was unmapped.
    pub fn invalidate(&mut self, change: &Invalidation) -> Result<()> {
        either!(self, unit => unit.invalidate(change))
    }

    /// Reports and clears the recorded faults, each record once.
    pub fn drain_faults(&mut self, report: impl FnMut(Fault)) -> Drained {
        either!(self, unit => unit.drain_faults(report))
    }

    /// Lets `route.requester` raise `route.vector` at `route.apic_id`.
    ///
    /// # Errors
    /// `NotThisUnit` (interrupt remapping is off), `BadVector`, `BadDestination`, `OutOfInterrupts`, `OutOfFrames`:
    /// nothing was changed. Else the unit broke down.
    pub fn allocate_interrupt(&mut self, route: InterruptRoute) -> Result<InterruptHandle> {
        match self {
            Unit::Vtd(unit) => unit.allocate_interrupt(route).map(InterruptHandle::Vtd),
            Unit::AmdVi(unit) => unit.allocate_interrupt(route).map(InterruptHandle::AmdVi),
        }
    }

    /// Changes where an interrupt goes. When this has returned `Ok` it no longer arrives at the old place.
    ///
    /// # Errors
    /// `NotThisUnit`, `BadVector`, `BadDestination`; AMD: `OtherRequester`: nothing was changed. Else the unit broke down.
    pub fn redirect_interrupt(&mut self, handle: &InterruptHandle, route: InterruptRoute) -> Result<()> {
        match (self, handle) {
            (Unit::Vtd(unit), InterruptHandle::Vtd(handle)) => unit.redirect_interrupt(handle, route),
            (Unit::AmdVi(unit), InterruptHandle::AmdVi(handle)) => unit.redirect_interrupt(handle, route),
            _ => Err(Error::NotThisUnit),
        }
    }

    /// Blocks an interrupt for good. When this has returned `Ok` it no longer arrives and its vector is free.
    ///
    /// # Errors
    /// `NotThisUnit`, or the unit broke down: the entry is never used again, but the interrupt may still arrive, so its
    /// vector must not be used for anything else.
    pub fn free_interrupt(&mut self, handle: InterruptHandle) -> Result<()> {
        match (self, handle) {
            (Unit::Vtd(unit), InterruptHandle::Vtd(handle)) => unit.free_interrupt(handle),
            (Unit::AmdVi(unit), InterruptHandle::AmdVi(handle)) => unit.free_interrupt(handle),
            _ => Err(Error::NotThisUnit),
        }
    }
}

/// An interrupt remapping entry, owned. Gone when freed; dropping it without freeing leaks the entry.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "an entry is used up until it is freed"]
pub enum InterruptHandle {
    /// Of an Intel unit.
    Vtd(vtd::InterruptHandle),
    /// Of an AMD unit.
    AmdVi(amdvi::InterruptHandle),
}

impl InterruptHandle {
    /// The message a function is programmed with.
    #[must_use]
    pub fn msi(&self) -> Msi {
        match self {
            InterruptHandle::Vtd(handle) => handle.msi(),
            InterruptHandle::AmdVi(handle) => handle.msi(),
        }
    }

    /// The redirection entry an I/O APIC pin is programmed with, masked; `vector` and `trigger` must be those of the
    /// route.
    #[must_use]
    pub fn redirection(&self, vector: u8, trigger: Trigger, polarity: Polarity) -> RedirectionEntry {
        match self {
            InterruptHandle::Vtd(handle) => handle.redirection(vector, trigger, polarity),
            InterruptHandle::AmdVi(handle) => handle.redirection(vector, trigger, polarity),
        }
    }
}
