//! IPv4 (RFC 791): addresses and the header without options.

use core::fmt;
use core::str::FromStr;

use zerocopy::network_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::checksum::Sum;

/// Protocol number of ICMP.
pub const PROTOCOL_ICMP: u8 = 1;
/// Protocol number of UDP.
pub const PROTOCOL_UDP: u8 = 17;
/// Hops a packet may take that we send (RFC 1700 "IP Time to Live Parameter").
pub const TTL: u8 = 64;

/// An IPv4 address.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(transparent)]
pub struct Ipv4Address(pub [u8; 4]);

impl Ipv4Address {
    /// "This host" (RFC 1122 §3.2.1.3 "Addressing").
    pub const UNSPECIFIED: Ipv4Address = Ipv4Address([0; 4]);

    /// Whether one host can have it: not unspecified, loopback, multicast, reserved or broadcast.
    #[must_use]
    pub const fn is_host(self) -> bool {
        !matches!(self.0[0], 0 | 127 | 224..)
    }
}

impl fmt::Display for Ipv4Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d] = self.0;
        write!(f, "{a}.{b}.{c}.{d}")
    }
}

/// A host's address and the network it is in, as `10.0.2.15/24`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ipv4Network {
    /// The host's address.
    pub address: Ipv4Address,
    /// Leading bits that name the network, 1–32.
    pub prefix: u8,
}

impl Ipv4Network {
    /// The address of everybody in the network; networks of one or two hosts have none (RFC 3021).
    #[must_use]
    pub fn broadcast(self) -> Option<Ipv4Address> {
        let host_bits = u32::MAX.checked_shr(self.prefix.into()).filter(|_| self.prefix < 31)?;
        Some(Ipv4Address((u32::from_be_bytes(self.address.0) | host_bits).to_be_bytes()))
    }
}

/// Why a text is no [`Ipv4Network`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotANetwork;

impl fmt::Display for NotANetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a host's ADDRESS/PREFIX such as 10.0.2.15/24")
    }
}

impl core::error::Error for NotANetwork {}

impl FromStr for Ipv4Network {
    type Err = NotANetwork;

    fn from_str(text: &str) -> Result<Ipv4Network, NotANetwork> {
        let (address, prefix) = text.split_once('/').ok_or(NotANetwork)?;
        let address: core::net::Ipv4Addr = address.parse().map_err(|_| NotANetwork)?;
        let address = Ipv4Address(address.octets());
        let prefix = prefix.parse().map_err(|_| NotANetwork)?;
        let network = Ipv4Network { address, prefix };
        let is_valid = address.is_host() && (1..=32).contains(&prefix);
        (is_valid && network.broadcast() != Some(address)).then_some(network).ok_or(NotANetwork)
    }
}

impl fmt::Display for Ipv4Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

/// A header without options (RFC 791 §3.1 "Internet Header Format").
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Header {
    /// Version (4) in the high half, header length in 4-byte words in the low: [`Header::WITHOUT_OPTIONS`].
    pub version_and_words: u8,
    /// Type of service.
    pub service: u8,
    /// Bytes of header and payload.
    pub total_bytes: U16,
    /// Ties the fragments of a datagram together.
    pub identification: U16,
    /// Reserved, "don't fragment", "more fragments"; fragment offset in units of 8 bytes.
    pub fragment: U16,
    /// Hops left.
    pub ttl: u8,
    /// What follows.
    pub protocol: u8,
    /// Of the header.
    pub checksum: U16,
    /// From whom.
    pub source: Ipv4Address,
    /// To whom.
    pub destination: Ipv4Address,
}
const _: () = assert!(size_of::<Header>() == 20);

impl Header {
    /// [`Header::version_and_words`] of a header without options.
    pub const WITHOUT_OPTIONS: u8 = 0x45;
    /// "More fragments", and the fragment offset.
    const FRAGMENT_MASK: u16 = 0x3fff;

    /// Whether the header arrived whole.
    #[must_use]
    pub fn is_checksum_valid(&self) -> bool {
        Sum::of(self.as_bytes()).is_whole()
    }

    /// Whether this is a part of a datagram only.
    #[must_use]
    pub fn is_fragment(&self) -> bool {
        self.fragment.get() & Self::FRAGMENT_MASK != 0
    }

    /// Bytes after the header; `None` where the header claims fewer than itself.
    #[must_use]
    pub fn payload_bytes(&self) -> Option<usize> {
        usize::from(self.total_bytes.get()).checked_sub(size_of::<Header>())
    }

    /// The sum over the pseudo-header that UDP's checksum covers (RFC 768).
    #[must_use]
    pub fn pseudo_header(&self, payload_bytes: u16) -> Sum {
        Sum::of(self.source.as_bytes())
            .plus(Sum::of(self.destination.as_bytes()))
            .plus(Sum::of(&[0, self.protocol]))
            .plus(Sum::of(&payload_bytes.to_be_bytes()))
    }

    /// Turns the packet round: sender and receiver change places, with [`TTL`] hops ahead.
    pub fn turn_round(&mut self) {
        // The sum does not depend on the order of its words, so only the new TTL changes the checksum.
        core::mem::swap(&mut self.source, &mut self.destination);
        let old = U16::from_bytes([self.ttl, self.protocol]);
        self.ttl = TTL;
        let new = U16::from_bytes([self.ttl, self.protocol]);
        self.checksum = crate::checksum::update(self.checksum, old, new);
    }
}
