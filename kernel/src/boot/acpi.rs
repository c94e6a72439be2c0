//! The firmware's tables, found with the `acpi` crate and read with our own parsers: its MADT iterator trusts the
//! lengths of entries (0 makes it endless, more than is left an underflow).

use core::ptr::NonNull;

use ::acpi::sdt::{SdtHeader, Signature};
use ::acpi::{AcpiHandler, AcpiTable, AcpiTables, HpetInfo, PhysicalMapping};
use heapless::Vec;
use weir_kernel::acpi::{EcamWindow, Madt, MadtEntry, Mcfg, TableError};

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
        let mut ids = Vec::new();
        for entry in self.madt() {
            let MadtEntry::Cpu { apic_id, is_enabled: true } = entry else { continue };
            if !ids.contains(&apic_id) && ids.push(apic_id).is_err() {
                log::warn!("more than {MAX_CPUS} CPUs: the others stay off");
                break;
            }
        }
        ids
    }

    /// The I/O interrupt controllers.
    pub(crate) fn io_apics(&self) -> Vec<IoApic, 16> {
        let place = |entry| match entry {
            MadtEntry::IoApic { id, address, first_line } => {
                Some(IoApic { id, address: address.into(), first_line })
            }
            _ => None,
        };
        self.madt().filter_map(place).take(16).collect()
    }

    /// The global number of an ISA interrupt line.
    pub(crate) fn global_line(&self, isa: u8) -> u32 {
        let moved = |entry| match entry {
            MadtEntry::Override { isa: of, line } if of == isa => Some(line),
            _ => None,
        };
        self.madt().find_map(moved).unwrap_or(isa.into())
    }

    /// Configuration-space windows.
    pub(crate) fn ecam(&self) -> Vec<EcamWindow, 8> {
        let mut windows = Vec::new();
        let table = self.bytes::<McfgHeader>().map(Mcfg::parse);
        let Some(Ok(table)) = table.inspect(|table| warn_of("MCFG", table)) else { return windows };
        for window in table.windows().filter(|window| window.first_bus <= window.last_bus) {
            if windows.push(window).is_err() {
                log::warn!("more than 8 PCI segments: the others stay unused");
                break;
            }
        }
        windows
    }

    /// What the MADT says; nothing where it does not add up.
    fn madt(&self) -> impl Iterator<Item = MadtEntry> + use<> {
        let table = self.bytes::<MadtHeader>().map(Madt::parse);
        let table = table.inspect(|table| warn_of("MADT", table));
        table.and_then(Result::ok).into_iter().flat_map(|table| table.entries())
    }

    /// The whole DMAR table (VT-d 5.10 §8.1 "DMA Remapping Reporting Structure"), checksum verified.
    pub(crate) fn dmar(&self) -> Option<&'static [u8]> {
        self.bytes::<DmarHeader>()
    }

    /// The whole IVRS table (AMD 48882 §5.2 "I/O Virtualization Reporting Structure"), checksum verified.
    pub(crate) fn ivrs(&self) -> Option<&'static [u8]> {
        self.bytes::<IvrsHeader>()
    }

    fn bytes<T: AcpiTable>(&self) -> Option<&'static [u8]> {
        let mapping = self.0.find_table::<T>().ok()?;
        let bytes = mapping.get().header().length as usize;
        // SAFETY: the crate mapped the table's whole length to check its sum; our mappings stay for ever.
        Some(unsafe { core::slice::from_raw_parts(mapping.virtual_start().cast().as_ptr(), bytes) })
    }
}

fn warn_of<T>(name: &str, table: &Result<T, TableError>) {
    if let Err(error) = table {
        log::warn!("{name} is not used: {error}");
    }
}

/// A table of which the `acpi` crate is to see the header only: what it makes of the rest trusts the lengths in it.
macro_rules! header_of {
    ($name:ident, $signature:ident) => {
        #[repr(transparent)]
        struct $name(SdtHeader);

        // SAFETY: every table starts with the common header.
        unsafe impl AcpiTable for $name {
            const SIGNATURE: Signature = Signature::$signature;

            fn header(&self) -> &SdtHeader {
                &self.0
            }
        }
    };
}

header_of!(DmarHeader, DMAR);
header_of!(IvrsHeader, IVRS);
header_of!(MadtHeader, MADT);
header_of!(McfgHeader, MCFG);
