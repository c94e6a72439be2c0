//! An Intel gigabit Ethernet controller, 82574L or 82576, written from the datasheets (82574 GbE Controller Family
//! Datasheet, revision 3.4; 82576 Gigabit Ethernet Controller Datasheet, revision 2.61): queue 0 each
//! way, and on the 82576 those that frames are spread over.
//!
//! It works when told to: [`Gigabit::deliver`] puts a frame into the receive queue, [`Gigabit::transmit`] takes what
//! the driver sent; with [`Behaviour::works_on_kick`] the latter happens at tail writes only. It refuses to work
//! where the driver left a step out, so that this shows as frames that do not flow. With [`Malice`] it lies.

mod desc;
pub mod mailbox;
mod receive;
mod registers;
mod rss;
mod transmit;

use std::collections::{BTreeMap, VecDeque};

use weir_hal::DeviceInfo;

use crate::pci::ConfigSpace;
use crate::{Interrupts, Malice, Model, SimWindow};
use registers::Map;

/// Which controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// 82574L, QEMU's `e1000e`.
    I82574,
    /// 82576, QEMU's `igb`.
    I82576,
    /// A virtual function of it; the model is the physical function's owner as well: [`mailbox`].
    I82576Vf,
}

/// What kind of device it is.
#[derive(Clone, Copy, Debug)]
pub struct Behaviour {
    /// Which controller.
    pub kind: Kind,
    /// Transmits at tail writes only; otherwise when told to.
    pub works_on_kick: bool,
}

/// The controller's address.
pub const MAC: [u8; 6] = [0x52, 0x54, 0, 0x12, 0x34, 0x56];

/// The device.
pub struct Gigabit {
    behaviour: Behaviour,
    map: Map,
    window: SimWindow,
    interrupts: Interrupts,
    config: ConfigSpace,
    has_bus_master: bool,
    has_cable: bool,
    /// The PHY has negotiated a link; the 82574L's does by itself.
    has_negotiated: bool,
    is_gone: bool,
    /// Of a virtual function: the physical function's owner.
    answers: mailbox::Answers,
    is_held_in_reset: bool,
    /// Of a physical function: it hears of a reset only when it takes the request that follows.
    has_late_resets: bool,
    /// Registers that hold what was written; the others are made up when read.
    registers: BTreeMap<u64, u32>,
    cause: u32,
    unmasked: u32,
    sent: VecDeque<Vec<u8>>,
    kicks: [u64; 2],
    bad_descriptors: u64,
    /// What each transmit queue was told of checksums, and what it has of a frame.
    contexts: BTreeMap<u64, desc::Context>,
    contexts_read: u64,
    under_way: BTreeMap<u64, desc::UnderWay>,
    malice: Malice,
}

impl Gigabit {
    /// A device that reaches memory through `window`.
    #[must_use]
    pub fn new(window: &SimWindow, behaviour: Behaviour) -> Gigabit {
        let map = Map::of(behaviour.kind);
        let mut model = Gigabit {
            behaviour,
            window: window.clone(),
            interrupts: Interrupts::new(map.vectors),
            config: ConfigSpace::new(0x8086, map.device),
            map,
            has_bus_master: false,
            has_cable: true,
            has_negotiated: false,
            is_gone: false,
            answers: mailbox::Answers::Grants,
            is_held_in_reset: false,
            has_late_resets: false,
            registers: BTreeMap::new(),
            cause: 0,
            unmasked: 0,
            sent: VecDeque::new(),
            kicks: [0; 2],
            bad_descriptors: 0,
            contexts: BTreeMap::new(),
            contexts_read: 0,
            under_way: BTreeMap::new(),
            malice: Malice::none(),
        };
        model.restart();
        model
    }

    /// Makes it lie from now on.
    pub fn set_malice(&mut self, malice: Malice) {
        self.malice = malice;
    }

    /// Plugs the cable in or out.
    pub fn set_link(&mut self, up: bool) {
        self.has_cable = up;
    }

    /// Pulls the device out: every register reads as all ones, nothing is received or sent.
    pub fn pull_out(&mut self) {
        self.is_gone = true;
    }

    /// Tail writes so far: receive queue, transmit queue.
    #[must_use]
    pub fn kicks(&self) -> [u64; 2] {
        self.kicks
    }

    /// Transmit descriptors and frames that no correct driver writes.
    #[must_use]
    pub fn bad_descriptors(&self) -> u64 {
        self.bad_descriptors
    }

    /// How often the driver said where checksums go.
    #[must_use]
    pub fn contexts_read(&self) -> u64 {
        self.contexts_read
    }

    fn write_word(&mut self, at: u64, word: u64) {
        let [a, b, c, d, e, f, g, h] = word.to_le_bytes();
        let low = self.malice.twist_u32(u32::from_le_bytes([a, b, c, d]));
        let high = self.malice.twist_u32(u32::from_le_bytes([e, f, g, h]));
        self.window.write(at + 8, &low.to_le_bytes());
        self.window.write(at + 12, &high.to_le_bytes());
    }

    fn advance(&mut self, ring: u64, head: u32) {
        let next = (head + 1) % self.entries(ring).max(1);
        self.registers.insert(ring + registers::HEAD, next);
    }
}

impl Model for Gigabit {
    fn info(&self) -> DeviceInfo {
        let bar_bytes = [0x2_0000, 0x2_0000, 0, 0x4000, 0, 0];
        let (device, interrupts) = (self.map.device, self.map.vectors);
        DeviceInfo { vendor: 0x8086, device, interrupts, bar_bytes, ..DeviceInfo::default() }
    }

    fn config_read(&mut self, offset: u16, bytes: u8) -> u32 {
        self.malice.twist_config(self.config.read(offset, bytes))
    }

    fn read(&mut self, bar: u8, offset: u64, bytes: usize) -> u64 {
        if self.is_gone || bar != 0 || bytes != 4 {
            return u64::MAX;
        }
        let value = self.read_register(offset);
        self.malice.twist_register(value.into())
    }

    #[expect(clippy::cast_possible_truncation, reason = "registers have 32 bits")]
    fn write(&mut self, bar: u8, offset: u64, bytes: usize, value: u64) {
        if !self.is_gone && bar == 0 && bytes == 4 {
            self.write_register(offset, value as u32);
        }
    }

    fn bus_master(&mut self, on: bool) {
        self.has_bus_master = on;
    }

    fn reset(&mut self) {
        self.has_bus_master = false;
        self.restart();
    }

    fn interrupts(&self) -> &Interrupts {
        &self.interrupts
    }
}
