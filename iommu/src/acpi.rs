//! Firmware tables that describe the remapping units: DMAR (Intel), IVRS (AMD).

mod count;
mod dmar;
mod firmware;
pub mod ivrs;
mod table;

pub use dmar::{
    Devices, Dmar, DmarFlags, PciAddress, ReservedRegion, RootPortAts, Scope, ScopeKind, Topology,
    UnitDescription,
};
pub use firmware::{Cover, Firmware, Refusal};
pub use ivrs::Ivrs;
