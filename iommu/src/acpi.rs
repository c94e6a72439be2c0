//! Firmware tables that describe the remapping units.

mod dmar;

pub use dmar::{
    Devices, Dmar, DmarFlags, PciAddress, ReservedRegion, RootPortAts, Scope, ScopeKind, Topology,
    UnitDescription,
};
