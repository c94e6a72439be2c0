//! Fields of configuration registers (PCI Express Base Specification 6.0, chapter 7 "Software Initialization and
//! Configuration").

use bitfield_struct::bitfield;

/// Where registers are in the header (§7.5.1 "PCI-Compatible Configuration Registers").
pub mod offset {
    /// Vendor id, 16 bits.
    pub const VENDOR: u16 = 0x00;
    /// Command, 16 bits, and status.
    pub const COMMAND: u16 = 0x04;
    /// [`super::ClassWord`].
    pub const CLASS: u16 = 0x08;
    /// [`super::HeaderWord`].
    pub const HEADER: u16 = 0x0c;
    /// The first base address register.
    pub const BARS: u16 = 0x10;
    /// [`super::BusNumbers`], of a bridge.
    pub const BUS_NUMBERS: u16 = 0x18;
    /// [`super::WindowWord`] of memory, of a bridge.
    pub const MEMORY_WINDOW: u16 = 0x20;
    /// [`super::WindowWord`] of prefetchable memory, of a bridge; the upper halves of base and limit follow.
    pub const PREFETCHABLE_WINDOW: u16 = 0x24;
    /// Subsystem vendor id and subsystem id, of an endpoint.
    pub const SUBSYSTEM: u16 = 0x2c;
    /// Expansion ROM, of an endpoint; bit 0 enables it.
    pub const ROM: u16 = 0x30;
    /// Offset of the first capability.
    pub const CAPABILITIES: u16 = 0x34;
    /// Expansion ROM, of a bridge.
    pub const BRIDGE_ROM: u16 = 0x38;
    /// [`super::BridgeControl`], 16 bits.
    pub const BRIDGE_CONTROL: u16 = 0x3e;
    /// The first extended capability.
    pub const EXTENDED: u16 = 0x100;
}

/// Class code and revision (§7.5.1.1.5, §7.5.1.1.6).
#[bitfield(u32)]
pub struct ClassWord {
    pub revision: u8,
    /// `class << 16 | subclass << 8 | programming interface`.
    #[bits(24)]
    pub class: u32,
}

/// The register with the header type (§7.5.1.1.9 "Header Type Register").
#[bitfield(u32)]
pub struct HeaderWord {
    pub cache_line: u8,
    pub latency: u8,
    #[bits(7)]
    pub layout: u8,
    pub is_multi_function: bool,
    pub self_test: u8,
}

/// Bus numbers of a bridge (§7.5.1.3 "Type 1 Configuration Space Header").
#[bitfield(u32)]
pub struct BusNumbers {
    pub primary: u8,
    pub secondary: u8,
    pub subordinate: u8,
    pub latency: u8,
}

/// Memory that a bridge passes down (§7.5.1.3.8 "Memory Base Register/Memory Limit Register", §7.5.1.3.9).
#[bitfield(u32)]
pub struct WindowWord {
    /// Of prefetchable memory: the upper halves count.
    pub is_64_bit: bool,
    #[bits(3)]
    __: u8,
    /// In units of 1 MiB.
    #[bits(12)]
    pub first: u32,
    #[bits(4)]
    __: u8,
    /// The last unit of 1 MiB.
    #[bits(12)]
    pub last: u32,
}

/// §7.5.3.12 "Root Control Register", at 1Ch of the PCI Express capability of a root port.
#[bitfield(u16)]
pub struct RootControl {
    /// For correctable, non-fatal and fatal errors, a bit each.
    #[bits(3)]
    pub system_errors: u8,
    #[bits(13)]
    pub other: u16,
}

/// §7.5.1.3.13 "Bridge Control Register".
#[bitfield(u16)]
pub struct BridgeControl {
    pub answers_parity_errors: bool,
    /// SERR# Enable: error messages from behind go on.
    pub forwards_system_errors: bool,
    #[bits(4)]
    pub forwarding: u8,
    pub resets_bus: bool,
    #[bits(3)]
    pub timers: u8,
    /// Cleared by writing 1.
    pub discard_status: bool,
    #[bits(5)]
    pub other: u8,
}

/// A base address register, or the lower half of one (§7.5.1.2.1 "Base Address Registers").
#[bitfield(u32)]
pub struct BarWord {
    pub is_io: bool,
    /// Of memory: 0 below 4 GiB, 1 (historic) below 1 MiB, 2 anywhere, with the next register as upper half.
    #[bits(2)]
    pub width: u8,
    pub is_prefetchable: bool,
    #[bits(28)]
    pub address: u32,
}

