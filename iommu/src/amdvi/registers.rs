//! Register offsets and layouts (48882 §3.4 "IOMMU MMIO Registers").
//!
//! **Invariant: every register is accessed with 64 bits.** Only what Weir uses is named.

use super::Setup;
use crate::capabilities::{Capabilities, Mode, Modes};
use bitfield_struct::bitfield;

/// Device table base address.
pub(super) const DEVICE_TABLE: usize = 0x00;
/// Command buffer base address.
pub(super) const COMMAND_BASE: usize = 0x08;
/// Event log base address.
pub(super) const EVENT_BASE: usize = 0x10;
/// Control.
pub(super) const CONTROL: usize = 0x18;
/// Exclusion range base: addresses that are not translated at all.
pub(super) const EXCLUSION_BASE: usize = 0x20;
/// Extended features.
pub(super) const FEATURES: usize = 0x30;
/// Command buffer head, in bytes.
pub(super) const COMMAND_HEAD: usize = 0x2000;
/// Command buffer tail, in bytes.
pub(super) const COMMAND_TAIL: usize = 0x2008;
/// Event log head, in bytes.
pub(super) const EVENT_HEAD: usize = 0x2010;
/// Event log tail, in bytes.
pub(super) const EVENT_TAIL: usize = 0x2018;
/// Status.
pub(super) const STATUS: usize = 0x2020;
/// End of the registers that are used here.
pub(super) const END: usize = 0x2028;

/// Extended features (EFR).
#[bitfield(u64)]
pub(super) struct Features {
    #[bits(2)]
    __: u8,
    /// XTSup: interrupts to 32-bit APIC ids.
    pub has_x2apic: bool,
    #[bits(3)]
    __: u8,
    /// IASup: INVALIDATE_IOMMU_ALL.
    pub has_invalidate_all: bool,
    /// GASup: 128-bit interrupt entries.
    pub has_long_entries: bool,
    #[bits(2)]
    __: u8,
    /// HATS: levels of host tables; 0 four, 1 five, 2 six, 3 no host tables.
    #[bits(2)]
    pub host_levels: u8,
    #[bits(52)]
    __: u64,
}
const _: () = assert!(Features::HAS_X2APIC_OFFSET == 2 && Features::HAS_INVALIDATE_ALL_OFFSET == 6);
const _: () = assert!(Features::HAS_LONG_ENTRIES_OFFSET == 7 && Features::HOST_LEVELS_OFFSET == 10);

impl Features {
    /// What holds for the unit: firmware's word, else the register's, else nothing extended.
    pub(super) fn of(setup: &Setup, register: impl FnOnce() -> u64) -> Self {
        if !setup.capability.has_extended_features() {
            return Features::new();
        }
        Features::from_bits(setup.extended_features.unwrap_or_else(register))
    }

    pub(super) fn capabilities(self, setup: &Setup) -> Capabilities {
        let (depths, iova_bits) = match self.host_levels() {
            0 => (0b0110, 48),
            1 | 2 => (0b1110, 57),
            _ => (0, 0),
        };
        Capabilities {
            modes: Modes::NONE.with(Mode::AmdVi),
            depths,
            large_pages: 0b11,
            iova_bits,
            phys_bits: setup.host_address_bits.min(52),
            domain_id_bits: 16,
            is_coherent: setup.flags.is_coherent(),
            is_walk_coherent: false,
            has_snoop_control: false,
            has_huge_first_stage: false,
        }
    }
}

/// Control.
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub(super) struct Control {
    /// IommuEn: translation.
    pub enabled: bool,
    pub ht_tunnel: bool,
    pub event_log: bool,
    pub event_interrupt: bool,
    pub completion_interrupt: bool,
    /// Invalidation time-out of device TLBs.
    #[bits(3)]
    __: u8,
    pub pass_posted_writes: bool,
    pub response_pass_posted_writes: bool,
    pub coherent: bool,
    pub isochronous: bool,
    pub commands: bool,
    /// PPRLogEn, PPRIntEn, PPREn, GTEn.
    #[bits(4)]
    __: u8,
    /// GAEn: 128-bit interrupt entries.
    pub long_entries: bool,
    __: u32,
    /// XTEn: interrupts to 32-bit APIC ids.
    pub x2apic: bool,
    #[bits(13)]
    __: u16,
}
const _: () = assert!(Control::EVENT_LOG_OFFSET == 2 && Control::PASS_POSTED_WRITES_OFFSET == 8);
const _: () = assert!(Control::COHERENT_OFFSET == 10 && Control::COMMANDS_OFFSET == 12);
const _: () = assert!(Control::LONG_ENTRIES_OFFSET == 17 && Control::X2APIC_OFFSET == 50);

