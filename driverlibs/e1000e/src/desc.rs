//! Second words of legacy descriptors (82574 §7.1.4 "Legacy Receive Descriptor Format", §7.2.2 "Legacy Transmit
//! Descriptor Format"), whose first word is the buffer's address; and the extended ones that frames are sent by whose checksum
//! the device fills in.

use bitfield_struct::bitfield;
use weir_gigabit::received::Format;
use weir_nic::Checksum;

/// Receive.
#[bitfield(u64)]
pub(crate) struct RxWord {
    pub(crate) len: u16,
    pub(crate) checksum: u16,
    /// The device is done.
    pub(crate) is_done: bool,
    /// The frame ends in this buffer.
    pub(crate) is_last: bool,
    /// Nothing is said of checksums.
    pub(crate) ignores_checksum: bool,
    __: bool,
    /// The checksum of UDP was computed; that of TCP or UDP; that of the IP header.
    pub(crate) checked_udp: bool,
    pub(crate) checked: bool,
    pub(crate) checked_ip: bool,
    __: bool,
    pub(crate) has_crc_error: bool,
    pub(crate) has_symbol_error: bool,
    pub(crate) has_sequence_error: bool,
    __: bool,
    pub(crate) has_extension_error: bool,
    pub(crate) has_bad_checksum: bool,
    pub(crate) has_bad_ip_checksum: bool,
    pub(crate) has_data_error: bool,
    pub(crate) tag: u16,
}
const _: () = assert!(RxWord::IS_DONE_OFFSET == 32 && RxWord::HAS_CRC_ERROR_OFFSET == 40);
const _: () = assert!(RxWord::HAS_DATA_ERROR_OFFSET == 47 && RxWord::TAG_OFFSET == 48);

pub(crate) const RECEIVED: Format = Format {
    done: RxWord::new().with_is_done(true).into_bits(),
    last: RxWord::new().with_is_last(true).into_bits(),
    errors: RxWord::new()
        .with_has_crc_error(true)
        .with_has_symbol_error(true)
        .with_has_sequence_error(true)
        .with_has_extension_error(true)
        .with_has_data_error(true)
        .into_bits(),
    checked: RxWord::new().with_checked_udp(true).with_checked(true).into_bits(),
    wrong: RxWord::new()
        .with_ignores_checksum(true)
        .with_has_bad_checksum(true)
        .with_has_bad_ip_checksum(true)
        .into_bits(),
    len_offset: RxWord::LEN_OFFSET,
};

/// Transmit, legacy or extended data: what both have stands in the same place.
#[bitfield(u64)]
pub(crate) struct TxWord {
    pub(crate) len: u16,
    #[bits(4)]
    __: u8,
    /// Extended: 1, data.
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
    pub(crate) is_extended: bool,
    #[bits(2)]
    __: u8,
    pub(crate) is_done: bool,
    #[bits(8)]
    __: u8,
    /// Extended: the checksum that the context tells of is filled in.
    pub(crate) fills_checksum: bool,
    #[bits(22)]
    __: u32,
}
const _: () =
    assert!(TxWord::IS_LAST_OFFSET == 24 && TxWord::REPORTS_OFFSET == 27 && TxWord::IS_DONE_OFFSET == 32);
const _: () = assert!(TxWord::KIND_OFFSET == 20 && TxWord::IS_EXTENDED_OFFSET == 29);
const _: () = assert!(TxWord::FILLS_CHECKSUM_OFFSET == 41);

pub(crate) const REPORT: u64 = TxWord::new().with_reports(true).into_bits();

/// Makes a legacy word an extended one.
pub(crate) const CHECKSUM: u64 =
    TxWord::new().with_kind(1).with_is_extended(true).with_fills_checksum(true).into_bits();

/// The transmit word of a buffer.
#[inline]
pub(crate) fn send(len: u16, is_last: bool) -> u64 {
    TxWord::new().with_len(len).with_is_last(is_last).with_adds_crc(true).into_bits()
}

/// First word of a context descriptor (82574 §7.2, "TCP/IP context descriptor"): bytes from the start of the frame.
#[bitfield(u64)]
pub(crate) struct ContextWord {
    /// The IP header's checksum: unused.
    __: u32,
    /// Where the sum begins.
    pub(crate) start: u8,
    /// Where it goes.
    pub(crate) place: u8,
    /// Where it ends; 0: with the frame.
    pub(crate) end: u16,
}
const _: () = assert!(ContextWord::START_OFFSET == 32 && ContextWord::END_OFFSET == 48);

/// Says where a checksum goes.
pub(crate) fn context(checksum: Checksum) -> Option<[u64; 2]> {
    let place = checksum.start.checked_add(checksum.offset)?;
    let word = ContextWord::new().with_start(checksum.start.try_into().ok()?);
    let word = word.with_place(place.try_into().ok()?);
    Some([word.into_bits(), TxWord::new().with_is_extended(true).into_bits()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_those_of_the_datasheet() {
        // Length 0x123 in bytes 0–1, EOP 0x01 | IFCS 0x02 | RS 0x08 in byte 3, DD in the low bit of byte 4.
        assert_eq!((send(0x123, true) | REPORT).to_le_bytes(), [0x23, 0x01, 0, 0x0b, 0, 0, 0, 0]);
        assert_eq!(send(0x123, false).to_le_bytes(), [0x23, 0x01, 0, 0x02, 0, 0, 0, 0]);
        assert!(TxWord::from_bits(1 << 32).is_done());
        // Extended data: DTYP 1 in the high half of byte 2, DEXT 0x20 in byte 3, TXSM 0x02 in byte 5.
        assert_eq!((send(0x123, true) | CHECKSUM).to_le_bytes(), [0x23, 0x01, 0x10, 0x23, 0, 2, 0, 0]);
        // Context: TUCSS in byte 4, TUCSO in byte 5, TUCSE in bytes 6–7; DEXT alone in the second word.
        let words = context(Checksum { start: 34, offset: 6 }).expect("in the first 256 bytes");
        assert_eq!(words.map(u64::to_le_bytes), [[0, 0, 0, 0, 34, 40, 0, 0], [0, 0, 0, 0x20, 0, 0, 0, 0]]);
        assert_eq!(context(Checksum { start: 250, offset: 6 }), None);
        assert_eq!(context(Checksum { start: u16::MAX, offset: 6 }), None);
    }

    #[test]
    fn received_words_are_those_of_the_datasheet() {
        // Length in bytes 0–1, DD 0x01 | EOP 0x02 in byte 4, errors in byte 5.
        let read = |status: u8, errors: u8| {
            RECEIVED.whole(u64::from_le_bytes([0x23, 0x01, 0xaa, 0xaa, status, errors, 0x55, 0x55]))
        };
        assert_eq!((read(3, 0), read(2, 0xff)), (Ok(Some(0x123)), Ok(None)));
        assert!([1, 2, 4, 0x10, 0x80].iter().all(|error| read(3, *error).is_err()));
        // IXSM 0x04, UDPCS 0x10, TCPCS 0x20 in byte 4; TCPE 0x20, IPE 0x40 in byte 5.
        let is_good = |status: u8, errors: u8| {
            let part = RECEIVED.part(u64::from_le_bytes([60, 0, 0, 0, status, errors, 0, 0]));
            part.expect("no error").expect("done").is_checksum_good
        };
        assert!(is_good(0x23, 0) && is_good(0x33, 0) && !is_good(0x43, 0) && !is_good(0x27, 0));
        assert!(!is_good(0x23, 0x20) && !is_good(0x23, 0x40) && !is_good(0x21, 0));
    }
}
