//! Second words of advanced descriptors (82576 §7.1.5 "Receive Descriptor Queue" formats, §7.2.2 "Transmit
//! Descriptors"). The first word is the buffer's address in both.

use bitfield_struct::bitfield;
use weir_gigabit::Violation;

/// Receive, as the device writes it back.
#[bitfield(u64)]
pub(crate) struct RxWord {
    /// The device is done.
    pub(crate) is_done: bool,
    /// The frame ends in this buffer.
    pub(crate) is_last: bool,
    #[bits(18)]
    __: u32,
    /// Among them checksum errors of TCP and IP: reported by offloads, which are off.
    #[bits(11)]
    __: u16,
    pub(crate) has_data_error: bool,
    pub(crate) len: u16,
    pub(crate) tag: u16,
}
const _: () =
    assert!(RxWord::HAS_DATA_ERROR_OFFSET == 31 && RxWord::LEN_OFFSET == 32 && RxWord::TAG_OFFSET == 48);

/// A whole good frame shows exactly this of [`CHECKED`].
const GOOD: u64 = RxWord::new().with_is_done(true).with_is_last(true).into_bits();
const CHECKED: u64 = GOOD | RxWord::new().with_has_data_error(true).into_bits();

/// Reads a receive word: see [`weir_gigabit::Chip::arrived`].
///
/// # Errors
/// `Status`.
#[inline]
pub fn arrived(word: u64) -> Result<Option<u16>, Violation> {
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
    #[bits(4)]
    __: u8,
    /// 3: data.
    #[bits(4)]
    pub(crate) kind: u8,
    /// The frame ends in this buffer.
    pub(crate) is_last: bool,
    /// The device appends the Ethernet checksum.
    pub(crate) adds_crc: bool,
    __: bool,
    /// The device says when it is done.
    pub(crate) reports: bool,
    __: bool,
    pub(crate) is_advanced: bool,
    #[bits(2)]
    __: u8,
    pub(crate) is_done: bool,
    #[bits(13)]
    __: u16,
    /// Bytes of the whole frame.
    #[bits(18)]
    pub(crate) payload_len: u32,
}
const _: () =
    assert!(TxWord::KIND_OFFSET == 20 && TxWord::IS_LAST_OFFSET == 24 && TxWord::IS_ADVANCED_OFFSET == 29);
const _: () = assert!(TxWord::IS_DONE_OFFSET == 32 && TxWord::PAYLOAD_LEN_OFFSET == 46);

/// Asks the device to report, in a transmit word.
pub const REPORT: u64 = TxWord::new().with_reports(true).into_bits();
const DATA: TxWord = TxWord::new().with_kind(3).with_is_advanced(true).with_is_last(true).with_adds_crc(true);

/// The transmit word of a frame.
#[inline]
#[must_use]
pub fn send(len: u16) -> u64 {
    DATA.with_len(len).with_payload_len(len.into()).into_bits()
}

/// Whether a transmit word says that the frame was sent.
#[inline]
#[must_use]
pub fn is_sent(word: u64) -> bool {
    TxWord::from_bits(word).is_done()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_those_of_the_datasheet() {
        // Length 0x123 in bytes 0–1, type 3 in the high half of byte 2, EOP 0x01 | IFCS 0x02 | RS 0x08 | DEXT 0x20 in
        // byte 3, payload length from bit 46 on.
        let payload = (0x123u64 << 46).to_le_bytes();
        let [.., e, f, g, h] = payload;
        assert_eq!((send(0x123) | REPORT).to_le_bytes(), [0x23, 0x01, 0x30, 0x2b, e, f, g, h]);
        assert!(TxWord::from_bits(1 << 32).is_done());
        // DD 0x01 | EOP 0x02 in byte 0, the data error in the top bit of byte 3, length in bytes 4–5.
        assert_eq!(arrived(u64::from_le_bytes([0x03, 0, 0, 0, 0x23, 0x01, 0x55, 0x55])), Ok(Some(0x123)));
        assert_eq!(arrived(u64::from_le_bytes([0x02, 0, 0, 0xff, 0x23, 0x01, 0, 0])), Ok(None));
        let word = u64::from_le_bytes([0x03, 0, 0, 0x80, 0x23, 0x01, 0, 0]);
        assert_eq!(arrived(word), Err(Violation::Status { word }));
    }
}
