//! The registers of a port with a slot (PCIe 6.0 §7.5.3 "PCI Express Capability Structure").
//!
//! **Invariant: a status bit is cleared only if it was read as set**, so that nothing that happens meanwhile is lost;
//! control and status, halves of one register, are never written together.

use pci_types::PciAddress;

use crate::pci::capability::{Express, PortType};
use crate::pci::config::{Config, ConfigSpace};
use crate::pci::function::{Function, Header};
use crate::pci::registers::{
    DeviceSettings, ExpressWord, LinkCapabilities, LinkStatus, SlotCapabilities, SlotControl, SlotStatus,
};

/// Offsets in the capability.
const FLAGS: u16 = 0x02;
const DEVICE_CONTROL: u16 = 0x08;
const LINK_CAPABILITIES: u16 = 0x0c;
const LINK_STATUS: u16 = 0x12;
const SLOT_CAPABILITIES: u16 = 0x14;
const SLOT_CONTROL: u16 = 0x18;
const SLOT_STATUS: u16 = 0x1a;
const END: u16 = 0x1c;
/// Where capabilities end.
const CAPABILITIES_END: u16 = 0x100;

/// A port with a hot-plug slot.
#[derive(Clone, Copy, Debug)]
pub(super) struct Port {
    pub(super) address: PciAddress,
    secondary: u8,
    express: Express,
    pub(super) slot: SlotCapabilities,
    /// It says whether the link is up.
    pub(super) reports_link: bool,
}

impl Port {
    /// `None` where `function` is no port with a hot-plug slot and a bus of its own.
    pub(super) fn of(function: &Function, space: &dyn ConfigSpace) -> Option<Port> {
        let Header::Bridge { secondary, .. } = function.header else { return None };
        let express = function.capabilities.express.filter(|express| {
            matches!(express.port_type, PortType::RootPort | PortType::DownstreamPort)
                && express.offset + END <= CAPABILITIES_END
        })?;
        let config = Config::new(space, function.address);
        let slot = SlotCapabilities::from_bits(config.read(express.offset + SLOT_CAPABILITIES));
        let has_slot = ExpressWord::from_bits(config.read_half(express.offset + FLAGS)).has_slot();
        let link = LinkCapabilities::from_bits(config.read(express.offset + LINK_CAPABILITIES));
        let is_usable = has_slot && slot.is_hot_plug_capable() && secondary > function.address.bus();
        is_usable.then_some(Port {
            address: function.address,
            secondary,
            express,
            slot,
            reports_link: link.reports_active(),
        })
    }

    /// Which of its interrupt messages tells of the slot (§7.5.3.2 "Interrupt Message Number").
    pub(super) fn read_message(&self, space: &dyn ConfigSpace) -> u8 {
        ExpressWord::from_bits(self.config(space).read_half(self.express.offset + FLAGS)).message()
    }

    /// `None` where the port itself does not answer.
    pub(super) fn read_status(&self, space: &dyn ConfigSpace) -> Option<SlotStatus> {
        let bits = self.config(space).read_half(self.express.offset + SLOT_STATUS);
        (bits != u16::MAX).then(|| SlotStatus::from_bits(bits))
    }

    /// Clears what `status` tells of.
    pub(super) fn clear(&self, space: &dyn ConfigSpace, status: SlotStatus) {
        let at = self.express.offset + SLOT_STATUS;
        self.config(space).write_half(at, events(status).into_bits());
    }

    pub(super) fn read_control(&self, space: &dyn ConfigSpace) -> SlotControl {
        SlotControl::from_bits(self.config(space).read_half(self.express.offset + SLOT_CONTROL))
    }

    pub(super) fn write_control(&self, space: &dyn ConfigSpace, control: SlotControl) {
        self.config(space).write_half(self.express.offset + SLOT_CONTROL, control.into_bits());
    }

    /// Whether the link is up; a port that does not say so is believed to have one.
    pub(super) fn read_link(&self, space: &dyn ConfigSpace) -> bool {
        let status = LinkStatus::from_bits(self.config(space).read_half(self.express.offset + LINK_STATUS));
        !self.reports_link || status.is_active()
    }

    /// Makes the port send packets that every device takes: a device that comes starts with 128 bytes.
    pub(super) fn reset_payload(&self, space: &dyn ConfigSpace) {
        let at = self.express.offset + DEVICE_CONTROL;
        let settings = DeviceSettings::from_bits(self.config(space).read_half(at));
        self.config(space).write_half(at, settings.with_payload(0).into_bits());
    }

    /// Whether a device answers behind the port.
    pub(super) fn read_answer(&self, space: &dyn ConfigSpace) -> bool {
        let first = PciAddress::new(self.address.segment(), self.secondary, 0, 0);
        Config::new(space, first).is_present()
    }

    fn config<'a>(&self, space: &'a dyn ConfigSpace) -> Config<'a> {
        Config::new(space, self.address)
    }
}

/// Of a status, the bits that tell of something that happened.
pub(super) fn events(status: SlotStatus) -> SlotStatus {
    SlotStatus::new()
        .with_button(status.button())
        .with_power_fault(status.power_fault())
        .with_latch_changed(status.latch_changed())
        .with_presence_changed(status.presence_changed())
        .with_completed(status.completed())
        .with_link_changed(status.link_changed())
}
