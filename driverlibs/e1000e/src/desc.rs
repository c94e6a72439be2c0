//! Second words of legacy descriptors (82574 §7.1.4 "Legacy Receive Descriptor Format", §7.2.2 "Legacy Transmit
//! Descriptor Format"). The first word is the buffer's address in both.

use bitfield_struct::bitfield;
use weir_gigabit::Violation;

/// Receive.
#[bitfield(u64)]
pub(crate) struct RxWord {
    pub(crate) len: u16,
    pub(crate) checksum: u16,
    /// The device is done.
    pub(crate) is_done: bool,
    /// The frame ends in this buffer.
    pub(crate) is_last: bool,
    #[bits(6)]
    __: u8,
    pub(crate) has_crc_error: bool,
    pub(crate) has_symbol_error: bool,
    pub(crate) has_sequence_error: bool,
    __: bool,
    pub(crate) has_extension_error: bool,
    /// Checksum errors of TCP and IP: reported by offloads, which are off, and the network stack's business.
    #[bits(2)]
    __: u8,
    pub(crate) has_data_error: bool,
    pub(crate) tag: u16,
}
const _: () = assert!(RxWord::IS_DONE_OFFSET == 32 && RxWord::HAS_CRC_ERROR_OFFSET == 40);
const _: () = assert!(RxWord::HAS_DATA_ERROR_OFFSET == 47 && RxWord::TAG_OFFSET == 48);

/// A whole good frame shows exactly this of [`CHECKED`].
const GOOD: u64 = RxWord::new().with_is_done(true).with_is_last(true).into_bits();
const ERRORS: u64 = RxWord::new()
    .with_has_crc_error(true)
    .with_has_symbol_error(true)
    .with_has_sequence_error(true)
    .with_has_extension_error(true)
    .with_has_data_error(true)
    .into_bits();
const CHECKED: u64 = GOOD | ERRORS;

/// Reads a receive word.
#[inline]
pub(crate) fn arrived(word: u64) -> Result<Option<u16>, Violation> {
    let rx = RxWord::from_bits(word);
    if word & CHECKED == GOOD {
        return Ok(Some(rx.len()));
    }
    if rx.is_done() { Err(Violation::Status { word }) } else { Ok(None) }
}

/// Transmit.
#[bitfield(u64)]
pub(crate) struct TxWord {
    pub(crate) len: u16,
    pub(crate) checksum_offset: u8,
    /// The frame ends in this buffer.
    pub(crate) is_last: bool,
    /// The device appends the Ethernet checksum.
    pub(crate) adds_crc: bool,
    __: bool,
    /// The device says when it is done.
    pub(crate) reports: bool,
    __: bool,
    pub(crate) is_extended: bool,
    #[bits(2)]
    __: u8,
    pub(crate) is_done: bool,
    #[bits(31)]
    __: u32,
}
const _: () =
    assert!(TxWord::IS_LAST_OFFSET == 24 && TxWord::REPORTS_OFFSET == 27 && TxWord::IS_DONE_OFFSET == 32);

pub(crate) const REPORT: u64 = TxWord::new().with_reports(true).into_bits();

/// The transmit word of a frame.
#[inline]
pub(crate) fn send(len: u16) -> u64 {
    TxWord::new().with_len(len).with_is_last(true).with_adds_crc(true).into_bits()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_those_of_the_datasheet() {
        // Length 0x123 in bytes 0–1, EOP 0x01 | IFCS 0x02 | RS 0x08 in byte 3, DD in the low bit of byte 4.
        assert_eq!((send(0x123) | REPORT).to_le_bytes(), [0x23, 0x01, 0, 0x0b, 0, 0, 0, 0]);
        assert!(TxWord::from_bits(1 << 32).is_done());
        // Length in bytes 0–1, DD 0x01 | EOP 0x02 in byte 4, errors in byte 5.
        assert_eq!(
            arrived(u64::from_le_bytes([0x23, 0x01, 0xaa, 0xaa, 0x03, 0, 0x55, 0x55])),
            Ok(Some(0x123))
        );
        assert_eq!(arrived(u64::from_le_bytes([0x23, 0x01, 0, 0, 0x02, 0xff, 0, 0])), Ok(None));
        let word = u64::from_le_bytes([0x23, 0x01, 0, 0, 0x03, 0x80, 0, 0]);
        assert_eq!(arrived(word), Err(Violation::Status { word }));
    }
}
