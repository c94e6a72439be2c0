//! What a virtual function and the owner of the physical one say to each other.
//!
//! The device carries sixteen words each way and gives them no meaning (82576 §7.10.2.9 "VF/PF communication"); these are
//! the words that Intel's own drivers for it use, so that either end may be one of those. A request begins with a [`Head`];
//! its answer begins with the same one, granted or refused.

use bitfield_struct::bitfield;

/// Words of a message, at most.
pub const WORDS: usize = 16;
/// Hashes of group addresses in a message, at most: two a word.
pub const HASHES: usize = 2 * (WORDS - 1);

/// First word of a message.
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct Head {
    /// [`kind`].
    pub kind: u16,
    /// What the kind says.
    pub info: u8,
    #[bits(5)]
    __: u8,
    /// The physical function is ready for requests.
    pub is_ready: bool,
    /// The answer is no.
    pub is_refused: bool,
    /// The answer is yes.
    pub is_granted: bool,
}
const _: () =
    assert!(Head::INFO_OFFSET == 16 && Head::IS_READY_OFFSET == 29 && Head::IS_GRANTED_OFFSET == 31);

/// What is asked for.
pub mod kind {
    /// It was reset: its address, and its queues enabled. The answer's next two words are the address.
    pub const RESET: u16 = 1;
    /// Another address: the next two words.
    pub const SET_MAC: u16 = 2;
    /// Frames to groups: `info` hashes ([`super::hash`]), two a word. Those asked for before are forgotten.
    pub const SET_MULTICAST: u16 = 3;
    /// Frames of a VLAN, its number in the next word; `info` 1 adds it and 0 takes it away.
    pub const SET_VLAN: u16 = 4;
    /// Frames up to so many bytes, checksum included: the next word.
    pub const SET_FRAME_LIMIT: u16 = 5;
}

/// An address as two words.
#[must_use]
pub fn address_words([a, b, c, d, e, f]: [u8; 6]) -> [u32; 2] {
    [u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, 0, 0])]
}

/// The address in two words; `None` where it is no station's.
#[must_use]
pub fn station(words: [u32; 2]) -> Option<[u8; 6]> {
    let [[a, b, c, d], [e, f, ..]] = words.map(u32::to_le_bytes);
    let mac = [a, b, c, d, e, f];
    (a & 1 == 0 && mac != [0; 6]).then_some(mac)
}

/// The twelve bits by which the multicast table is looked up (82576 §8.10.15 "Multicast Table Array").
#[must_use]
pub fn hash(group: [u8; 6]) -> u16 {
    u16::from_le_bytes([group[4], group[5]]) >> 4
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_those_of_the_other_drivers() {
        let head = Head::new().with_kind(kind::RESET).with_is_granted(true);
        assert_eq!(head.into_bits(), 0x8000_0001);
        assert_eq!(Head::new().with_kind(kind::SET_VLAN).with_info(1).into_bits(), 0x0001_0004);
        assert_eq!(Head::new().with_is_ready(true).with_is_refused(true).into_bits(), 0x6000_0000);
        let mac = [2, 0, 0x5e, 1, 2, 3];
        assert_eq!(address_words(mac), [0x015e_0002, 0x0302]);
        assert_eq!(station(address_words(mac)), Some(mac));
        assert_eq!(station([1, 0]), None);
        assert_eq!(station([0, 0xffff_0000]), None);
        assert_eq!(hash([1, 0, 0x5e, 0, 0x12, 0x34]), 0x341);
    }
}
