//! What the kernel says about a PCI function.

use serde::{Deserialize, Serialize};
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
    /// Address of the physical function that it is a virtual function of; [`DeviceInfo::NOT_VIRTUAL`].
    pub physical: u32,
    /// Which of that one's virtual functions it is, from 0.
    pub virtual_number: u16,
    /// Virtual functions that it can have ([`crate::call::DEVICE_SRIOV`]).
    pub virtual_functions: u16,
    /// Blocked accesses that were recorded so far.
    pub faults: u64,
    /// How often its faults came too fast and were not recorded until the end of the window.
    pub fault_storms: u64,
    /// How often an interrupt of it came too fast and was stopped until the end of the window.
    pub interrupt_storms: u64,
    /// What its supervisor has said.
    pub policy: DevicePolicy,
    /// Base address registers.
    pub bars: [BarInfo; 6],
}

impl DeviceInfo {
    /// It is a function by itself.
    pub const NOT_VIRTUAL: u32 = u32::MAX;
    /// Can be reset without any other function.
    pub const HAS_RESET: u32 = 1 << 0;
    /// An IOMMU unit covers it.
    pub const HAS_IOMMU: u32 = 1 << 1;
    /// Uses MSI-X (otherwise MSI).
    pub const HAS_MSIX: u32 = 1 << 2;
    /// Bus mastering is on.
    pub const BUS_MASTER: u32 = 1 << 3;
    /// It was reset and nobody has used it since.
    pub const IS_CLEAN: u32 = 1 << 4;
    /// It is being reset.
    pub const IS_RESETTING: u32 = 1 << 5;
    /// It did not come back from its last reset: nobody gets it.
    pub const HAS_FAILED: u32 = 1 << 6;
    /// Its faults are not recorded until the end of the window.
    pub const IS_MUTED: u32 = 1 << 7;
}

/// What a device may do, and what becomes of one that does more.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Serialize, Deserialize,
)]
#[repr(C)]
pub struct DevicePolicy {
    /// Recorded faults per [`STORM_WINDOW_NS`]; above, they are not recorded until the window ends.
    pub fault_budget: u32,
    /// Interrupts of one message per [`STORM_WINDOW_NS`]; above, the message is stopped until the window ends.
    pub interrupt_budget: u32,
    /// [`DevicePolicy::REVOKE_ON_STORM`], [`DevicePolicy::SCRATCH`].
    pub flags: u32,
    /// For how many microseconds it is left alone after a reset; at most [`DevicePolicy::RESET_US`], and 0 is as many. Less only
    /// where it is known of this device: then who gets it next waits for nothing.
    pub reset_us: u32,
}

/// Length of the windows in which storms are measured.
pub const STORM_WINDOW_NS: u64 = 100_000_000;

impl DevicePolicy {
    /// Ten fault storms, each within a second of the one before, or one that goes on in spite of muting, take the
    /// device from its owner.
    pub const REVOKE_ON_STORM: u32 = 1 << 0;
    /// When it is taken from its owner, its accesses reach a page that nobody else uses, instead of being refused: for
    /// devices that hang when they are. Until it is granted again; without a unit, this changes nothing.
    pub const SCRATCH: u32 = 1 << 1;
    /// Every flag.
    pub const FLAGS: u32 = Self::REVOKE_ON_STORM | Self::SCRATCH;

    /// The time that any device may take for a reset (PCIe 6.0 §6.6.2 "Function Level Reset").
    pub const RESET_US: u32 = 100_000;

    /// What a device has until it is told otherwise: 64 faults and 10,000 interrupts of a message per window, taken
    /// away in an endless storm.
    pub const DEFAULT: DevicePolicy = DevicePolicy {
        fault_budget: 64,
        interrupt_budget: 10_000,
        flags: DevicePolicy::REVOKE_ON_STORM,
        reset_us: 0,
    };

    /// Whether it has a flag.
    #[must_use]
    pub const fn has(self, flag: u32) -> bool {
        self.flags & flag != 0
    }
}

impl Default for DevicePolicy {
    fn default() -> DevicePolicy {
        DevicePolicy::DEFAULT
    }
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
