//! The Internet checksum (RFC 1071), and its update (RFC 1624).

use zerocopy::network_endian::U16;

/// A one's complement sum in progress, in the machine's byte order (RFC 1071 §2 (B): the order does not matter
/// until the result is stored). Below 2³⁵ for one slice, so that a few can be added.
#[derive(Clone, Copy, Debug)]
pub struct Sum(u64);

impl Sum {
    /// The sum over `bytes`, the first of which is at an even offset. An odd last byte is padded with zero.
    #[must_use]
    #[inline]
    pub fn of(bytes: &[u8]) -> Sum {
        let (words, rest) = bytes.as_chunks::<8>();
        let (pairs, last) = rest.as_chunks::<2>();
        // The carries of 64-bit additions collect in the upper half: two instructions per eight bytes.
        let mut sum: u128 = words.iter().map(|&word| u128::from(u64::from_ne_bytes(word))).sum();
        sum += pairs.iter().map(|&pair| u128::from(u16::from_ne_bytes(pair))).sum::<u128>();
        if let &[last] = last {
            sum += u128::from(u16::from_ne_bytes([last, 0]));
        }
        #[expect(clippy::cast_possible_truncation, reason = "the halves of the sum")]
        let (low, high) = (sum as u64, (sum >> 64) as u64);
        Sum((low & 0xffff_ffff) + (low >> 32) + high)
    }

    /// The sum over both.
    #[must_use]
    #[inline]
    pub const fn plus(self, other: Sum) -> Sum {
        Sum(self.0 + other.0)
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

    /// Adds the carries back in until 16 bits are left.
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "each step shortens it, the last to 16 bits")]
    const fn fold(self) -> u16 {
        let sum = (self.0 & 0xffff_ffff) + (self.0 >> 32); // below 2³³
        let sum = (sum & 0xffff) + (sum >> 16); // below 2¹⁸
        let sum = (sum & 0xffff) + (sum >> 16); // at most 2¹⁶ + 2
        ((sum & 0xffff) + (sum >> 16)) as u16
    }
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

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;

    /// The definition: 16-bit words in network order, carries added in one by one.
    fn plain(bytes: &[u8]) -> u16 {
        bytes.chunks(2).fold(0, |sum, pair| {
            let word = u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]);
            let (sum, carry) = u16::overflowing_add(sum, word);
            sum + u16::from(carry)
        })
    }

    #[test]
    fn agrees_with_the_definition_at_every_length() {
        let bytes: [u8; 300] = core::array::from_fn(|i| (i * i + 3 * i).to_le_bytes()[0]);
        for filling in [bytes, [0xff; 300], [0; 300]] {
            for len in 0..filling.len() {
                assert_eq!(Sum::of(&filling[..len]).checksum().get(), !plain(&filling[..len]), "{len}");
                let (front, back) = filling[..len].split_at(len / 4 * 2);
                let sum = Sum::of(front).plus(Sum::of(back));
                assert_eq!(sum.checksum().get(), !plain(&filling[..len]), "{len} in two parts");
            }
        }
    }

    #[test]
    fn an_update_is_a_new_checksum() {
        for (old, new) in [(0, 0xffff), (0xffff, 0), (0x0800, 0), (0x1140, 0x4011), (0xfffe, 1)] {
            let with =
                |word: u16| Sum::of(&[[0x12, 0x34], word.to_be_bytes(), [0x87, 0x65]].concat()).checksum();
            let (before, after) = (with(old), with(new));
            assert_eq!(update(before, U16::new(old), U16::new(new)), after, "{old:#x} to {new:#x}");
        }
    }
}
