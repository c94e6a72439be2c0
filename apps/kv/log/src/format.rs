//! What is on the disk: little-endian, whole blocks.
//!
//! | bytes | header, first block of a half | record |
//! |---|---|---|
//! | 0..8 | `WEIRKVH1` | `WEIRKVR1` |
//! | 8..12 | CRC-32C of the rest of the block | CRC-32C of what follows, to the payload's end |
//! | 12..16 | 0 | bytes of payload |
//! | 16..24 | generation | generation |
//! | 24..32 | salt | salt |
//! | 32..40 | blocks of a half | number of the record in its half |
//! | 40.. | 0 | payload, then 0 to the block's end |
//!
//! **Invariant: a record belongs to its half if generation and salt are the header's**; the salt is random and stays on the
//! disk, so that no payload can look like a record.

use alloc::vec::Vec;

use crc::{CRC_32_ISCSI, Crc, Table};

/// CRC-32C (RFC 3720, appendix B.4).
static CHECKSUM: Crc<u32, Table<16>> = Crc::<u32, Table<16>>::new(&CRC_32_ISCSI);

const HEADER_MAGIC: [u8; 8] = *b"WEIRKVH1";
const RECORD_MAGIC: [u8; 8] = *b"WEIRKVR1";
/// Bytes of a record before its payload.
pub const RECORD_BYTES: usize = 40;
/// Bytes of a header that are not 0.
pub(crate) const HEADER_BYTES: usize = RECORD_BYTES;

/// Which writing of a half a record belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Counts the rewrites.
    pub generation: u64,
    /// Random.
    pub salt: u64,
}

/// What makes a half current.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Blocks of a half.
    pub half_blocks: u64,
    /// Of its records.
    pub stamp: Stamp,
}

impl Header {
    /// Its block.
    #[must_use]
    pub fn encode(&self, block_bytes: usize) -> Vec<u8> {
        let mut block = front(HEADER_MAGIC, 0, &self.stamp, self.half_blocks);
        block.resize(block_bytes, 0);
        seal(&mut block, block_bytes);
        block
    }

    /// The header that `block` is.
    #[must_use]
    pub fn decode(block: &[u8]) -> Option<Header> {
        let front = Front::read(block, HEADER_MAGIC)?;
        let is_whole = front.crc == CHECKSUM.checksum(block.get(12..)?);
        is_whole.then_some(Header { half_blocks: front.number, stamp: front.stamp })
    }
}

/// A record as blocks.
#[must_use]
pub fn record(stamp: &Stamp, number: u64, payload: &[u8], block_bytes: usize) -> Vec<u8> {
    // No payload is that long: `PAYLOAD_MAX_BYTES`.
    let len = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    let mut image = front(RECORD_MAGIC, len, stamp, number);
    let end = RECORD_BYTES + payload.len();
    image.reserve_exact(end.next_multiple_of(block_bytes) - RECORD_BYTES);
    image.extend_from_slice(payload);
    image.resize(end.next_multiple_of(block_bytes), 0);
    seal(&mut image, end);
    image
}

/// The front of a record: what can be said of it without its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordFront {
    /// Which half it belongs to.
    pub stamp: Stamp,
    /// Its number.
    pub number: u64,
    /// Bytes of its payload, if it is whole.
    pub payload_bytes: usize,
}

impl RecordFront {
    /// The front at the beginning of `bytes`. Not checked.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<RecordFront> {
        let front = Front::read(bytes, RECORD_MAGIC)?;
        let payload_bytes = usize::try_from(front.len).ok()?;
        Some(RecordFront { stamp: front.stamp, number: front.number, payload_bytes })
    }
}

/// The payload of the record at the beginning of `bytes`, if all of it is there and as it was written.
#[must_use]
pub fn payload(bytes: &[u8]) -> Option<&[u8]> {
    let front = Front::read(bytes, RECORD_MAGIC)?;
    let end = RECORD_BYTES.checked_add(usize::try_from(front.len).ok()?)?;
    let is_whole = front.crc == CHECKSUM.checksum(bytes.get(12..end)?);
    if is_whole { bytes.get(RECORD_BYTES..end) } else { None }
}

