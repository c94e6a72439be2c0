//! Its descriptors: legacy and extended ones (82574 §7.1.4, §7.2.2) and advanced ones (82576 §7.1.5, §7.2.2).

use super::Kind;

/// Transmit status "descriptor done", the same in all formats.
pub(super) const SENT: u64 = 1 << 32;
/// Longest frame that a driver may send.
const FRAME_MAX_BYTES: usize = 9018;

/// What a transmit descriptor asks for.
pub(super) enum Order {
    /// To send a buffer.
    Part(Part),
    /// To remember where a checksum goes.
    Context(Context),
}

/// A buffer to be sent.
pub(super) struct Part {
    pub(super) len: u16,
    /// Bytes of the frame that begins here, in formats that say so; 0 where it goes on.
    pub(super) frame_len: Option<usize>,
    pub(super) is_last: bool,
    pub(super) reports: bool,
    pub(super) fills_checksum: bool,
}

/// Where a checksum goes, in bytes from the start of the frame.
#[derive(Clone, Copy)]
pub(super) struct Context {
    pub(super) start: usize,
    pub(super) place: usize,
}

/// A frame whose parts are being read.
#[derive(Default)]
pub(super) struct UnderWay {
    pub(super) bytes: Vec<u8>,
    frame_len: Option<usize>,
    pub(super) fills_checksum: bool,
}

impl UnderWay {
    /// Takes over what a descriptor says; `false` where no correct driver says so.
    pub(super) fn open(&mut self, part: &Part) -> bool {
        if self.bytes.is_empty() {
            self.frame_len = part.frame_len;
            self.fills_checksum = part.fills_checksum;
            return true;
        }
        part.frame_len.unwrap_or(0) == 0 && part.fills_checksum == self.fills_checksum
    }

    /// Whether the frame, which is whole, is one that may be sent.
    pub(super) fn is_right(&self) -> bool {
        let len = self.bytes.len();
        self.frame_len.is_none_or(|told| told == len) && (14..=FRAME_MAX_BYTES).contains(&len)
    }
}

/// The word that reports `len` received bytes.
pub(super) fn received(kind: Kind, len: u16, status: u8, errors: u8) -> u64 {
    let (len, status, errors) = (u64::from(len), u64::from(status), u64::from(errors));
    match kind {
        Kind::I82574 => len | status << 32 | errors << 40,
        Kind::I82576 | Kind::I82576Vf => status | errors << 24 | len << 32,
    }
}

/// Reads a transmit descriptor; `None` where it is nothing that this model knows.
pub(super) fn order(kind: Kind, words: [u64; 2]) -> Option<Order> {
    let is_extended = words[1] & 1 << 29 != 0;
    let format = words[1] >> 20 & 0xf;
    match (kind, is_extended, format) {
        (Kind::I82574, false, 0) => part(words[1], words[1] >> 40 == 0, None, 0),
        (Kind::I82574, true, 1) => {
            part(words[1], words[1] >> 40 & !2 == 0, None, words[1] >> 41 & 1).filter(is_asked)
        }
        (Kind::I82574, true, 0) => {
            let [a, b, c, d, start, place, end0, end1] = words[0].to_le_bytes();
            let is_right = [a, b, c, d, end0, end1] == [0; 6] && words[1] == 1 << 29;
            context(is_right, start.into(), place.into())
        }
        (Kind::I82576 | Kind::I82576Vf, true, 3) => {
            let frame_len = usize::try_from(words[1] >> 46).ok();
            // Options: the checksum behind the IP header, and no other.
            part(words[1], words[1] >> 33 & 0x1eff == 0, frame_len, words[1] >> 41 & 1)
        }
        (Kind::I82576 | Kind::I82576Vf, true, 2) => {
            let protocol = words[1] >> 11 & 3;
            let (ip, mac) = (words[0] & 0x1ff, words[0] >> 9 & 0x7f);
            let is_right = words[0] >> 16 == 0 && words[1] & !(3 << 11) == 1 << 29 | 2 << 20;
            let start = usize::try_from(mac + ip).ok()?;
            let place = start + [6, 16].get(usize::try_from(protocol).ok()?)?;
            context(is_right && mac >= 14 && ip >= 20, start, place)
        }
        _ => None,
    }
}

/// A data descriptor: the Ethernet checksum is added, nothing was reported yet, and nothing else is asked for.
fn part(word: u64, is_plain: bool, frame_len: Option<usize>, fills_checksum: u64) -> Option<Order> {
    let [len0, len1, format, command, ..] = word.to_le_bytes();
    let len = u16::from_le_bytes([len0, len1]);
    let is_right = format & 0xf == 0 && command & !0x29 == 2 && word & SENT == 0;
    let (is_last, reports) = (command & 1 != 0, command & 8 != 0);
    let part = Part { len, frame_len, is_last, reports, fills_checksum: fills_checksum != 0 };
    // Only whole frames are reported, and no descriptor is empty.
    (is_plain && is_right && len > 0 && (is_last || !reports)).then_some(Order::Part(part))
}

/// Extended data descriptors are for frames with a checksum only.
fn is_asked(order: &Order) -> bool {
    matches!(order, Order::Part(part) if part.fills_checksum)
}

fn context(is_right: bool, start: usize, place: usize) -> Option<Order> {
    is_right.then_some(Order::Context(Context { start, place }))
}