/// First register of a capability (§7.5.3.1 "PCI Express Capability List Register" and its like).
#[bitfield(u32)]
pub struct CapabilityWord {
    pub id: u8,
    pub next: u8,
    pub body: u16,
}

/// First register of an extended capability (§7.6.3 "PCI Express Extended Capability Header").
#[bitfield(u32)]
pub struct ExtendedWord {
    pub id: u16,
    #[bits(4)]
    pub version: u8,
    #[bits(12)]
    pub next: u16,
}

/// §7.5.3.2 "PCI Express Capabilities Register".
#[bitfield(u16)]
pub struct ExpressWord {
    #[bits(4)]
    pub version: u8,
    #[bits(4)]
    pub port_type: u8,
    pub has_slot: bool,
    #[bits(5)]
    pub message: u8,
    #[bits(2)]
    __: u8,
}

/// §7.5.3.3 "Device Capabilities Register".
#[bitfield(u32)]
pub struct DeviceCapabilities {
    #[bits(28)]
    pub other: u32,
    pub has_flr: bool,
    #[bits(3)]
    __: u8,
}

/// §7.5.3.4 "Device Control Register", by itself.
#[bitfield(u16)]
pub struct DeviceSettings {
    #[bits(5)]
    pub reports: u8,
    /// Largest payload sent: 128 bytes shifted left by this.
    #[bits(3)]
    pub payload: u8,
    pub other: u8,
}

/// §7.5.3.4 "Device Control Register" and §7.5.3.5 "Device Status Register".
#[bitfield(u32)]
pub struct DeviceControl {
    #[bits(15)]
    pub settings: u16,
    pub initiate_flr: bool,
    /// Cleared by writing 1.
    #[bits(4)]
    pub errors: u8,
    pub has_aux_power: bool,
    pub is_pending: bool,
    #[bits(10)]
    __: u16,
}

/// §7.5.3.6 "Link Capabilities Register".
#[bitfield(u32)]
pub struct LinkCapabilities {
    #[bits(20)]
    pub other: u32,
    pub reports_active: bool,
    #[bits(11)]
    __: u16,
}

/// §7.5.3.8 "Link Status Register".
#[bitfield(u16)]
pub struct LinkStatus {
    #[bits(13)]
    pub other: u16,
    /// The data link layer is up.
    pub is_active: bool,
    #[bits(2)]
    __: u8,
}

/// §7.5.3.9 "Slot Capabilities Register".
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct SlotCapabilities {
    pub has_button: bool,
    pub has_power_controller: bool,
    pub has_latch: bool,
    pub has_attention_indicator: bool,
    pub has_power_indicator: bool,
    pub allows_surprise: bool,
    pub is_hot_plug_capable: bool,
    #[bits(10)]
    pub power_limit: u16,
    pub has_interlock: bool,
    /// It does not tell when a command is completed: the next may follow at once.
    pub is_silent: bool,
    /// What is printed beside the slot.
    #[bits(13)]
    pub number: u16,
}

/// §7.5.3.10 "Slot Control Register".
#[bitfield(u16)]
#[derive(PartialEq, Eq)]
pub struct SlotControl {
    pub tells_button: bool,
    pub tells_power_fault: bool,
    pub tells_latch: bool,
    pub tells_presence: bool,
    pub tells_completion: bool,
    pub interrupts: bool,
    #[bits(2)]
    pub attention_indicator: Indicator,
    #[bits(2)]
    pub power_indicator: Indicator,
    pub is_power_off: bool,
    /// Writing 1 toggles the interlock.
    pub toggles_interlock: bool,
    pub tells_link: bool,
    #[bits(3)]
    __: u8,
}

/// What a lamp shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Indicator {
    /// Nobody has set it.
    Unset = 0,
    /// On.
    On = 1,
    /// Blinking.
    Blinks = 2,
    /// Off.
    Off = 3,
}

impl Indicator {
    const fn into_bits(self) -> u8 {
        self as u8
    }

    const fn from_bits(bits: u8) -> Indicator {
        match bits {
            1 => Indicator::On,
            2 => Indicator::Blinks,
            3 => Indicator::Off,
            _ => Indicator::Unset,
        }
    }
}