impl Control {
    /// What firmware says about the machine, and nothing switched on.
    pub(super) fn of(setup: &Setup) -> Self {
        Control::new()
            .with_ht_tunnel(setup.flags.ht_tunnel())
            .with_pass_posted_writes(setup.flags.pass_posted_writes())
            .with_response_pass_posted_writes(setup.flags.response_pass_posted_writes())
            .with_coherent(setup.flags.is_coherent())
            .with_isochronous(setup.flags.isochronous())
    }

    /// Whether interrupt entries read the same under both.
    pub(super) fn has_entries_of(self, other: Self) -> bool {
        (self.long_entries(), self.x2apic()) == (other.long_entries(), other.x2apic())
    }
}

/// Status; bits 0 to 2 and others are cleared by writing 1.
#[bitfield(u64)]
pub(super) struct Status {
    pub event_overflow: bool,
    pub event_interrupt: bool,
    pub completion_interrupt: bool,
    /// EventLogRun, read-only.
    pub event_log_runs: bool,
    /// CmdBufRun, read-only.
    pub commands_run: bool,
    #[bits(59)]
    __: u64,
}
const _: () = assert!(Status::EVENT_LOG_RUNS_OFFSET == 3 && Status::COMMANDS_RUN_OFFSET == 4);

/// Base address of the command buffer or the event log.
#[bitfield(u64)]
pub(super) struct RingBase {
    #[bits(12)]
    __: u16,
    #[bits(40)]
    pub frame: u64,
    #[bits(4)]
    __: u8,
    /// Entries = 2^this, 8 or more.
    #[bits(4)]
    pub order: u8,
    #[bits(4)]
    __: u8,
}
const _: () = assert!(RingBase::FRAME_OFFSET == 12 && RingBase::ORDER_OFFSET == 56);

impl RingBase {
    /// One frame: 256 entries of 16 bytes.
    pub(super) fn one_frame(at: crate::address::PhysAddr) -> Self {
        RingBase::new().with_frame(at.0 >> 12).with_order(8)
    }
}

/// Device table base address.
#[bitfield(u64)]
pub(super) struct DeviceTableBase {
    /// Frames minus 1.
    #[bits(9)]
    pub size: u16,
    #[bits(3)]
    __: u8,
    #[bits(40)]
    pub frame: u64,
    #[bits(12)]
    __: u16,
}
const _: () = assert!(DeviceTableBase::FRAME_OFFSET == 12);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::PhysAddr;

    /// The features of QEMU's unit, decoded by hand.
    #[test]
    fn decodes_a_known_unit() {
        let features = Features::from_bits(0x29d7);
        assert!(features.has_x2apic() && features.has_invalidate_all() && features.has_long_entries());
        assert_eq!(features.host_levels(), 2);
        assert!(!Features::from_bits(0x29d3).has_x2apic());
    }

    #[test]
    fn control_and_status_are_single_bits() {
        for (control, bit) in [
            (Control::new().with_enabled(true), 0),
            (Control::new().with_event_log(true), 2),
            (Control::new().with_event_interrupt(true), 3),
            (Control::new().with_response_pass_posted_writes(true), 9),
            (Control::new().with_coherent(true), 10),
            (Control::new().with_isochronous(true), 11),
            (Control::new().with_commands(true), 12),
            (Control::new().with_long_entries(true), 17),
            (Control::new().with_x2apic(true), 50u32),
        ] {
            assert_eq!(control.into_bits(), 1 << bit);
        }
        assert_eq!(Status::new().with_event_overflow(true).into_bits(), 1);
        assert_eq!(Status::new().with_event_interrupt(true).into_bits(), 2);
    }

    #[test]
    fn bases_pack_as_the_specification_says() {
        assert_eq!(RingBase::one_frame(PhysAddr(0x12_3456_7000)).into_bits(), 0x0800_0012_3456_7000);
        let table = DeviceTableBase::new().with_frame(0x12_3400_0000 >> 12).with_size(511);
        assert_eq!(table.into_bits(), 0x12_3400_01ff);
    }
}
