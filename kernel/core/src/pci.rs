//! PCI: which functions there are, what they can do, and the few operations on them that Weir needs.
//!
//! **Invariant: after [`enumerate()`] no endpoint can start a transfer or raise an interrupt, and nothing that a
//! function says about itself is believed unchecked.**
//!
//! Bus numbers and bridges' windows are the firmware's; addresses are assigned to what comes later only. Does not lock: the kernel makes sure that
//! one CPU at a time works on a function. Of `pci_types` it uses the address and the command register; its
//! capability walk and its sizing of base address registers trust the device, so those are here.
//!
//! Reading order: [`config`] (access to configuration space) · [`registers`] (their fields) · [`mod@enumerate`] (finding
//! functions and making them quiet) · [`function`] · [`bar`] · [`capability`] · [`interrupt`] (MSI and MSI-X) ·
//! [`reset`] · [`mapping`] (which register pages an owner may have) · [`group`] (who can reach whom) · [`slot`]
//! (hot-plug) · [`plug`] (functions that come and go) · [`window`] · [`sriov`] (virtual functions).
//! Glossary: *BAR* — base address register; *FLR* — function-level reset; *ACS* — access control services;
//! *requester* — the bus, device and function number that a transfer carries.

#![forbid(unsafe_code)]

pub mod bar;
pub mod capability;
pub mod config;
pub mod enumerate;
pub mod error;
pub mod function;
pub mod group;
pub mod interrupt;
pub mod mapping;
pub mod plug;
pub mod registers;
pub mod reset;
pub mod slot;
pub mod sriov;
pub mod window;

// Not under Miri: nothing here is unsafe, and each scan reads 8192 registers.
#[cfg(all(test, not(miri)))]
mod tests;

pub use bar::{Bar, BarKind};
pub use capability::{BarRange, Capabilities, Express, Msi, Msix, PortType, Sriov};
pub use config::ConfigSpace;
pub use enumerate::{BusRange, Inventory, enumerate};
pub use error::PciError;
pub use function::{Function, Header, VirtualOf};
pub use interrupt::{Message, MsixState, MsixTable, TableRegisters};
pub use pci_types::PciAddress;
pub use plug::DEVICE_FUNCTIONS;
pub use reset::{PendingReset, Progress};
pub use slot::{Action, Outline, Request, Slot};
pub use window::Windows;
