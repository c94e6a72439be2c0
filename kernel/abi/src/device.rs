//! What the kernel says about a PCI function.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// One base address register.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct BarInfo {
    /// Bytes it decodes; 0 where the register is unused, an I/O port range, or the upper half of another.
    pub bytes: u64,
    /// [`BarInfo::PREFETCHABLE`].
    pub flags: u64,
}

impl BarInfo {
    /// Reads have no side effects; write-combining is allowed.
    pub const PREFETCHABLE: u64 = 1;
}

/// Description of a PCI function.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct DeviceInfo {
    /// `segment << 16 | bus << 8 | device << 3 | function`.
    pub address: u32,
    /// Vendor id.
    pub vendor: u16,
    /// Device id.
    pub device: u16,
    /// Subsystem vendor id.
    pub subsystem_vendor: u16,
    /// Subsystem id.
    pub subsystem: u16,
    /// Class code: `class << 16 | subclass << 8 | programming interface`.
    pub class: u32,
    /// Revision id.
    pub revision: u8,
    /// Header type without the multi-function bit: 0 endpoint, 1 bridge.
    pub header_type: u8,
    /// Interrupt messages it can send: MSI-X table entries, else MSI vectors, else 0.
    pub interrupts: u16,
    /// [`DeviceInfo::HAS_RESET`] and the other flags.
    pub flags: u32,
    /// Isolation group: functions with equal numbers can reach each other past the IOMMU.
    pub group: u32,
    /// Process number of the owner, 0 for nobody.
    pub owner: u32,
    /// Blocked accesses so far.
    pub faults: u64,
    /// Base address registers.
    pub bars: [BarInfo; 6],
}

impl DeviceInfo {
    /// Can be reset without any other function.
    pub const HAS_RESET: u32 = 1 << 0;
    /// An IOMMU unit covers it.
    pub const HAS_IOMMU: u32 = 1 << 1;
    /// Uses MSI-X (otherwise MSI).
    pub const HAS_MSIX: u32 = 1 << 2;
    /// Bus mastering is on.
    pub const BUS_MASTER: u32 = 1 << 3;
}

/// A PCI address as people write it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PciAddress(pub u32);

impl core::fmt::Display for PciAddress {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let PciAddress(a) = *self;
        write!(f, "{:04x}:{:02x}:{:02x}.{}", a >> 16, a >> 8 & 0xff, a >> 3 & 0x1f, a & 7)
    }
}
