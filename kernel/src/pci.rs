//! PCI as the kernel has it: configuration space through its memory window, and the list of functions.

use core::ops::Range;
use core::ptr::NonNull;

use alloc::vec::Vec;
use spin::Once;
use spin::rwlock::{RwLock, RwLockReadGuard};

use weir_iommu::acpi::{self as dmar, Topology};
use weir_iommu::address::RequesterId;
use weir_kernel::acpi::EcamWindow;
use weir_kernel::pci::{self, BusRange, ConfigSpace, Function, Header, Inventory, PciAddress, PciError};

use crate::boot::acpi::Tables;
use crate::mm::address::PhysAddr;
use crate::mm::vmap;
use crate::sync::ServeShootdowns;

/// Bytes of configuration space of a bus in the window (PCIe 6.0 §7.2.2 "PCI Express Enhanced Configuration
/// Access Mechanism").
const BUS_BYTES: u64 = 1 << 20;

struct Window {
    place: EcamWindow,
    registers: NonNull<u8>,
}

/// All windows.
pub(crate) struct Ecam(Vec<Window>);

// SAFETY: a window is device registers, mapped for ever; each access is one whole 32-bit register.
unsafe impl Send for Ecam {}
// SAFETY: as above.
unsafe impl Sync for Ecam {}

impl Ecam {
    /// The physical address of a page of registers that are the kernel's.
    pub(crate) fn first_page(&self) -> Option<u64> {
        self.0.first().map(|window| window.place.base)
    }

    fn register(&self, address: PciAddress, offset: u16) -> Option<NonNull<u32>> {
        let covers = |w: &&Window| {
            w.place.segment == address.segment()
                && (w.place.first_bus..=w.place.last_bus).contains(&address.bus())
        };
        let window = self.0.iter().find(covers)?;
        let bus = u64::from(address.bus() - window.place.first_bus);
        let function = u64::from(address.device()) << 15 | u64::from(address.function()) << 12;
        let at = bus * BUS_BYTES + function + u64::from(offset & 0xffc);
        // SAFETY: the window maps every bus from its first to its last.
        Some(unsafe { window.registers.add(at as usize) }.cast())
    }
}

impl ConfigSpace for Ecam {
    fn read(&self, address: PciAddress, offset: u16) -> u32 {
        // SAFETY: `register` gives an aligned register inside a mapped window.
        self.register(address, offset).map_or(u32::MAX, |r| unsafe { r.read_volatile() })
    }

    fn write(&self, address: PciAddress, offset: u16, value: u32) {
        if let Some(register) = self.register(address, offset) {
            // SAFETY: as in `read`.
            unsafe { register.write_volatile(value) };
        }
    }

    fn write_half(&self, address: PciAddress, offset: u16, value: u16) {
        if let Some(register) = self.register(address, offset) {
            // SAFETY: as in `read`; the half lies inside the register.
            unsafe { register.cast::<u16>().add(usize::from(offset & 2) / 2).write_volatile(value) };
        }
    }
}

/// The machine's PCI.
pub(crate) struct Pci {
    pub(crate) ecam: Ecam,
    /// Changed by hot-plug, and where virtual functions come and go.
    inventory: RwLock<Inventory, ServeShootdowns>,
    /// Physical ranges that no device may claim: memory, and registers that are the kernel's.
    pub(crate) reserved: Vec<Range<PhysAddr>>,
}

impl Pci {
    /// The functions that are there. Who reads may read again.
    pub(crate) fn inventory(&self) -> RwLockReadGuard<'_, Inventory, ServeShootdowns> {
        self.inventory.read()
    }

    /// Lists what came behind `port`: see [`Inventory::plug`].
    pub(crate) fn plug(&self, port: PciAddress) -> Result<usize, PciError> {
        self.inventory.write().plug(&self.ecam, port, &self.reserved)
    }

    /// Switches virtual functions on: see [`Inventory::begin_virtual`].
    pub(crate) fn begin_virtual(&self, physical: PciAddress, count: u16) -> Result<(), PciError> {
        self.inventory.write().begin_virtual(&self.ecam, physical, count, &self.reserved)
    }

    /// Looks at virtual functions once they may be asked: see [`Inventory::end_virtual`].
    pub(crate) fn end_virtual(&self, physical: PciAddress) {
        self.inventory.write().end_virtual(&self.ecam, physical);
    }

    /// Virtual function `number`.
    pub(crate) fn virtual_function(&self, physical: PciAddress, number: usize) -> Option<Function> {
        self.inventory().virtual_of(physical).nth(number).copied()
    }

    /// Switches virtual functions off and strikes them off.
    pub(crate) fn remove_virtual(&self, physical: PciAddress) {
        self.inventory.write().remove_virtual(&self.ecam, physical);
    }

    /// Strikes off what is behind `port`.
    pub(crate) fn unplug(&self, port: PciAddress) {
        self.inventory.write().unplug(port);
    }
}

