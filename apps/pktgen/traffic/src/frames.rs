//! Frames that are made: UDP datagrams or ICMP echo requests over IPv4, with right checksums.
//!
//! **Invariant: a frame made is as long as the room given, and its checksums are right.** Of its bytes behind the stamp the sum
//! is known beforehand, so a frame costs a copy and a few additions.

use alloc::boxed::Box;

use weir_net::checksum::Sum;
use weir_net::ethernet::{self, TYPE_IPV4};
use weir_net::ipv4::{self, Ipv4Address, PROTOCOL_ICMP, PROTOCOL_UDP, TTL};
use weir_net::{MacAddress, icmp, udp};
use zerocopy::IntoBytes;
use zerocopy::network_endian::U16;

use crate::stamp::{FILLING, FILLING_BYTES, STAMP_BYTES, Stamp};

/// Bytes before the stamp. The headers of UDP and of ICMP echo are of one length.
pub const HEADERS_BYTES: usize = 42;
const ETHERNET_BYTES: usize = size_of::<ethernet::Header>();
const IPV4_BYTES: usize = size_of::<ipv4::Header>();
const _: () = assert!(ETHERNET_BYTES + IPV4_BYTES + size_of::<udp::Header>() == HEADERS_BYTES);
/// What a packet, and what is in it, are shorter than the frame.
const OUTSIDE: u16 = 14;
const OUTSIDE_INNER: u16 = 34;
const _: () =
    assert!(OUTSIDE as usize == ETHERNET_BYTES && OUTSIDE_INNER as usize == ETHERNET_BYTES + IPV4_BYTES);
const _: () = assert!(size_of::<udp::Header>() == size_of::<icmp::Header>());

/// Who sends to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Path {
    /// The sender's address on the link.
    pub own_mac: MacAddress,
    /// Its address.
    pub own: Ipv4Address,
    /// Who gets the frame on the link.
    pub next_mac: MacAddress,
    /// To whom.
    pub to: Ipv4Address,
}

/// What a frame is to its receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A datagram.
    Udp {
        /// From this port, and as many after it as there are flows.
        from: u16,
        /// To this port.
        to: u16,
        /// How many flows take turns, from 1.
        flows: u16,
    },
    /// An echo request, whose sequence number is the lower half of the stamp's.
    Ping {
        /// Whose.
        identifier: u16,
    },
}

/// Makes frames.
#[derive(Debug)]
pub struct Frames {
    ethernet: ethernet::Header,
    ipv4: ipv4::Header,
    kind: Kind,
    /// Sums of the first so many bytes of the filling.
    sums: Box<[Sum]>,
}

impl Frames {
    /// Those of one path.
    #[must_use]
    pub fn new(path: &Path, kind: Kind) -> Frames {
        let Path { own_mac, own, next_mac, to } = *path;
        let ethernet = ethernet::Header { destination: next_mac, source: own_mac, ethertype: TYPE_IPV4 };
        let protocol = if matches!(kind, Kind::Udp { .. }) { PROTOCOL_UDP } else { PROTOCOL_ICMP };
        let ipv4 = ipv4::Header {
            version_and_words: ipv4::Header::WITHOUT_OPTIONS,
            service: 0,
            total_bytes: U16::ZERO,
            identification: U16::ZERO,
            fragment: U16::ZERO,
            ttl: TTL,
            protocol,
            checksum: U16::ZERO,
            source: own,
            destination: to,
        };
        let sums = (0..=FILLING_BYTES).map(|bytes| Sum::of(&FILLING[..bytes])).collect();
        Frames { ethernet, ipv4, kind, sums }
    }

    /// Makes a frame in `room`, as long as it is; `false`, and nothing, where it has no room for a stamp or for a filling that long.
    #[must_use]
    #[inline]
    pub fn write(&self, room: &mut [u8], stamp: Stamp) -> bool {
        let Ok(total) = u16::try_from(room.len()) else { return false };
        let Some((headers, payload)) = room.split_first_chunk_mut::<HEADERS_BYTES>() else { return false };
        let Some((stamp_room, filling)) = payload.split_first_chunk_mut::<STAMP_BYTES>() else {
            return false;
        };
        let Some((source, sum)) = FILLING.get(..filling.len()).zip(self.sums.get(filling.len())) else {
            return false;
        };
        stamp_room.copy_from_slice(stamp.as_bytes());
        filling.copy_from_slice(source);
        // There is room for the headers, so the lengths are not negative.
        let (packet_bytes, inner_bytes) =
            (total.saturating_sub(OUTSIDE), total.saturating_sub(OUTSIDE_INNER));
        let mut ipv4 = ipv4::Header { total_bytes: U16::new(packet_bytes), ..self.ipv4 };
        ipv4.checksum = Sum::of(ipv4.as_bytes()).checksum();
        let payload = Sum::of(stamp.as_bytes()).plus(*sum);
        headers[..ETHERNET_BYTES].copy_from_slice(self.ethernet.as_bytes());
        headers[ETHERNET_BYTES..][..IPV4_BYTES].copy_from_slice(ipv4.as_bytes());
        headers[ETHERNET_BYTES + IPV4_BYTES..].copy_from_slice(&self.inner(
            &ipv4,
            inner_bytes,
            stamp,
            payload,
        ));
        true
    }

    /// The header behind the IP header, of a message of `bytes` whose payload has that sum.
    #[inline]
    fn inner(&self, ipv4: &ipv4::Header, bytes: u16, stamp: Stamp, payload: Sum) -> [u8; 8] {
        match self.kind {
            Kind::Udp { from, to, flows } => {
                let turn = u16::try_from(stamp.sequence.get() % u64::from(flows.max(1))).unwrap_or(0);
                let mut header = udp::Header {
                    source: U16::new(from.wrapping_add(turn)),
                    destination: U16::new(to),
                    bytes: U16::new(bytes),
                    checksum: U16::ZERO,
                };
                let sum = ipv4.pseudo_header(bytes).plus(Sum::of(header.as_bytes())).plus(payload);
                // 0 would say that there is none (RFC 768).
                let checksum = sum.checksum();
                header.checksum = if checksum == U16::ZERO { U16::MAX_VALUE } else { checksum };
                zerocopy::transmute!(header)
            }
            Kind::Ping { identifier } => {
                let [a, b] = identifier.to_be_bytes();
                let [.., c, d] = stamp.sequence.to_bytes();
                let mut header = icmp::Header {
                    type_and_code: icmp::ECHO_REQUEST,
                    checksum: U16::ZERO,
                    rest: [a, b, c, d],
                };
                header.checksum = Sum::of(header.as_bytes()).plus(payload).checksum();
                zerocopy::transmute!(header)
            }
        }
    }
}