/// §7.5.3.11 "Slot Status Register". Those that tell of something that happened are cleared by writing 1.
#[bitfield(u16)]
#[derive(PartialEq, Eq)]
pub struct SlotStatus {
    pub button: bool,
    pub power_fault: bool,
    pub latch_changed: bool,
    pub presence_changed: bool,
    pub completed: bool,
    pub is_latch_open: bool,
    pub is_present: bool,
    pub is_interlocked: bool,
    pub link_changed: bool,
    #[bits(7)]
    __: u8,
}

/// §7.7.1.2 "Message Control Register for MSI".
#[bitfield(u16)]
pub struct MsiControl {
    pub is_enabled: bool,
    /// Power of two.
    #[bits(3)]
    pub vectors_capable: u8,
    /// Power of two.
    #[bits(3)]
    pub vectors_enabled: u8,
    pub is_64_bit: bool,
    pub has_mask: bool,
    #[bits(7)]
    __: u8,
}

/// §7.7.2.2 "Message Control Register for MSI-X".
#[bitfield(u16)]
pub struct MsixControl {
    /// Entries less one.
    #[bits(11)]
    pub last_entry: u16,
    #[bits(3)]
    __: u8,
    pub is_masked: bool,
    pub is_enabled: bool,
}

/// §7.7.2.3 "Table Offset/Table BIR Register for MSI-X", §7.7.2.4 "PBA Offset/PBA BIR Register for MSI-X".
#[bitfield(u32)]
pub struct MsixPlace {
    #[bits(3)]
    pub bar: u8,
    /// In units of 8 bytes.
    #[bits(29)]
    pub offset_words: u32,
}

/// Last register of an MSI-X table entry (§7.7.2.8 "Vector Control Register for MSI-X Table Entries").
#[bitfield(u32)]
pub struct VectorControl {
    pub is_masked: bool,
    #[bits(31)]
    pub other: u32,
}

/// AF capability, first register ("Advanced Capabilities for Conventional PCI" ECN, 2006).
#[bitfield(u32)]
pub struct AdvancedFeatures {
    pub id: u8,
    pub next: u8,
    pub length: u8,
    pub has_pending: bool,
    pub has_flr: bool,
    #[bits(6)]
    __: u8,
}

/// AF capability, second register: control and status.
#[bitfield(u32)]
pub struct AdvancedFeaturesControl {
    pub initiate_flr: bool,
    #[bits(7)]
    __: u8,
    pub is_pending: bool,
    #[bits(23)]
    __: u32,
}

/// What a port checks, as a capability and as a control (§6.12.1 "ACS Component Capability Requirements").
#[bitfield(u16)]
#[derive(PartialEq, Eq)]
pub struct AcsFlags {
    pub source_validation: bool,
    pub translation_blocking: bool,
    pub request_redirect: bool,
    pub completion_redirect: bool,
    pub upstream_forwarding: bool,
    pub egress_control: bool,
    pub direct_translated: bool,
    #[bits(9)]
    pub other: u16,
}

/// ACS capability and control registers.
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct AcsWord {
    #[bits(16)]
    pub capable: AcsFlags,
    #[bits(16)]
    pub enabled: AcsFlags,
}

/// ATS capability and control registers (§10.5.1 "ATS Extended Capability").
#[bitfield(u32)]
pub struct AtsWord {
    pub capability: u16,
    #[bits(15)]
    pub settings: u16,
    pub is_enabled: bool,
}

/// SR-IOV control and status registers (§9.3.3.3 "SR-IOV Control").
#[bitfield(u32)]
pub struct SriovControl {
    pub has_functions: bool,
    #[bits(2)]
    pub migration: u8,
    pub decodes_memory: bool,
    /// Functions are found by alternative routing ids ("ARI Capable Hierarchy").
    pub has_ari: bool,
    #[bits(11)]
    pub other: u16,
    /// Cleared by writing 1.
    pub status: u16,
}

/// How many virtual functions there can be (§9.3.3.5 "InitialVFs", §9.3.3.6 "TotalVFs").
#[bitfield(u32)]
pub struct SriovTotals {
    /// Without migration the same as the next.
    pub initial: u16,
    pub total: u16,
}

/// Where virtual functions are, counted from the physical one (§9.3.3.9 "First VF Offset", §9.3.3.10 "VF Stride").
#[bitfield(u32)]
pub struct SriovPlaces {
    pub first: u16,
    pub stride: u16,
}

