//! From firmware's tables to running units: once, at boot.

use alloc::vec::Vec;

use weir_abi::choice::IommuChoice;
use weir_abi::page::IommuMode;
use weir_iommu::acpi::{Dmar, Firmware, Ivrs};
use weir_iommu::address::UnitIndex;
use weir_iommu::amdvi::{CapabilityHeader, Setup};
use weir_iommu::domain::DomainIds;
use weir_iommu::unit::{ApicMode, Capabilities, Mode, Msi};
use weir_iommu::{Error, Result, amdvi, vtd};
use weir_kernel::pci::{ConfigSpace, Message, PciAddress};

use super::hardware::{TableFrames, UnitClock, UnitRegisters};
use super::{UNITS, Unit, Units};
use crate::arch::apic;
use crate::boot::acpi::Tables;
use crate::mm::address::PhysRange;
use crate::pci::pci;
use crate::sync::Lock;
use crate::{cpus, kernel_page};

/// Why the units were not started.
#[derive(Clone, Copy, Debug, thiserror::Error)]
enum Refusal {
    #[error("no ACPI table DMAR or IVRS")]
    NoTable,
    #[error("the command line's iommu= is none of {}", IommuChoice::LIST)]
    BadChoice,
    #[error("iommu={} was asked for, and not every unit of this machine has that mode", wanted.word())]
    NotOffered { wanted: IommuChoice },
    #[error(transparent)]
    Unit(#[from] Error),
}

/// Finds the units and switches them on in the mode asked for, everything blocked. Where that fails no device can be
/// granted. Local APICs come into their final mode on the way.
pub(crate) fn set_up(tables: &Tables, choice: Option<IommuChoice>, checks_tables: bool) {
    match choice.ok_or(Refusal::BadChoice).and_then(|choice| start(tables, choice, checks_tables)) {
        Ok(units) => announce(units),
        Err(reason) => {
            log::warn!("no IOMMU ({reason}): devices cannot be confined, so none is granted");
            if matches!(reason, Refusal::NoTable) {
                apic::enter_x2apic();
            }
        }
    }
}

fn announce(units: &Units) {
    kernel_page::set_iommu_mode(abi_mode(units.mode));
    let apic = if apic::is_x2apic() { "x2APIC" } else { "xAPIC" };
    log::info!(
        "IOMMU: {}, {} unit(s), interrupts remapped to {apic} ids",
        abi_mode(units.mode).name(),
        units.units.len(),
    );
}

/// The table of the machine's units, by what firmware has and not by who made the CPU.
fn firmware(tables: &Tables) -> Result<Option<Firmware<'static>>> {
    if let Some(bytes) = tables.dmar() {
        return Dmar::parse(bytes).map(|table| Some(Firmware::Dmar(table)));
    }
    tables.ivrs().map(|bytes| Ivrs::parse(bytes).map(Firmware::Ivrs)).transpose()
}

/// Registers of the units, which no device may claim.
pub(crate) fn reserved(tables: &Tables) -> Vec<PhysRange> {
    let Ok(Some(firmware)) = firmware(tables) else { return Vec::new() };
    firmware.registers().map(|(base, bytes)| PhysRange::new(base, bytes)).collect()
}

/// As applications are told.
fn abi_mode(mode: Mode) -> IommuMode {
    match mode {
        Mode::VtdFirstStage => IommuMode::VtdScalableFirst,
        Mode::VtdSecondStage => IommuMode::VtdScalableSecond,
        Mode::VtdLegacy => IommuMode::VtdLegacy,
        Mode::AmdVi => IommuMode::AmdVi,
    }
}

/// The mode asked for, where all units offer it.
fn choose(capabilities: Capabilities, choice: IommuChoice) -> core::result::Result<Mode, Refusal> {
    let fits = |mode: &Mode| match choice {
        IommuChoice::Auto => true,
        IommuChoice::Only(wanted) => abi_mode(*mode) == wanted,
    };
    capabilities.modes().find(fits).ok_or(Refusal::NotOffered { wanted: choice })
}

