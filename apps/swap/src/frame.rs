//! What is done to a frame. **Invariant: every length in a frame is hostile until checked.**

use weir_nic::{Checksum, Segments, TxOffload};
use weir_pool::{Buf, Burst};

/// Bytes of a MAC address.
const MAC_BYTES: usize = 6;
/// Where UDP or TCP begins, behind an IPv4 header without options; its addresses and its protocol.
const START: u16 = 34;
const ADDRESSES: core::ops::Range<usize> = 26..34;
const PROTOCOL: usize = 23;
const TCP: u8 = 6;
const UDP: u8 = 17;
/// Where their checksums are.
const UDP_CHECKSUM: u16 = 6;
const TCP_CHECKSUM: u16 = 16;
/// Bytes of headers up to TCP's without options, and of data in each piece of a segment.
const HEADERS_BYTES: u16 = START + 20;
const DATA_BYTES: u16 = 1000;

/// Exchanges the addresses of Ethernet.
pub(crate) fn swap<const N: usize>(frame: &mut Burst<N>) {
    if let Some(first) = frame.iter_mut().next()
        && let Some((to, rest)) = first.frame_mut().split_first_chunk_mut::<MAC_BYTES>()
        && let Some(from) = rest.first_chunk_mut::<MAC_BYTES>()
    {
        core::mem::swap(to, from);
    }
}

/// Adds to the last byte of a frame of UDP or TCP over IPv4, and says what its checksum needs; and how it is cut, if that is
/// wanted, and it is TCP with more data than a piece has. Leaves others as they are.
pub(crate) fn change<const N: usize>(frame: &mut Burst<N>, added: u8, cuts: bool) -> TxOffload {
    let bytes: usize = frame.iter().map(|buf| usize::from(buf.len())).sum();
    let unfinished = frame.iter_mut().next().and_then(|first| prepare(first.frame_mut(), bytes));
    let Some(checksum) = unfinished else { return TxOffload::NONE };
    if let Some(last) = frame.iter_mut().last().map(Buf::frame_mut).and_then(<[u8]>::last_mut) {
        *last = last.wrapping_add(added);
    }
    let is_cut = cuts && checksum.offset == TCP_CHECKSUM && bytes > usize::from(HEADERS_BYTES + DATA_BYTES);
    let segments = Segments { header_bytes: HEADERS_BYTES, data_bytes: DATA_BYTES, is_ipv6: false };
    TxOffload { checksum: Some(checksum), segments: is_cut.then_some(segments) }
}

/// Puts the sum of the pseudo header where the checksum goes, of a frame of `bytes` that begins with `first`.
fn prepare(first: &mut [u8], bytes: usize) -> Option<Checksum> {
    if first.get(12..15) != Some(&[8, 0, 0x45]) {
        return None;
    }
    let protocol = *first.get(PROTOCOL)?;
    let offset = match protocol {
        UDP => UDP_CHECKSUM,
        TCP => TCP_CHECKSUM,
        _ => return None,
    };
    let len = u16::try_from(bytes.checked_sub(START.into())?).ok()?;
    let pairs = first.get(ADDRESSES)?.as_chunks::<2>().0.iter();
    let sum: u32 = pairs.map(|pair| u32::from(u16::from_be_bytes(*pair))).sum();
    let sum = sum + u32::from(protocol) + u32::from(len);
    let place = first.get_mut(usize::from(START + offset)..)?.first_chunk_mut::<2>()?;
    *place = fold(sum).to_be_bytes();
    Some(Checksum { start: START, offset })
}

/// A sum in 16 bits with end-around carry (RFC 1071), of one of a few of them.
#[expect(clippy::cast_possible_truncation, reason = "folded to 16 bits")]
fn fold(sum: u32) -> u16 {
    let sum = (sum & 0xffff) + (sum >> 16);
    (sum + (sum >> 16)) as u16
}
