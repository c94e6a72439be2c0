//! The firmware's tables, found with the `acpi` crate.

use core::ptr::NonNull;

use ::acpi::madt::{Madt, MadtEntry};
use ::acpi::mcfg::Mcfg;
use ::acpi::sdt::{SdtHeader, Signature};
use ::acpi::{AcpiHandler, AcpiTable, AcpiTables, HpetInfo, PhysicalMapping};
use heapless::Vec;

use crate::cpus::MAX_CPUS;
use crate::mm::address::PhysAddr;
use crate::mm::vmap;

#[derive(Clone)]
struct Firmware;

impl AcpiHandler for Firmware {
    unsafe fn map_physical_region<T>(&self, address: usize, size: usize) -> PhysicalMapping<Firmware, T> {
        let at = vmap::map_firmware(address as u64, size as u64);
        let at = NonNull::new(at.cast()).expect("kernel mappings are not at 0");
        // SAFETY: the region is mapped, read-only, for ever.
        unsafe { PhysicalMapping::new(address, at, size, size, Firmware) }
    }

    fn unmap_physical_region<T>(_: &PhysicalMapping<Firmware, T>) {}
}

/// An I/O interrupt controller.
#[derive(Clone, Copy, Debug)]
pub(crate) struct IoApic {
    pub(crate) id: u8,
    pub(crate) address: u64,
    /// Global number of its first line.
    pub(crate) first_line: u32,
}

/// A configuration-space window (PCI Firmware Specification 3.3, §4.1.2 "MCFG Table Description").
#[derive(Clone, Copy, Debug)]
pub(crate) struct EcamWindow {
    pub(crate) base: u64,
    pub(crate) segment: u16,
    pub(crate) first_bus: u8,
    pub(crate) last_bus: u8,
}

/// The tables.
pub(crate) struct Tables(AcpiTables<Firmware>);

impl Tables {
    /// Follows the root pointer.
    ///
    /// # Panics
    /// Where the firmware gives no valid root table: nothing can be found without.
    pub(crate) fn open(rsdp: PhysAddr) -> Tables {
        // SAFETY: the loader says that the root pointer is there.
        let tables = unsafe { AcpiTables::from_rsdp(Firmware, rsdp.0 as usize) };
        Tables(tables.expect("ACPI tables"))
    }

    /// Physical address of the HPET's registers.
    pub(crate) fn hpet(&self) -> Option<u64> {
        HpetInfo::new(&self.0).ok().map(|info| info.base_address as u64)
    }

    /// APIC ids of the CPUs that may be started.
    pub(crate) fn apic_ids(&self) -> Vec<u32, MAX_CPUS> {
        const ENABLED: u32 = 1;
        let mut ids = Vec::new();
        let Ok(madt) = self.0.find_table::<Madt>() else { return ids };
        for entry in madt.get().entries() {
            let (id, flags) = match entry {
                MadtEntry::LocalApic(entry) => (u32::from(entry.apic_id), entry.flags),
                MadtEntry::LocalX2Apic(entry) => (entry.x2apic_id, entry.flags),
                _ => continue,
            };
            if flags & ENABLED != 0 && !ids.contains(&id) && ids.push(id).is_err() {
                log::warn!("more than {MAX_CPUS} CPUs: the others stay off");
                break;
            }
        }
        ids
    }

    /// The I/O interrupt controllers.
    pub(crate) fn io_apics(&self) -> Vec<IoApic, 16> {
        let Ok(madt) = self.0.find_table::<Madt>() else { return Vec::new() };
        let place = |entry| match entry {
            MadtEntry::IoApic(e) => Some(IoApic {
                id: e.io_apic_id,
                address: e.io_apic_address.into(),
                first_line: e.global_system_interrupt_base,
            }),
            _ => None,
        };
        madt.get().entries().filter_map(place).take(16).collect()
    }

    /// The global number of an ISA interrupt line.
    pub(crate) fn global_line(&self, isa: u8) -> u32 {
        let Ok(madt) = self.0.find_table::<Madt>() else { return isa.into() };
        let moved = |entry| match entry {
            MadtEntry::InterruptSourceOverride(e) if e.irq == isa => Some(e.global_system_interrupt),
            _ => None,
        };
        madt.get().entries().find_map(moved).unwrap_or(isa.into())
    }

    /// Configuration-space windows.
    pub(crate) fn ecam(&self) -> Vec<EcamWindow, 8> {
        let mut windows = Vec::new();
        let Ok(mcfg) = self.0.find_table::<Mcfg>() else { return windows };
        for entry in mcfg.get().get_ref().entries() {
            let window = EcamWindow {
                base: entry.base_address,
                segment: entry.pci_segment_group,
                first_bus: entry.bus_number_start,
                last_bus: entry.bus_number_end,
            };
            if window.first_bus <= window.last_bus && windows.push(window).is_err() {
                log::warn!("more than 8 PCI segments: the others stay unused");
                break;
            }
        }
        windows
    }

    /// The whole DMAR table (VT-d 5.10 §8.1 "DMA Remapping Reporting Structure"), checksum verified.
    pub(crate) fn dmar(&self) -> Option<&'static [u8]> {
        self.bytes::<Dmar>()
    }

    /// The whole IVRS table (AMD 48882 §5.2 "I/O Virtualization Reporting Structure"), checksum verified.
    pub(crate) fn ivrs(&self) -> Option<&'static [u8]> {
        self.bytes::<Ivrs>()
    }

    fn bytes<T: AcpiTable>(&self) -> Option<&'static [u8]> {
        let mapping = self.0.find_table::<T>().ok()?;
        let bytes = mapping.get().header().length as usize;
        // SAFETY: the crate mapped the table's whole length to check its sum; our mappings stay for ever.
        Some(unsafe { core::slice::from_raw_parts(mapping.virtual_start().cast().as_ptr(), bytes) })
    }
}

/// The DMAR table, of which the `acpi` crate is to see the header only.
#[repr(transparent)]
struct Dmar {
    header: SdtHeader,
}

/// The IVRS table, likewise.
#[repr(transparent)]
struct Ivrs {
    header: SdtHeader,
}

// SAFETY: an IVRS table starts with the common header.
unsafe impl AcpiTable for Ivrs {
    const SIGNATURE: Signature = Signature::IVRS;

    fn header(&self) -> &SdtHeader {
        &self.header
    }
}

// SAFETY: a DMAR table starts with the common header.
unsafe impl AcpiTable for Dmar {
    const SIGNATURE: Signature = Signature::DMAR;

    fn header(&self) -> &SdtHeader {
        &self.header
    }
}