/// The 40 bytes that both begin with.
struct Front {
    crc: u32,
    len: u32,
    stamp: Stamp,
    number: u64,
}

impl Front {
    fn read(bytes: &[u8], magic: [u8; 8]) -> Option<Front> {
        let (found, rest) = bytes.split_first_chunk::<8>()?;
        let (crc, rest) = rest.split_first_chunk()?;
        let (len, rest) = rest.split_first_chunk()?;
        let (generation, rest) = rest.split_first_chunk()?;
        let (salt, rest) = rest.split_first_chunk()?;
        let (number, _) = rest.split_first_chunk()?;
        let stamp = Stamp { generation: u64::from_le_bytes(*generation), salt: u64::from_le_bytes(*salt) };
        (*found == magic).then_some(Front {
            crc: u32::from_le_bytes(*crc),
            len: u32::from_le_bytes(*len),
            stamp,
            number: u64::from_le_bytes(*number),
        })
    }
}

fn front(magic: [u8; 8], len: u32, stamp: &Stamp, number: u64) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(RECORD_BYTES);
    bytes.extend_from_slice(&magic);
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(&len.to_le_bytes());
    bytes.extend_from_slice(&stamp.generation.to_le_bytes());
    bytes.extend_from_slice(&stamp.salt.to_le_bytes());
    bytes.extend_from_slice(&number.to_le_bytes());
    bytes
}

/// Puts the checksum of `bytes[12..end]` where it belongs.
fn seal(bytes: &mut [u8], end: usize) {
    let crc = CHECKSUM.checksum(&bytes[12..end]);
    bytes[8..12].copy_from_slice(&crc.to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksum_of_the_standard() {
        assert_eq!(CHECKSUM.checksum(b"123456789"), 0xe306_9283, "the check value of CRC-32C");
        assert_eq!(CHECKSUM.checksum(&[0; 32]), 0x8a91_36aa, "RFC 3720, appendix B.4");
    }

    #[test]
    fn bytes_of_a_record() {
        let stamp = Stamp { generation: 2, salt: 0x0807_0605_0403_0201 };
        let image = record(&stamp, 5, b"payload", 512);
        assert_eq!(image.len(), 512);
        assert_eq!(image[..8], *b"WEIRKVR1");
        assert_eq!(
            image[12..48],
            *b"\x07\0\0\0\x02\0\0\0\0\0\0\0\x01\x02\x03\x04\x05\x06\x07\x08\x05\0\0\0\0\0\0\0payload\0"
        );
        assert_eq!(payload(&image), Some(&b"payload"[..]));
        assert_eq!(RecordFront::decode(&image), Some(RecordFront { stamp, number: 5, payload_bytes: 7 }));
        assert_eq!(record(&stamp, 5, &[1; 472], 512).len(), 512);
        assert_eq!(record(&stamp, 5, &[1; 473], 512).len(), 1024);
    }

    #[test]
    fn any_flipped_bit_is_found() {
        let stamp = Stamp { generation: 2, salt: 99 };
        let image = record(&stamp, 5, b"some payload", 512);
        let header = Header { half_blocks: 77, stamp }.encode(512);
        assert_eq!(Header::decode(&header), Some(Header { half_blocks: 77, stamp }));
        for bit in 0..512 * 8 {
            let flip = |bytes: &[u8]| {
                let mut bytes = bytes.to_vec();
                bytes[bit / 8] ^= 1 << (bit % 8);
                bytes
            };
            assert_eq!(payload(&flip(&image)).is_some(), bit >= 52 * 8, "bit {bit}");
            assert_eq!(Header::decode(&flip(&header)), None, "bit {bit}");
        }
    }
}
