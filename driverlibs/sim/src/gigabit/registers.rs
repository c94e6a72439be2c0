//! Its registers (82574 §10.2, 82576 §8).

use super::{Gigabit, Kind, MAC, mailbox};

const CTRL: u64 = 0x0000;
const STATUS: u64 = 0x0008;
const EECD: u64 = 0x0010;
const MDIC: u64 = 0x0020;
/// MDI control: phy 1, register 0, write, "restart auto-negotiation"; and "ready".
const NEGOTIATE: u32 = 1 << 21 | 1 << 26 | 1 << 9;
const READY: u32 = 1 << 28;
const IMC: u64 = 0x00d8;
pub(super) const RCTL: u64 = 0x0100;
const TCTL: u64 = 0x0400;
pub(super) const RXCSUM: u64 = 0x5000;
pub(super) const RLPML: u64 = 0x5004;
pub(super) const RAL: u64 = 0x5400;
/// From a queue's first register.
const BASE_LOW: u64 = 0x00;
const LENGTH: u64 = 0x08;
pub(super) const HEAD: u64 = 0x10;
pub(super) const TAIL: u64 = 0x18;
const CONTROL: u64 = 0x28;
/// Statistics, which reading clears.
const STATISTICS: std::ops::Range<u64> = 0x4000..0x4100;
pub(super) const GPRC: u64 = 0x4074;
pub(super) const GPTC: u64 = 0x4080;
pub(super) const GORC: u64 = 0x4088;
pub(super) const GOTC: u64 = 0x4090;
pub(super) const RNBC: u64 = 0x40a0;
/// Queue enable of the 82576.
const ENABLED: u32 = 1 << 25;

/// Where the two controllers have what.
#[derive(Clone, Copy)]
pub(super) struct Map {
    pub(super) device: u16,
    pub(super) vectors: u16,
    pub(super) rx: u64,
    pub(super) tx: u64,
    /// Cause (writing 1 clears), mask set, mask clear.
    cause: u64,
    unmask: u64,
    mask: u64,
    /// Queues that frames are spread over, and how far the registers of the next are.
    pub(super) queues: u64,
    queue_bytes: u64,
}

impl Map {
    pub(super) fn of(kind: Kind) -> Map {
        match kind {
            Kind::I82574 => Map {
                device: 0x10d3,
                vectors: 5,
                rx: 0x2800,
                tx: 0x3800,
                cause: 0x00c0,
                unmask: 0x00d0,
                mask: IMC,
                queues: 1,
                queue_bytes: 0x100,
            },
            Kind::I82576 => Map {
                device: 0x10c9,
                vectors: 10,
                rx: 0xc000,
                tx: 0xe000,
                cause: 0x1580,
                unmask: 0x1524,
                mask: 0x1528,
                queues: 8,
                queue_bytes: 0x40,
            },
            Kind::I82576Vf => Map {
                device: 0x10ca,
                vectors: 3,
                rx: 0x2800,
                tx: 0x3800,
                cause: 0x1580,
                unmask: 0x1524,
                mask: 0x1528,
                queues: 1,
                queue_bytes: 0x100,
            },
        }
    }

    /// The registers of a receive queue.
    pub(super) fn rx_queue(&self, queue: u64) -> u64 {
        self.rx + self.queue_bytes * queue
    }

    /// The registers of a transmit queue.
    pub(super) fn tx_queue(&self, queue: u64) -> u64 {
        self.tx + self.queue_bytes * queue
    }
}

impl Gigabit {
    /// Power-up values, as far as they matter; the address comes from the EEPROM.
    pub(super) fn restart(&mut self) {
        let [a, b, c, d, e, f] = MAC;
        let high = u32::from_le_bytes([e, f, 0, 0x80]);
        let junk = u32::from_le_bytes([1, 2, 3, 0x80]);
        self.registers = [(RAL, u32::from_le_bytes([a, b, c, d])), (RAL + 4, high), (RAL + 12, junk)].into();
        (self.cause, self.unmasked) = (0, 0);
        self.contexts.clear();
        self.under_way.clear();
        self.has_negotiated = self.behaviour.kind != Kind::I82576;
        // The 82576 holds its link in reset (CTRL bit 3).
        self.registers.insert(CTRL, if self.has_negotiated { 0 } else { 1 << 3 });
    }

    pub(super) fn register(&self, offset: u64) -> u32 {
        self.registers.get(&offset).copied().unwrap_or(0)
    }

    /// Adds to a statistic.
    pub(super) fn count(&mut self, offset: u64, more: u32) {
        let sum = self.register(offset).wrapping_add(more);
        self.registers.insert(offset, sum);
    }

    pub(super) fn base(&self, ring: u64) -> u64 {
        u64::from(self.register(ring + BASE_LOW + 4)) << 32 | u64::from(self.register(ring + BASE_LOW))
    }

    pub(super) fn entries(&self, ring: u64) -> u32 {
        self.register(ring + LENGTH) / 16
    }

    /// A ring that the hardware would take: aligned to 128 bytes, a multiple of 128 bytes long; on the 82576, enabled.
    fn is_ready(&self, ring: u64) -> bool {
        let is_sound =
            self.base(ring).is_multiple_of(128) && self.register(ring + LENGTH).is_multiple_of(128);
        let is_enabled = match self.behaviour.kind {
            Kind::I82574 => true,
            Kind::I82576 | Kind::I82576Vf => self.register(ring + CONTROL) & ENABLED != 0,
        };
        // A virtual function runs at the physical function's owner's leave.
        let has_leave = self.behaviour.kind != Kind::I82576Vf || self.register(mailbox::LEAVE) != 0;
        let is_running =
            has_leave && self.has_bus_master && self.has_cable && !self.is_gone && self.has_link();
        is_running && is_sound && is_enabled && self.entries(ring) > 0
    }

