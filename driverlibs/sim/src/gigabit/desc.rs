//! Its descriptors' second words: legacy (82574 §7.1.4, §7.2.2) and advanced (82576 §7.1.5, §7.2.2).

use super::Kind;

/// Transmit status "descriptor done", the same in both formats.
pub(super) const SENT: u64 = 1 << 32;

/// What a transmit descriptor asks for.
pub(super) struct Order {
    pub(super) len: u16,
    pub(super) reports: bool,
}

/// The word that reports a received frame of `len` bytes.
pub(super) fn received(kind: Kind, len: u16) -> u64 {
    let (done_and_end, len) = (0b11, u64::from(len));
    match kind {
        Kind::I82574 => len | done_and_end << 32,
        Kind::I82576 | Kind::I82576Vf => done_and_end | len << 32,
    }
}

/// Reads a transmit descriptor: one whole frame with a checksum to be added, or nothing that this model knows.
pub(super) fn order(kind: Kind, word: u64) -> Option<Order> {
    let [len0, len1, format, command, ..] = word.to_le_bytes();
    let len = u16::from_le_bytes([len0, len1]);
    let is_advanced = command & 0x20 != 0;
    let is_right = match kind {
        Kind::I82574 => !is_advanced && format == 0,
        Kind::I82576 | Kind::I82576Vf => is_advanced && format >> 4 == 3 && word >> 46 == u64::from(len),
    };
    let is_whole = command & 0b11 == 0b11 && word & SENT == 0 && (14..=1522).contains(&len);
    (is_right && is_whole).then_some(Order { len, reports: command & 8 != 0 })
}
