//! Advanced descriptors (82576 §7.1.5 "Receive Descriptor Queue" formats, §7.2.2 "Transmit Descriptors"): second words, where
//! the first is the buffer's address, and the context descriptor.

use bitfield_struct::bitfield;
use weir_gigabit::received::Format;
use weir_nic::Checksum;

/// Receive, as the device writes it back.
#[bitfield(u64)]
pub(crate) struct RxWord {
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
    #[bits(22)]
    __: u32,
    pub(crate) has_bad_checksum: bool,
    pub(crate) has_bad_ip_checksum: bool,
    pub(crate) has_data_error: bool,
    pub(crate) len: u16,
    pub(crate) tag: u16,
}
const _: () =
    assert!(RxWord::HAS_DATA_ERROR_OFFSET == 31 && RxWord::LEN_OFFSET == 32 && RxWord::TAG_OFFSET == 48);

const _: () = assert!(RxWord::CHECKED_UDP_OFFSET == 4 && RxWord::HAS_BAD_CHECKSUM_OFFSET == 29);

/// Where a receive word says what.
pub const RECEIVED: Format = Format {
    done: RxWord::new().with_is_done(true).into_bits(),
    last: RxWord::new().with_is_last(true).into_bits(),
    errors: RxWord::new().with_has_data_error(true).into_bits(),
    checked: RxWord::new().with_checked_udp(true).with_checked(true).into_bits(),
    wrong: RxWord::new()
        .with_ignores_checksum(true)
        .with_has_bad_checksum(true)
        .with_has_bad_ip_checksum(true)
        .into_bits(),
    len_offset: RxWord::LEN_OFFSET,
};

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
    #[bits(8)]
    __: u8,
    /// The checksum that the context tells of is filled in.
    pub(crate) fills_checksum: bool,
    #[bits(4)]
    __: u8,
    /// Bytes of the whole frame, where it begins.
    #[bits(18)]
    pub(crate) payload_len: u32,
}
const _: () =
    assert!(TxWord::KIND_OFFSET == 20 && TxWord::IS_LAST_OFFSET == 24 && TxWord::IS_ADVANCED_OFFSET == 29);
const _: () = assert!(TxWord::IS_DONE_OFFSET == 32 && TxWord::PAYLOAD_LEN_OFFSET == 46);

/// Asks the device to report, in a transmit word.
pub const REPORT: u64 = TxWord::new().with_reports(true).into_bits();
/// Asks it to fill in a checksum, in each transmit word of a frame.
pub const CHECKSUM: u64 = TxWord::new().with_fills_checksum(true).into_bits();
const DATA: TxWord = TxWord::new().with_kind(3).with_is_advanced(true).with_adds_crc(true);

/// The transmit word of a buffer.
#[inline]
#[must_use]
pub fn send(len: u16, frame_len: u16, is_last: bool) -> u64 {
    DATA.with_len(len).with_payload_len(frame_len.into()).with_is_last(is_last).into_bits()
}

/// Whether a transmit word says that the frame was sent.
#[inline]
#[must_use]
pub fn is_sent(word: u64) -> bool {
    TxWord::from_bits(word).is_done()
}

/// First word of a context descriptor (82576 §7.2.2.2 "Advanced Transmit Context Descriptor").
#[bitfield(u64)]
struct HeaderWord {
    /// Bytes of the IP header.
    #[bits(9)]
    ip_len: u16,
    /// Bytes in front of it.
    #[bits(7)]
    mac_len: u8,
    #[bits(48)]
    __: u64,
}
const _: () = assert!(HeaderWord::MAC_LEN_OFFSET == 9);

/// And the second.
#[bitfield(u64)]
struct ContextWord {
    #[bits(11)]
    __: u16,
    /// 0: UDP, 1: TCP.
    #[bits(2)]
    protocol: u8,
    #[bits(7)]
    __: u8,
    /// 2: context.
    #[bits(4)]
    kind: u8,
    #[bits(5)]
    __: u8,
    is_advanced: bool,
    #[bits(34)]
    __: u64,
}
const _: () = assert!(ContextWord::PROTOCOL_OFFSET == 11 && ContextWord::KIND_OFFSET == 20);
const _: () = assert!(ContextWord::IS_ADVANCED_OFFSET == 29);