    /// Whether the receive queue at `ring` is.
    pub(super) fn is_receiving(&self, ring: u64) -> bool {
        // Legacy descriptors: RFCTL bit 15 clear; advanced with one buffer of 2 KiB: SRRCTL.
        let has_format = match self.behaviour.kind {
            Kind::I82574 => self.register(0x5008) & 1 << 15 == 0 && self.register(RCTL) >> 16 & 3 == 0,
            Kind::I82576 => self.has_one_buffer(ring),
            Kind::I82576Vf => return self.has_one_buffer(ring) && self.is_ready(ring),
        };
        let strips_crc = self.register(RCTL) & 1 << 26 != 0;
        self.register(RCTL) & 2 != 0 && strips_crc && has_format && self.is_ready(ring)
    }

    /// Advanced descriptors with one buffer of 2 KiB.
    fn has_one_buffer(&self, ring: u64) -> bool {
        let split = self.register(ring + 0x0c);
        split >> 25 & 7 == 1 && split & 0x7f == 2
    }

    /// Whether the transmit queue at `ring` is.
    pub(super) fn is_transmitting(&self, ring: u64) -> bool {
        let is_on = self.behaviour.kind == Kind::I82576Vf || self.register(TCTL) & 2 != 0;
        is_on && self.is_ready(ring)
    }

    fn has_link(&self) -> bool {
        if self.behaviour.kind == Kind::I82576Vf {
            return self.has_cable;
        }
        let ctrl = self.register(CTRL);
        self.has_cable && self.has_negotiated && ctrl & 1 << 6 != 0 && ctrl & 1 << 3 == 0
    }

    /// The cause of receive queue `queue` occurred.
    pub(super) fn raise_rx(&mut self, queue: u64) {
        let bit = self.rx_bit(queue);
        let is_new = self.cause & bit == 0;
        self.cause |= bit;
        if is_new {
            self.send_messages(bit);
        }
    }

    /// Sends the messages of causes that became both pending and unmasked.
    fn send_messages(&mut self, bits: u32) {
        for queue in 0..self.map.queues {
            if bits & self.cause & self.unmasked & self.rx_bit(queue) != 0
                && let Some(vector) = self.rx_vector(queue)
            {
                self.interrupts.raise(vector);
            }
        }
    }

    /// The 82576 has a cause for each message.
    fn rx_bit(&self, queue: u64) -> u32 {
        match self.behaviour.kind {
            Kind::I82574 => 1 << 20,
            Kind::I82576 | Kind::I82576Vf => self.rx_vector(queue).map_or(0, |vector| 1 << vector),
        }
    }

    /// Interrupt vector allocation (82574 §10.2.4.9, 82576 §8.8.15).
    fn rx_vector(&self, queue: u64) -> Option<u16> {
        let ivar = self.register(0x1700 + 4 * queue);
        let (entry, is_valid) = match self.behaviour.kind {
            Kind::I82574 => (self.register(0x00e4) & 7, self.register(0x00e4) & 8 != 0),
            Kind::I82576Vf => (ivar & 7, ivar & 0x80 != 0),
            Kind::I82576 => (ivar & 0x1f, self.register(0x1514) & 1 << 4 != 0 && ivar & 0x80 != 0),
        };
        u16::try_from(entry).ok().filter(|_| is_valid)
    }

    pub(super) fn read_register(&mut self, offset: u64) -> u32 {
        let ctrl = self.register(CTRL);
        match offset {
            STATUS => 1 | u32::from(self.has_link()) << 1 | u32::from(ctrl & 4 == 0) << 19,
            EECD => 1 << 9,
            MDIC => self.register(MDIC) | READY,
            mailbox::END if self.behaviour.kind == Kind::I82576Vf => self.read_mailbox(),
            _ if offset == self.map.cause => self.cause,
            _ if offset == self.map.unmask => self.unmasked,
            _ if STATISTICS.contains(&offset) => self.registers.insert(offset, 0).unwrap_or(0),
            _ => self.register(offset),
        }
    }

    pub(super) fn write_register(&mut self, offset: u64, value: u32) {
        match offset {
            CTRL if value & 1 << 26 != 0 => self.restart(),
            mailbox::END if self.behaviour.kind == Kind::I82576Vf => self.write_mailbox(value),
            _ if mailbox::CLEARED_BY_ONE.contains(&offset) && self.behaviour.kind == Kind::I82576 => {
                let kept = self.register(offset) & !value;
                self.registers.insert(offset, kept);
            }
            _ if offset == self.map.cause => self.cause &= !value,
            _ if offset == self.map.unmask => {
                let new = value & !self.unmasked;
                self.unmasked |= value;
                self.send_messages(new);
            }
            _ if offset == self.map.mask => self.unmasked &= !value,
            _ => self.write_plain(offset, value),
        }
    }

    fn write_plain(&mut self, offset: u64, value: u32) {
        self.registers.insert(offset, value);
        if (0x0c00..0x0c20).contains(&offset) {
            self.written_by_physical((offset - 0x0c00) / 4, value);
        }
        self.has_negotiated |= offset == MDIC && value & NEGOTIATE == NEGOTIATE && value >> 16 & 0x1f == 0;
        let mut queues = 0..self.map.queues;
        if queues.clone().any(|queue| offset == self.map.rx_queue(queue) + TAIL) {
            self.kicks[0] += 1;
        }
        if queues.any(|queue| offset == self.map.tx_queue(queue) + TAIL) {
            self.kicks[1] += 1;
            if self.behaviour.works_on_kick {
                self.transmit();
            }
        }
    }
}