static PCI: Once<Pci> = Once::new();

/// The machine's PCI, once enumerated.
pub(crate) fn pci() -> &'static Pci {
    PCI.get().expect("PCI is enumerated at boot")
}

/// Finds every function and makes it quiet: from here on no endpoint masters the bus.
pub(crate) fn set_up(tables: &Tables, mut reserved: Vec<Range<PhysAddr>>) {
    let places = tables.ecam();
    let windows = places.iter().map(|place| {
        let bytes = (u64::from(place.last_bus - place.first_bus) + 1) * BUS_BYTES;
        reserved.push(PhysAddr(place.base)..PhysAddr(place.base + bytes));
        let registers = vmap::map_registers(place.base, bytes);
        Window { place: *place, registers: NonNull::new(registers).expect("kernel mappings are not at 0") }
    });
    let ecam = Ecam(windows.collect());
    let range = |w: &EcamWindow| BusRange { segment: w.segment, first: w.first_bus, last: w.last_bus };
    let ranges: Vec<BusRange> = places.iter().map(range).collect();
    let inventory = match pci::enumerate(&ecam, &ranges) {
        Ok(inventory) => inventory,
        Err(error) => {
            log::error!("PCI: {error}; no device can be granted");
            pci::enumerate(&ecam, &[]).expect("an empty machine has no errors")
        }
    };
    log::info!("PCI: {} functions", inventory.functions().len());
    PCI.call_once(|| Pci { ecam, inventory: RwLock::new(inventory), reserved });
}

/// Makes room for functions that come later: `slots` into slots, and the virtual functions of those that are there.
/// Says how many; they cost no memory then.
pub(crate) fn reserve(slots: usize) -> usize {
    let virtual_functions =
        |function: &Function| function.capabilities.sriov.map_or(0, |sriov| sriov.functions);
    let virtuals: usize =
        pci().inventory().functions().iter().map(|it| usize::from(virtual_functions(it))).sum();
    let spare = slots + virtuals;
    match (pci().inventory.write().reserve(spare), pci().ecam.first_page()) {
        (Ok(()), Some(page)) if spare > 0 => {
            vmap::make_windows(page);
            spare
        }
        (Err(error), _) => {
            log::error!("PCI: {error}; no function can come later");
            0
        }
        _ => 0,
    }
}

/// The number the rest of the system calls a function by.
pub(crate) fn number(address: PciAddress) -> u32 {
    u32::from(address.segment()) << 16 | u32::from(requester(address).0)
}

/// The requester id of a function, within its segment.
pub(crate) fn requester(address: PciAddress) -> RequesterId {
    RequesterId::new(address.bus(), address.device(), address.function())
}

/// The bus hierarchy, for the DMAR table's paths.
pub(crate) struct Hierarchy;

impl Hierarchy {
    /// Address and next bus of the first bridge that matches.
    fn find(matches: impl Fn(&Function, u8) -> bool) -> Option<(PciAddress, u8)> {
        pci().inventory().functions().iter().find_map(|function| {
            let Header::Bridge { secondary, .. } = function.header else { return None };
            matches(function, secondary).then_some((function.address, secondary))
        })
    }
}

impl Topology for Hierarchy {
    fn secondary_bus(&self, bridge: dmar::PciAddress) -> Option<u8> {
        let is_it =
            |f: &Function, _| f.address.segment() == bridge.segment && requester(f.address) == bridge.id;
        Hierarchy::find(is_it).map(|(_, secondary)| secondary)
    }

    fn parent_bridge(&self, segment: u16, bus: u8) -> Option<RequesterId> {
        let leads = |f: &Function, secondary| f.address.segment() == segment && secondary == bus && bus != 0;
        Hierarchy::find(leads).map(|(bridge, _)| requester(bridge))
    }
}
