//! A port with a slot, as strict as the specification allows, and somebody at the slot.

use std::cell::{Cell, RefCell};

use pci_types::PciAddress;

use super::fake::{Fake, Machine, at};
use crate::pci::config::ConfigSpace;
use crate::pci::registers::{SlotCapabilities, SlotControl, SlotStatus};

/// Where [`Fake::root_port`] has its capability.
const EXPRESS: u16 = 0x40;
const LINK_CAPABILITIES: u16 = EXPRESS + 0x0c;
const LINK_CONTROL: u16 = EXPRESS + 0x10;
const SLOT_CAPABILITIES: u16 = EXPRESS + 0x14;
const SLOT_CONTROL: u16 = EXPRESS + 0x18;
const SLOT_STATUS: u16 = EXPRESS + 0x1a;

/// When the port says that a command is completed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Completes {
    AtOnce,
    WhenTold,
}

/// The port at 00:01.0 and what is in its slot, 01:00.0.
pub(super) struct Bay {
    port: Machine,
    device: Machine,
    pub(super) capabilities: Cell<SlotCapabilities>,
    control: Cell<SlotControl>,
    status: Cell<SlotStatus>,
    pub(super) has_link: Cell<bool>,
    /// The port has gone, too.
    pub(super) is_gone: Cell<bool>,
    /// The device does not answer.
    pub(super) is_mute: Cell<bool>,
    pub(super) completes: Cell<Completes>,
    pub(super) now_us: Cell<u64>,
    /// When the command under way was given.
    commanded_us: Cell<Option<u64>>,
    /// When power went off.
    off_us: Cell<Option<u64>>,
    /// What control was told, in order.
    pub(super) commands: RefCell<Vec<SlotControl>>,
}

pub(super) const PORT: (u8, u8, u8) = (0, 1, 0);

impl Bay {
    /// An empty slot with everything, without power.
    pub(super) fn new() -> Bay {
        let capabilities = SlotCapabilities::new()
            .with_has_button(true)
            .with_has_power_controller(true)
            .with_has_attention_indicator(true)
            .with_has_power_indicator(true)
            .with_allows_surprise(true)
            .with_is_hot_plug_capable(true)
            .with_number(7);
        Bay {
            port: Machine::new([(port(), Fake::root_port(1, 1))]),
            device: Machine::new([(at(1, 0, 0), Fake::virtio(0))]),
            capabilities: Cell::new(capabilities),
            control: Cell::new(SlotControl::new().with_is_power_off(true)),
            status: Cell::new(SlotStatus::new()),
            has_link: Cell::new(false),
            is_gone: Cell::new(false),
            is_mute: Cell::new(false),
            completes: Cell::new(Completes::AtOnce),
            now_us: Cell::new(0),
            commanded_us: Cell::new(None),
            off_us: Cell::new(None),
            commands: RefCell::default(),
        }
    }

    pub(super) fn is_powered(&self) -> bool {
        !self.control.get().is_power_off()
    }

    pub(super) fn control(&self) -> SlotControl {
        self.control.get()
    }

    /// Something happens: what `change` sets, on top of what was not cleared yet.
    pub(super) fn happens(&self, change: impl FnOnce(SlotStatus) -> SlotStatus) {
        self.status.set(change(self.status.get()));
    }

    pub(super) fn insert(&self) {
        self.happens(|status| status.with_is_present(true).with_presence_changed(true));
        self.follow_power();
    }

    pub(super) fn pull(&self) {
        self.happens(|status| status.with_is_present(false).with_presence_changed(true));
        self.follow_power();
    }

    pub(super) fn press(&self) {
        self.happens(|status| status.with_button(true));
    }

    pub(super) fn set_link(&self, is_up: bool) {
        if self.has_link.replace(is_up) != is_up {
            self.happens(|status| status.with_link_changed(true));
        }
    }

    /// The command under way is completed.
    pub(super) fn complete(&self) {
        if self.commanded_us.take().is_some() {
            self.happens(|status| status.with_completed(true));
        }
    }

    /// With power and a device there is a link.
    fn follow_power(&self) {
        self.set_link(self.is_powered() && self.status.get().is_present());
    }

    fn command(&self, control: SlotControl) {
        // After a second a command may be given up (§6.7.3.2 "Command Completed Events").
        let is_over = self.commanded_us.get().is_none_or(|given| self.now_us.get() >= given + 1_000_000);
        assert!(is_over, "a command while another is under way");
        assert!(!control.toggles_interlock());
        self.commands.borrow_mut().push(control);
        let had_power = self.is_powered();
        self.control.set(control);
        if had_power != self.is_powered() {
            let now_us = self.now_us.get();
            let off_us = self.off_us.replace((!self.is_powered()).then_some(now_us));
            assert!(off_us.is_none_or(|off| now_us >= off + 1_000_000), "power must be off for a second");
            self.follow_power();
        }
        if !self.capabilities.get().is_silent() {
            self.commanded_us.set(Some(self.now_us.get()));
            if self.completes.get() == Completes::AtOnce {
                self.complete();
            }
        }
    }

    fn clear(&self, cleared: SlotStatus) {
        let status = self.status.get();
        let stray = cleared.into_bits() & !status.into_bits();
        assert_eq!(stray, 0, "cleared what was not set: {cleared:?} of {status:?}");
        assert!(!cleared.is_present() && !cleared.is_latch_open());
        self.status.set(SlotStatus::from_bits(status.into_bits() & !cleared.into_bits()));
    }

    fn answers(&self) -> bool {
        self.has_link.get() && !self.is_mute.get() && !self.is_gone.get()
    }
}

pub(super) fn port() -> PciAddress {
    at(PORT.0, PORT.1, PORT.2)
}

impl ConfigSpace for Bay {
    fn read(&self, address: PciAddress, offset: u16) -> u32 {
        if self.is_gone.get() {
            return u32::MAX;
        }
        if address.bus() == 1 {
            return if self.answers() { self.device.read(address, offset) } else { u32::MAX };
        }
        let status = u32::from(self.status.get().into_bits());
        match offset {
            EXPRESS => self.port.read(address, offset) | 1 << 24,
            LINK_CAPABILITIES => 1 << 20,
            LINK_CONTROL => u32::from(self.has_link.get()) << 29,
            SLOT_CAPABILITIES => self.capabilities.get().into_bits(),
            SLOT_CONTROL => u32::from(self.control.get().into_bits()) | status << 16,
            _ => self.port.read(address, offset),
        }
    }

    fn write(&self, address: PciAddress, offset: u16, value: u32) {
        assert!(address.bus() == 1 || offset != SLOT_CONTROL, "control and status written together");
        if address.bus() != 1 {
            self.port.write(address, offset, value);
        } else if self.answers() {
            self.device.write(address, offset, value);
        }
    }

    fn write_half(&self, address: PciAddress, offset: u16, value: u16) {
        match offset {
            _ if self.is_gone.get() => {}
            _ if address.bus() == 1 && !self.answers() => {}
            _ if address.bus() == 1 => self.device.write_half(address, offset, value),
            SLOT_CONTROL => self.command(SlotControl::from_bits(value)),
            SLOT_STATUS => self.clear(SlotStatus::from_bits(value)),
            _ => self.port.write_half(address, offset, value),
        }
    }
}
