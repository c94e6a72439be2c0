//! What a frame carries behind its headers, in network byte order:
//!
//! | bytes | what |
//! |---|---|
//! | 0–7 | sequence number, from 0 |
//! | 8–15 | nanoseconds on the sender's clock: of `pktgen`, when it was made; of `pktlat`, when it was due |
//! | 16– | filling: byte n is n modulo 256 |

use zerocopy::network_endian::U64;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Number and time of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Stamp {
    /// Its number.
    pub sequence: U64,
    /// Its time.
    pub time_ns: U64,
}
const _: () = assert!(size_of::<Stamp>() == STAMP_BYTES);

/// Bytes of a stamp.
pub const STAMP_BYTES: usize = 16;

/// What stands behind a stamp, in the longest frame.
pub(crate) const FILLING: [u8; FILLING_BYTES] = {
    let mut bytes = [0; FILLING_BYTES];
    let mut at = 0;
    while at < FILLING_BYTES {
        #[expect(clippy::cast_possible_truncation, reason = "modulo 256, as said")]
        let byte = (at + STAMP_BYTES) as u8;
        bytes[at] = byte;
        at += 1;
    }
    bytes
};
/// Most bytes behind a stamp.
pub(crate) const FILLING_BYTES: usize =
    crate::size::FRAME_MAX_BYTES - crate::frames::HEADERS_BYTES - STAMP_BYTES;

/// The stamp of a payload, where the payload is one of ours, whole.
#[must_use]
pub fn read(payload: &[u8]) -> Option<Stamp> {
    let (stamp, filling) = Stamp::read_from_prefix(payload).ok()?;
    (FILLING.get(..filling.len())? == filling).then_some(stamp)
}