fn start(
    tables: &Tables,
    choice: IommuChoice,
    checks_tables: bool,
) -> core::result::Result<&'static Units, Refusal> {
    let firmware = firmware(tables)?.ok_or(Refusal::NoTable)?;
    let mut units = match &firmware {
        Firmware::Dmar(table) => intel_units(table)?,
        Firmware::Ivrs(table) => amd_units(table)?,
    };
    let all = units.iter().map(Unit::capabilities).reduce(Capabilities::intersection);
    let capabilities = all.ok_or(Error::Unsupported)?;
    let mode = choose(capabilities, choice)?;
    let apic_mode = apic_mode(&units);
    for unit in &mut units {
        unit.start(mode, apic_mode)?;
    }
    if apic_mode == ApicMode::X2Apic {
        apic::enter_x2apic();
    }
    for (index, unit) in units.iter_mut().enumerate() {
        let message = unit.enable_fault_event(apic_mode, apic::IOMMU, cpus::apic_id(0))?;
        if let Some(message) = message {
            program_fault_event(&firmware, index, message);
        }
    }
    let units = units.into_iter().map(Lock::new).collect();
    let ids = Lock::new(DomainIds::new());
    Ok(UNITS.call_once(|| Units { units, firmware, mode, capabilities, checks_tables, ids }))
}

/// x2APIC where CPUs and every unit have it. Interrupt remapping is on for all units, or devices are confined in part
/// only: none is granted then.
fn apic_mode(units: &[Unit]) -> ApicMode {
    let can_all = units.iter().all(|unit| unit.can_remap_interrupts(ApicMode::X2Apic));
    if apic::can_x2apic() && can_all || apic::is_x2apic() { ApicMode::X2Apic } else { ApicMode::XApic }
}

fn intel_units(table: &Dmar<'static>) -> Result<Vec<Unit>> {
    let unit = |description: weir_iommu::acpi::UnitDescription<'_>| {
        let index = UnitIndex::new(description.index).ok_or(Error::Unsupported)?;
        let registers = UnitRegisters::map(description.base, description.register_bytes);
        let bits = table.host_address_bits();
        vtd::Unit::new(index, registers, TableFrames, UnitClock, bits).map(Unit::Vtd)
    };
    table.units().map(unit).collect()
}

fn amd_units(table: &Ivrs<'static>) -> Result<Vec<Unit>> {
    use weir_iommu::acpi::ivrs::UnitDescription;
    let unit = |description: UnitDescription<'_>| {
        let index = UnitIndex::new(description.index).ok_or(Error::Unsupported)?;
        let capability = pci().ecam.read(own_function(&description), description.capability_offset & 0xffc);
        let setup = Setup::of(table, &description, CapabilityHeader::from_bits(capability));
        let registers = UnitRegisters::map(description.base, UnitDescription::REGISTER_BYTES);
        amdvi::Unit::new(index, registers, TableFrames, UnitClock, setup).map(Unit::AmdVi)
    };
    table.units().map(unit).collect()
}

fn own_function(unit: &weir_iommu::acpi::ivrs::UnitDescription<'_>) -> PciAddress {
    let (bus, rest) = (unit.function.bus(), unit.function.device_function());
    PciAddress::new(unit.segment, bus, rest >> 3, rest & 7)
}

/// An AMD unit sends its fault event as the message of its own PCI function. Without it the faults are found when
/// somebody else's are.
fn program_fault_event(firmware: &Firmware<'_>, index: usize, message: Msi) {
    let Firmware::Ivrs(table) = firmware else { return };
    let Some(unit) = table.units().nth(index) else { return };
    let address = own_function(&unit);
    let inventory = pci().inventory();
    let function = inventory.find(address).map(|at| &inventory.functions()[at]);
    let programmed = function.ok_or(weir_kernel::pci::PciError::NotPresent).and_then(|function| {
        let message = Message { address: message.address, data: message.data };
        function.program_msi(&pci().ecam, message, 0)?;
        function.set_bus_master(&pci().ecam, true)?;
        function.set_msi(&pci().ecam, true)
    });
    if let Err(error) = programmed {
        log::warn!("IOMMU {address}: it cannot announce faults: {error}");
    }
}
