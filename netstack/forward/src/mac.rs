//! Ethernet addresses. Frames too short to have both stay as they are.

use weir_net::MacAddress;

/// Bytes of both addresses.
const ADDRESSES: usize = 12;
/// Bytes of addresses and type.
const HEADER: usize = 14;

/// Swaps destination and source.
#[inline]
pub fn swap(frame: &mut [u8]) {
    let Some(header) = frame.first_chunk_mut::<HEADER>() else { return };
    let [a, b, c, d, e, f, rest @ ..] = *header;
    // Six instructions: two loads of eight bytes, each of which has an address and two bytes more; a store of eight,
    // and over the two too many, stores of four and two.
    let first = u64::from_ne_bytes([a, b, c, d, e, f, rest[0], rest[1]]);
    header[..8].copy_from_slice(&rest);
    let [a, b, c, d, e, f, _, _] = first.to_ne_bytes();
    header[6..10].copy_from_slice(&[a, b, c, d]);
    header[10..12].copy_from_slice(&[e, f]);
}

/// The addresses that a frame is given, as they lie in it.
#[must_use]
pub(crate) fn pair(destination: MacAddress, source: MacAddress) -> [u8; ADDRESSES] {
    let mut bytes = [0; ADDRESSES];
    bytes[..6].copy_from_slice(&destination.0);
    bytes[6..].copy_from_slice(&source.0);
    bytes
}

/// Writes both.
#[inline]
pub(crate) fn set(frame: &mut [u8], addresses: &[u8; ADDRESSES]) {
    if let Some(start) = frame.first_chunk_mut::<ADDRESSES>() {
        *start = *addresses;
    }
}
