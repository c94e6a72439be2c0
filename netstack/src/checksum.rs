//! The Internet checksum (RFC 1071), and its update (RFC 1624).

use zerocopy::network_endian::U16;

/// A one's complement sum in progress, in the machine's byte order (RFC 1071 §2 (B): the order does not matter
/// until the result is stored).
#[derive(Clone, Copy, Debug)]
pub struct Sum(u64);

impl Sum {
    /// The sum over `bytes`, the first of which is at an even offset. An odd last byte is padded with zero.
    #[must_use]
    #[inline]
    pub fn of(bytes: &[u8]) -> Sum {
        let (words, rest) = bytes.as_chunks::<4>();
        let mut sum = words.iter().map(|&word| u64::from(u32::from_ne_bytes(word))).sum();
        let (pairs, last) = rest.as_chunks::<2>();
        for &pair in pairs {
            sum += u64::from(u16::from_ne_bytes(pair));
        }
        if let &[last] = last {
            sum += u64::from(u16::from_ne_bytes([last, 0]));
        }
        // 2³² words of 32 bits would be needed to overflow; no slice of a packet has them.
        Sum(sum)
    }

    /// The sum over both.
    #[must_use]
    #[inline]
    pub const fn plus(self, other: Sum) -> Sum {
        Sum(fold_once(self.0) + fold_once(other.0))
    }

    /// Whether data that contains its own checksum arrived whole: its sum is all ones.
    #[must_use]
    #[inline]
    pub fn is_whole(self) -> bool {
        self.fold() == 0xffff
    }

    /// The checksum to store.
    #[must_use]
    #[inline]
    pub fn checksum(self) -> U16 {
        U16::from_bytes((!self.fold()).to_ne_bytes())
    }

    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "the carries are in the low half by then")]
    const fn fold(self) -> u16 {
        let sum = fold_once(fold_once(self.0)); // below 2³³, then at most 2³²
        let sum = (sum & 0xffff) + (sum >> 16);
        let sum = (sum & 0xffff) + (sum >> 16);
        let sum = (sum & 0xffff) + (sum >> 16);
        sum as u16
    }
}

/// Adds the carries out of the low 32 bits back in.
const fn fold_once(sum: u64) -> u64 {
    (sum & 0xffff_ffff) + (sum >> 32)
}

/// The checksum after one 16-bit word it covers changed from `old` to `new` (RFC 1624 §3, equation 3).
#[must_use]
#[inline]
pub fn update(checksum: U16, old: U16, new: U16) -> U16 {
    let mut sum = u32::from(!checksum.get()) + u32::from(!old.get()) + u32::from(new.get());
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    #[expect(clippy::cast_possible_truncation, reason = "the carries were added in")]
    let sum = sum as u16;
    U16::new(!sum)
}