/// Bytes in front of an IP header, and of the shortest.
const MAC_BYTES: u8 = 14;
const IP_BYTES_MIN: u16 = 20;
/// Where the checksum stands in a header of UDP and of TCP.
const UDP_OFFSET: u16 = 6;
const TCP_OFFSET: u16 = 16;

/// The context that says where a checksum goes: the device knows headers, not places. Where a VLAN tag is in front of the IP
/// header, it counts as a part of that: only the sum of both lengths matters here.
#[must_use]
pub fn context(checksum: Checksum) -> Option<[u64; 2]> {
    let protocol = match checksum.offset {
        UDP_OFFSET => 0,
        TCP_OFFSET => 1,
        _ => return None,
    };
    let ip_len = checksum.start.checked_sub(MAC_BYTES.into())?;
    let header = HeaderWord::new().with_mac_len(MAC_BYTES).with_ip_len_checked(ip_len).ok()?;
    let context = ContextWord::new().with_protocol(protocol).with_kind(2).with_is_advanced(true);
    (ip_len >= IP_BYTES_MIN).then_some([header.into_bits(), context.into_bits()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_those_of_the_datasheet() {
        // Length 0x123 in bytes 0–1, type 3 in the high half of byte 2, EOP 0x01 | IFCS 0x02 | RS 0x08 | DEXT 0x20 in
        // byte 3, payload length from bit 46 on.
        let [.., e, f, g, h] = (0x123u64 << 46).to_le_bytes();
        assert_eq!((send(0x123, 0x123, true) | REPORT).to_le_bytes(), [0x23, 0x01, 0x30, 0x2b, e, f, g, h]);
        assert_eq!(send(0x123, 0, false).to_le_bytes(), [0x23, 0x01, 0x30, 0x22, 0, 0, 0, 0]);
        // TXSM 0x02 in byte 5.
        assert_eq!(CHECKSUM.to_le_bytes(), [0, 0, 0, 0, 0, 2, 0, 0]);
        assert!(is_sent(1 << 32));
    }

    #[test]
    fn contexts_are_those_of_the_datasheet() {
        // IPLEN in bits 0–8, MACLEN from bit 9 on; L4T from bit 11 on, type 2 in the high half of byte 2, DEXT in byte 3.
        let words =
            |start, offset| context(Checksum { start, offset }).map(|words| words.map(u64::to_le_bytes));
        let udp = [[20, 14 << 1, 0, 0, 0, 0, 0, 0], [0, 0, 0x20, 0x20, 0, 0, 0, 0]];
        assert_eq!(words(34, 6), Some(udp));
        let tcp = [[40, 14 << 1, 0, 0, 0, 0, 0, 0], [0, 8, 0x20, 0x20, 0, 0, 0, 0]];
        assert_eq!(words(54, 16), Some(tcp));
        assert!(words(14 + 511, 16).is_some());
        assert_eq!([words(34, 7), words(33, 6), words(13, 6), words(14 + 512, 6)], [None; 4]);
    }

    #[test]
    fn received_words_are_those_of_the_datasheet() {
        // DD 0x01 | EOP 0x02 in byte 0, the data error in the top bit of byte 3, length in bytes 4–5.
        let read = |status: u8, errors: u8| {
            RECEIVED.whole(u64::from_le_bytes([status, 0, 0, errors, 0x23, 0x01, 0x55, 0x55]))
        };
        assert_eq!((read(3, 0x7f), read(2, 0xff)), (Ok(Some(0x123)), Ok(None)));
        assert!(read(3, 0x80).is_err() && read(1, 0).is_err());
        // IXSM 0x04, UDPCS 0x10, L4CS 0x20 in byte 0; L4E 0x20, IPE 0x40 in byte 3.
        let is_good = |status: u8, errors: u8| {
            let part = RECEIVED.part(u64::from_le_bytes([status, 0, 0, errors, 60, 0, 0, 0]));
            part.expect("no error").expect("done").is_checksum_good
        };
        assert!(is_good(0x23, 0) && is_good(0x33, 0) && !is_good(0x43, 0) && !is_good(0x27, 0));
        assert!(!is_good(0x23, 0x20) && !is_good(0x23, 0x40) && !is_good(0x21, 0));
    }
}
