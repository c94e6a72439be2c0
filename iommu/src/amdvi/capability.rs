//! What the environment and firmware know of a unit beforehand.

use crate::acpi::ivrs::{Ivrs, UnitDescription, UnitFlags};
use bitfield_struct::bitfield;

/// First word of the capability block in the unit's configuration space (48882 §3.2.1 "Capability Header").
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct CapabilityHeader {
    /// PCI capability id; 0Fh for a secure device.
    pub id: u8,
    /// Where the next capability is.
    pub next: u8,
    /// Kind of secure device; 3 for an IOMMU.
    #[bits(3)]
    pub kind: u8,
    /// Revision.
    #[bits(5)]
    pub revision: u8,
    /// Device TLBs are supported.
    pub has_device_tlbs: bool,
    /// HyperTransport tunnel.
    pub has_ht_tunnel: bool,
    /// NpCache: not-present entries may be cached.
    pub caches_not_present: bool,
    /// EFRSup: there is an extended feature register.
    pub has_extended_features: bool,
    /// The capability block is longer.
    pub is_extended: bool,
    #[bits(3)]
    __: u8,
}
const _: () = assert!(CapabilityHeader::CACHES_NOT_PRESENT_OFFSET == 26);
const _: () = assert!(CapabilityHeader::HAS_EXTENDED_FEATURES_OFFSET == 27);

impl CapabilityHeader {
    pub(super) fn is_iommu(self) -> bool {
        self.id() == 0x0f && self.kind() == 3
    }
}

/// How to set a unit up.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    /// Width of physical addresses.
    pub host_address_bits: u8,
    /// From the unit's configuration space.
    pub capability: CapabilityHeader,
    /// Extended features where firmware states them, which then holds rather than the unit's register.
    pub extended_features: Option<u64>,
    /// What firmware knows of the machine.
    pub flags: UnitFlags,
}

impl Setup {
    /// What firmware says of `unit`, whose capability block starts with `capability`.
    #[must_use]
    pub fn of(ivrs: &Ivrs<'_>, unit: &UnitDescription<'_>, capability: CapabilityHeader) -> Self {
        Setup {
            host_address_bits: ivrs.host_address_bits(),
            capability,
            extended_features: ivrs.has_extended_features().then_some(unit.extended_features),
            flags: unit.flags,
        }
    }
}
