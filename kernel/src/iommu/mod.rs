//! The machine's remapping units: set up at boot, then attach, detach, map, unmap on behalf of processes.
//!
//! **Invariant: before any function can master the bus, every unit translates with everything blocked.**
//! A unit that fails is isolated by [`weir_iommu`]; what its devices may still reach is never given back.
//!
//! Reading order: here (the units) · [`start`] (from firmware's tables to running units) · [`cover`] (which unit
//! confines a function, and which requesters it sends with) · [`domain`] (what the devices of a process reach) ·
//! [`scratch`] (what a device without an owner reaches, by policy) · [`interrupt`] · [`fault`] · [`hardware`] (what the units' code asks of the kernel).

mod cover;
mod domain;
mod fault;
mod hardware;
mod interrupt;
mod scratch;
mod start;

use alloc::vec::Vec;
use spin::Once;

use weir_abi::Error;
use weir_iommu::acpi::Firmware;
use weir_iommu::domain::DomainIds;
use weir_iommu::unit::{self, Capabilities, Mode, Sharing};

use crate::sync::Lock;
pub(crate) use cover::{Cover, cover};
pub(crate) use domain::Domain;
pub(crate) use fault::{handle_fault_interrupt, mute_faults};
use hardware::{TableFrames, UnitClock, UnitRegisters};
pub(crate) use interrupt::{allocate_interrupt, allocate_line, free_interrupt};
pub(crate) use scratch::Scratch;
pub(crate) use start::{reserved, set_up};
pub(crate) use weir_iommu::unit::InterruptHandle;

type Unit = unit::Unit<UnitRegisters, TableFrames, UnitClock>;

struct Units {
    /// In the order of firmware's table.
    units: Vec<Lock<Unit>>,
    firmware: Firmware<'static>,
    mode: Mode,
    capabilities: Capabilities,
    /// The tables of devices are walked whenever a device changes hands.
    checks_tables: bool,
    ids: Lock<DomainIds>,
}

/// Here once every unit blocks everything.
static UNITS: Once<Units> = Once::new();

/// Whether the machine's devices are confined.
pub(crate) fn is_on() -> bool {
    UNITS.is_completed()
}

/// What the CPU's tables of the DMA window must be like for devices to walk them; `None` where devices have tables of
/// their own.
pub(crate) fn sharing() -> Option<Sharing> {
    let units = UNITS.get().filter(|units| units.mode == Mode::VtdFirstStage)?;
    units.capabilities.sharing()
}

/// Whether the tables of devices are to be walked whenever a device changes hands.
pub(crate) fn checks_tables() -> bool {
    UNITS.get().is_some_and(|units| units.checks_tables)
}

fn units() -> Result<&'static Units, Error> {
    UNITS.get().ok_or(Error::NoIommu)
}

fn unit(index: usize) -> Result<&'static Lock<Unit>, Error> {
    units()?.units.get(index).ok_or(Error::NoIommu)
}

/// What a caller is told of a unit's error.
fn caller_error(error: weir_iommu::Error) -> Error {
    if let weir_iommu::Error::AlreadyAttached { requester } = error {
        // Another function sends with the same id, and somebody else has it.
        log::warn!("requester {requester} already is in another domain: not granted a second time");
        return Error::NotIsolated;
    }
    match error.blame() {
        weir_iommu::Blame::Resources => Error::NoMemory,
        weir_iommu::Blame::Caller => Error::BadArgument,
        weir_iommu::Blame::Firmware | weir_iommu::Blame::Unit => Error::Hardware,
    }
}
