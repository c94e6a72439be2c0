//! What comes from the wire.

use super::{Gigabit, Kind, MAC, desc, registers, rss};
use crate::virtio_net::sum;

/// Longest frame without its checksum while long packets are off, and where they are on and nothing else limits them.
const FRAME_MAX_BYTES: usize = 1518;
const LONG_MAX_BYTES: usize = 16_380;
const CRC_BYTES: usize = 4;
/// Bytes of a buffer, as the driver must have told the device.
const BUFFER_BYTES: usize = 2048;
/// Receive status: done, the frame ends here; checksums that were computed.
const DONE: u8 = 1;
const ENDS: u8 = 2;
const UDP_CHECKED: u8 = 0x10;
const CHECKED: u8 = 0x20;
const IP_CHECKED: u8 = 0x40;
/// Receive errors: checksums that are wrong.
const BAD_CHECKSUM: u8 = 0x20;
const BAD_IP_CHECKSUM: u8 = 0x40;
const TCP: u8 = 6;
const UDP: u8 = 17;

impl Gigabit {
    /// A frame arrives from the wire. `false` where it is lost: not for this station, or not enough descriptors.
    pub fn deliver(&mut self, frame: &[u8]) -> bool {
        let queue = rss::queue(self, frame);
        let ring = self.map.rx_queue(queue);
        if !self.is_receiving(ring) || !self.accepts(frame) {
            return false;
        }
        let parts = frame.chunks(BUFFER_BYTES);
        if self.free_descriptors(ring) < parts.len() {
            self.count(registers::RNBC, 1);
            return false;
        }
        let last = parts.len() - 1;
        for (number, part) in parts.enumerate() {
            let (status, errors) = if number == last { self.judge(frame) } else { (DONE, 0) };
            self.fill(ring, part, status, errors);
        }
        self.count(registers::GPRC, 1);
        self.count(registers::GORC, u32::try_from(frame.len() + CRC_BYTES).expect("short"));
        self.raise_rx(queue);
        true
    }

    fn free_descriptors(&self, ring: u64) -> usize {
        let (head, tail) = (self.register(ring + registers::HEAD), self.register(ring + registers::TAIL));
        let entries = self.entries(ring);
        let is_sound = entries > 0 && head < entries && tail < entries;
        if is_sound { ((tail + entries - head) % entries) as usize } else { 0 }
    }

    /// Puts a part of a frame into the next buffer.
    fn fill(&mut self, ring: u64, part: &[u8], status: u8, errors: u8) {
        let head = self.register(ring + registers::HEAD);
        let at = self.base(ring) + 16 * u64::from(head);
        self.window.write(self.window.read_u64(at), part);
        let len = u16::try_from(part.len()).expect("at most a buffer");
        self.write_word(at, desc::received(self.behaviour.kind, len, status, errors));
        self.advance(ring, head);
    }

    /// Writes exactly this as the second word of the receive descriptor in `slot`.
    pub fn forge(&mut self, slot: u16, word: u64) {
        let at = self.base(self.map.rx) + 16 * u64::from(slot);
        self.window.write(at + 8, &word.to_le_bytes());
    }

    /// Address filtering (82574 §7.1.1, 82576 §7.1.3 "Packet Address Filtering"); bad lengths never pass.
    fn accepts(&self, frame: &[u8]) -> bool {
        let Some(to) = frame.first_chunk::<6>() else { return false };
        if self.behaviour.kind == Kind::I82576Vf {
            return (*to == MAC || *to == [0xff; 6]) && frame.len() <= FRAME_MAX_BYTES;
        }
        let is_on = |bit: u32| self.register(registers::RCTL) & 1 << bit != 0;
        let is_ours = (0..16).any(|number| self.address(number) == Some(*to));
        let is_multicast = to[0] & 1 != 0;
        let passes = is_ours
            || (*to == [0xff; 6] && is_on(15))
            || (is_multicast && is_on(4))
            || (!is_multicast && is_on(3));
        passes && frame.len() <= self.frame_limit()
    }

    /// Receive control, LPE; the 82576 then has a limit of its own.
    fn frame_limit(&self) -> usize {
        let is_long = self.register(registers::RCTL) & 1 << 5 != 0;
        match self.behaviour.kind {
            Kind::I82574 if is_long => LONG_MAX_BYTES,
            Kind::I82576 if is_long => {
                let limit = self.register(registers::RLPML) & 0x3fff;
                (limit as usize).saturating_sub(CRC_BYTES)
            }
            _ => FRAME_MAX_BYTES,
        }
    }

    fn address(&self, number: u64) -> Option<[u8; 6]> {
        let low = self.register(registers::RAL + 8 * number).to_le_bytes();
        let high = self.register(registers::RAL + 4 + 8 * number);
        let [e, f, ..] = high.to_le_bytes();
        (high >> 31 == 1).then_some([low[0], low[1], low[2], low[3], e, f])
    }

    /// Status and errors where a frame ends: what receive checksum control asks to be looked at. It knows IP headers without
    /// options or extensions.
    fn judge(&self, frame: &[u8]) -> (u8, u8) {
        let control = self.register(registers::RXCSUM);
        let (mut status, mut errors) = (DONE | ENDS, 0);
        let Some(headers) = Headers::of(frame) else { return (status, errors) };
        if control & 1 << 8 != 0 && headers.is_ipv4 {
            status |= IP_CHECKED;
            errors |= if sum(&frame[14..34]) == 0xffff { 0 } else { BAD_IP_CHECKSUM };
        }
        if control & 1 << 9 != 0 {
            status |= if headers.protocol == UDP { CHECKED | UDP_CHECKED } else { CHECKED };
            errors |= if headers.is_right(frame) { 0 } else { BAD_CHECKSUM };
        }
        (status, errors)
    }
}

/// What stands where in a frame of UDP or TCP.
struct Headers {
    is_ipv4: bool,
    protocol: u8,
    start: usize,
    end: usize,
}

impl Headers {
    fn of(frame: &[u8]) -> Option<Headers> {
        let number =
            |at: usize| Some(usize::from(u16::from_be_bytes([*frame.get(at)?, *frame.get(at + 1)?])));
        let headers = match frame.get(12..15)? {
            [8, 0, 0x45] => {
                Headers { is_ipv4: true, protocol: *frame.get(23)?, start: 34, end: 14 + number(16)? }
            }
            [0x86, 0xdd, 0x60] => {
                Headers { is_ipv4: false, protocol: *frame.get(20)?, start: 54, end: 54 + number(18)? }
            }
            _ => return None,
        };
        let is_known = matches!(headers.protocol, TCP | UDP);
        (is_known && headers.start < headers.end && headers.end <= frame.len()).then_some(headers)
    }

    /// Whether the checksum is right, that of the pseudo header included (RFC 768, RFC 9293 §3.1, RFC 8200 §8.1).
    fn is_right(&self, frame: &[u8]) -> bool {
        let addresses = if self.is_ipv4 { 26..34 } else { 22..54 };
        let len = u16::try_from(self.end - self.start).expect("16 bits");
        let protocol = [0, self.protocol];
        let whole = [&frame[addresses], &protocol, &len.to_be_bytes(), &frame[self.start..self.end]].concat();
        sum(&whole) == 0xffff
    }
}
