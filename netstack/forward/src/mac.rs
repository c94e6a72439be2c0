//! Ethernet addresses. Frames too short to have both stay as they are.

use weir_net::MacAddress;

/// Bytes of both addresses.
const ADDRESSES: usize = 12;
/// Bytes that a vector register takes.
const VECTOR: usize = 16;

/// Swaps destination and source.
#[inline]
pub fn swap(frame: &mut [u8]) {
    if let Some(start) = frame.first_chunk_mut::<VECTOR>() {
        // One shuffle of the first sixteen bytes, which every frame on a wire has.
        let [a, b, c, d, e, f, g, h, i, j, k, l, rest @ ..] = *start;
        let [m, n, o, p] = rest;
        *start = [g, h, i, j, k, l, a, b, c, d, e, f, m, n, o, p];
    } else if let Some(addresses) = frame.first_chunk_mut::<ADDRESSES>() {
        addresses.rotate_left(ADDRESSES / 2);
    }
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
