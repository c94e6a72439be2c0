//! Firmware tables that describe the remapping units: DMAR (Intel), IVRS (AMD).

mod count;
mod dmar;
pub mod ivrs;
mod table;

pub use dmar::{
    Devices, Dmar, DmarFlags, PciAddress, ReservedRegion, RootPortAts, Scope, ScopeKind, Topology,
    UnitDescription,
};
pub use ivrs::Ivrs;