/// §7.5.3.15 "Device Capabilities 2 Register" and §7.5.3.16 "Device Control 2 Register": of both, the bit of ARI
/// forwarding.
#[bitfield(u32)]
pub struct AriForwarding {
    #[bits(5)]
    pub before: u8,
    pub forwards: bool,
    #[bits(26)]
    pub after: u32,
}

const _: () = assert!(ClassWord::CLASS_OFFSET == 8);
const _: () = assert!(HeaderWord::LAYOUT_OFFSET == 16 && HeaderWord::IS_MULTI_FUNCTION_OFFSET == 23);
const _: () = assert!(BusNumbers::SECONDARY_OFFSET == 8 && BusNumbers::SUBORDINATE_OFFSET == 16);
const _: () = assert!(BridgeControl::RESETS_BUS_OFFSET == 6 && BridgeControl::DISCARD_STATUS_OFFSET == 10);
const _: () = assert!(BarWord::WIDTH_OFFSET == 1 && BarWord::IS_PREFETCHABLE_OFFSET == 3);
const _: () = assert!(BarWord::ADDRESS_OFFSET == 4);
const _: () = assert!(CapabilityWord::NEXT_OFFSET == 8 && CapabilityWord::BODY_OFFSET == 16);
const _: () = assert!(ExtendedWord::VERSION_OFFSET == 16 && ExtendedWord::NEXT_OFFSET == 20);
const _: () = assert!(ExpressWord::PORT_TYPE_OFFSET == 4);
const _: () = assert!(DeviceCapabilities::HAS_FLR_OFFSET == 28);
const _: () = assert!(DeviceControl::INITIATE_FLR_OFFSET == 15 && DeviceControl::IS_PENDING_OFFSET == 21);
const _: () = assert!(WindowWord::FIRST_OFFSET == 4 && WindowWord::LAST_OFFSET == 20);
const _: () = assert!(DeviceSettings::PAYLOAD_OFFSET == 5 && LinkCapabilities::REPORTS_ACTIVE_OFFSET == 20);
const _: () = assert!(LinkStatus::IS_ACTIVE_OFFSET == 13);
const _: () = assert!(SlotCapabilities::IS_HOT_PLUG_CAPABLE_OFFSET == 6);
const _: () = assert!(SlotCapabilities::IS_SILENT_OFFSET == 18 && SlotCapabilities::NUMBER_OFFSET == 19);
const _: () = assert!(SlotControl::INTERRUPTS_OFFSET == 5 && SlotControl::POWER_INDICATOR_OFFSET == 8);
const _: () = assert!(SlotControl::IS_POWER_OFF_OFFSET == 10 && SlotControl::TELLS_LINK_OFFSET == 12);
const _: () = assert!(SlotStatus::COMPLETED_OFFSET == 4 && SlotStatus::IS_PRESENT_OFFSET == 6);
const _: () = assert!(SlotStatus::LINK_CHANGED_OFFSET == 8);
const _: () = assert!(MsiControl::VECTORS_CAPABLE_OFFSET == 1 && MsiControl::VECTORS_ENABLED_OFFSET == 4);
const _: () = assert!(MsiControl::IS_64_BIT_OFFSET == 7 && MsiControl::HAS_MASK_OFFSET == 8);
const _: () = assert!(MsixControl::IS_MASKED_OFFSET == 14 && MsixControl::IS_ENABLED_OFFSET == 15);
const _: () = assert!(AdvancedFeatures::HAS_PENDING_OFFSET == 24 && AdvancedFeatures::HAS_FLR_OFFSET == 25);
const _: () = assert!(AdvancedFeaturesControl::IS_PENDING_OFFSET == 8);
const _: () = assert!(AcsFlags::REQUEST_REDIRECT_OFFSET == 2 && AcsFlags::COMPLETION_REDIRECT_OFFSET == 3);
const _: () = assert!(AcsFlags::UPSTREAM_FORWARDING_OFFSET == 4 && AcsFlags::DIRECT_TRANSLATED_OFFSET == 6);
const _: () = assert!(AcsWord::ENABLED_OFFSET == 16 && AtsWord::IS_ENABLED_OFFSET == 31);
const _: () = assert!(SriovControl::DECODES_MEMORY_OFFSET == 3 && SriovControl::HAS_ARI_OFFSET == 4);
const _: () = assert!(SriovControl::STATUS_OFFSET == 16 && SriovTotals::TOTAL_OFFSET == 16);
const _: () = assert!(SriovPlaces::STRIDE_OFFSET == 16 && AriForwarding::FORWARDS_OFFSET == 5);
