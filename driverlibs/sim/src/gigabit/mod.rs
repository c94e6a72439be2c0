//! An Intel gigabit Ethernet controller, 82574L or 82576, written from the datasheets (82574 GbE Controller Family
//! Datasheet, revision 3.4; 82576 Gigabit Ethernet Controller Datasheet, revision 2.61): queue 0 each
//! way, and on the 82576 those that frames are spread over.
//!
//! It works when told to: [`Gigabit::deliver`] puts a frame into the receive queue, [`Gigabit::transmit`] takes what
//! the driver sent; with [`Behaviour::works_on_kick`] the latter happens at tail writes only. It refuses to work
//! where the driver left a step out, so that this shows as frames that do not flow. With [`Malice`] it lies.

mod desc;
pub mod mailbox;
mod registers;
mod rss;

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
/// Longest frame without its checksum while long packets are off.
const FRAME_MAX_BYTES: usize = 1518;

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

    /// Transmit descriptors that no correct driver writes.
    #[must_use]
    pub fn bad_descriptors(&self) -> u64 {
        self.bad_descriptors
    }

    /// A frame arrives from the wire. `false` where it is lost: not for this station, or no descriptor.
    pub fn deliver(&mut self, frame: &[u8]) -> bool {
        let queue = rss::queue(self, frame);
        let ring = self.map.rx_queue(queue);
        if !self.is_receiving(ring) || !self.accepts(frame) {
            return false;
        }
        let head = self.register(ring + registers::HEAD);
        if head == self.register(ring + registers::TAIL) {
            self.count(registers::RNBC, 1);
            return false;
        }
        let at = self.base(ring) + 16 * u64::from(head);
        self.window.write(self.window.read_u64(at), frame);
        let len = u16::try_from(frame.len()).expect("at most FRAME_MAX_BYTES");
        let word = desc::received(self.behaviour.kind, len);
        self.write_word(at, word);
        self.advance(ring, head);
        self.count(registers::GPRC, 1);
        self.count(registers::GORC, u32::from(len) + 4);
        self.raise_rx(queue);
        true
    }

    /// Writes exactly this as the second word of the receive descriptor in `slot`.
    pub fn forge(&mut self, slot: u16, word: u64) {
        let at = self.base(self.map.rx) + 16 * u64::from(slot);
        self.window.write(at + 8, &word.to_le_bytes());
    }

    /// Takes the frames that the driver sent, and reports where asked to.
    pub fn transmit(&mut self) {
        for queue in 0..self.map.queues {
            self.transmit_queue(self.map.tx_queue(queue));
        }
    }

    fn transmit_queue(&mut self, ring: u64) {
        while self.is_transmitting(ring) {
            let head = self.register(ring + registers::HEAD);
            if head == self.register(ring + registers::TAIL) || head >= self.entries(ring) {
                break;
            }
            let at = self.base(ring) + 16 * u64::from(head);
            self.send(at);
            self.advance(ring, head);
        }
    }

    fn send(&mut self, at: u64) {
        let word = self.window.read_u64(at + 8);
        let Some(order) = desc::order(self.behaviour.kind, word) else {
            self.bad_descriptors += 1;
            return;
        };
        let mut frame = vec![0; order.len.into()];
        self.window.read(self.window.read_u64(at), &mut frame);
        if frame.len() < 60 {
            frame.resize(60, 0);
        }
        self.count(registers::GPTC, 1);
        self.count(registers::GOTC, u32::try_from(frame.len()).expect("16 bits") + 4);
        self.sent.push_back(frame);
        if order.reports {
            self.write_word(at, word | desc::SENT);
        }
    }

    /// The next frame on the wire.
    pub fn next_sent(&mut self) -> Option<Vec<u8>> {
        self.sent.pop_front()
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

    /// Address filtering (82574 §7.1.1, 82576 §7.1.3 "Packet Address Filtering"); bad lengths never pass.
    fn accepts(&self, frame: &[u8]) -> bool {
        let Some(to) = frame.first_chunk::<6>() else { return false };
        if self.behaviour.kind == Kind::I82576Vf {
            return (*to == MAC || *to == [0xff; 6]) && frame.len() <= FRAME_MAX_BYTES;
        }
        let rctl = self.register(registers::RCTL);
        let is_on = |bit: u32| rctl & 1 << bit != 0;
        let is_ours = (0..16).any(|number| self.address(number) == Some(*to));
        let is_multicast = to[0] & 1 != 0;
        let passes = is_ours
            || (*to == [0xff; 6] && is_on(15))
            || (is_multicast && is_on(4))
            || (!is_multicast && is_on(3));
        passes && frame.len() <= FRAME_MAX_BYTES
    }

    fn address(&self, number: u64) -> Option<[u8; 6]> {
        let low = self.register(registers::RAL + 8 * number).to_le_bytes();
        let high = self.register(registers::RAL + 4 + 8 * number);
        let [e, f, ..] = high.to_le_bytes();
        (high >> 31 == 1).then_some([low[0], low[1], low[2], low[3], e, f])
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
