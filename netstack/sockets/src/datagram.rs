//! UDP without sockets: a datagram is answered where it lies, or into another buffer of the pool.
//!
//! **Invariant: a service sees only datagrams that arrived whole, for this host, from an address that a host can have.**
//! Fragments and IP options do not come here.

use core::ops::Range;

use smoltcp::wire::{EthernetAddress, IpAddress, IpEndpoint};
use weir_net::checksum::Sum;
use weir_net::{ipv4, udp};
use zerocopy::FromBytes;
use zerocopy::network_endian::U16;

use crate::flow::{Flow, Packet, UDP_HEADER};

/// What a service answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Nothing.
    Nothing,
    /// As many bytes at the start of the request, as they are now.
    InPlace(usize),
    /// As many bytes at the start of the room for an answer.
    InRoom(usize),
}

/// A datagram and room for its answer.
#[derive(Debug)]
pub struct Datagram<'a> {
    /// From whom.
    pub from: IpEndpoint,
    /// To which of this host's addresses.
    pub to: IpEndpoint,
    /// Its data.
    pub data: &'a mut [u8],
    /// Room for an answer; its bytes are left over from whatever was there.
    pub room: &'a mut [u8],
    /// Nanoseconds on the clock of who runs the stack.
    pub now_ns: u64,
}

/// Answers datagrams. It is called by the stack, so it must not call the stack.
pub(crate) type Service = alloc::boxed::Box<dyn FnMut(Datagram<'_>) -> Reply>;

/// Whether the IP header and the datagram arrived whole.
pub(crate) fn is_whole(frame: &[u8], packet: &Packet, is_checksum_good: bool) -> bool {
    let header = &frame[packet.header.clone()];
    let is_ipv4 = matches!(packet.source, IpAddress::Ipv4(_));
    if is_ipv4 && !Sum::of(header).is_whole() {
        return false;
    }
    let payload = &frame[packet.payload.clone()];
    let has_checksum = payload[6..8] != [0, 0];
    let bytes = usize::from(u16::from_be_bytes([payload[4], payload[5]]));
    is_checksum_good
        || (is_ipv4 && !has_checksum)
        || is_sum_whole(packet, ipv4::PROTOCOL_UDP, &payload[..bytes.min(payload.len())])
}

/// Whether `payload`, which contains a checksum over itself and the pseudo-header, is whole (RFC 768; RFC 9293 §3.1
/// "Header Format"; RFC 8200 §8.1 "Upper-Layer Checksums").
pub(crate) fn is_sum_whole(packet: &Packet, protocol: u8, payload: &[u8]) -> bool {
    sum(packet.source, packet.destination, protocol, payload).is_whole()
}

fn sum(source: IpAddress, destination: IpAddress, protocol: u8, payload: &[u8]) -> Sum {
    #[expect(clippy::cast_possible_truncation, reason = "a packet's length has 16 bits")]
    let bytes = payload.len() as u16;
    pseudo_sum(source, destination, protocol, bytes).plus(Sum::of(payload))
}

/// The pseudo-header's part of the sum.
pub(crate) fn pseudo_sum(source: IpAddress, destination: IpAddress, protocol: u8, bytes: u16) -> Sum {
    let address = |address: IpAddress| match address {
        IpAddress::Ipv4(address) => Sum::of(&address.octets()),
        IpAddress::Ipv6(address) => Sum::of(&address.octets()),
    };
    address(source)
        .plus(address(destination))
        .plus(Sum::of(&[0, protocol]))
        .plus(Sum::of(&bytes.to_be_bytes()))
}

/// Whether `address` is one that a host can send from.
pub(crate) fn is_host(address: IpAddress) -> bool {
    match address {
        IpAddress::Ipv4(address) => ipv4::Ipv4Address(address.octets()).is_host(),
        IpAddress::Ipv6(address) => {
            !address.is_multicast() && !address.is_unspecified() && !address.is_loopback()
        }
    }
}

/// Turns the headers of `frame` round for an answer of `bytes` that lies behind them, and gives the answer's length.
/// `data` is where the answer begins.
pub(crate) fn turn_round(
    frame: &mut [u8],
    mac: EthernetAddress,
    packet: &Packet,
    flow: &Flow,
    data: &Range<usize>,
    bytes: usize,
) -> usize {
    let end = data.start + bytes;
    frame.copy_within(6..12, 0);
    frame[6..12].copy_from_slice(mac.as_bytes());
    let header = &mut frame[packet.header.clone()];
    #[expect(clippy::cast_possible_truncation, reason = "no frame is that long")]
    let udp_bytes = (UDP_HEADER + bytes) as u16;
    match packet.source {
        IpAddress::Ipv4(_) => turn_ipv4(header, udp_bytes),
        IpAddress::Ipv6(_) => turn_ipv6(header, udp_bytes),
    }
    let (source, destination) = (U16::new(flow.local.port), U16::new(flow.remote.port));
    let datagram = &mut frame[packet.payload.start..end];
    if let Ok((header, _)) = udp::Header::mut_from_prefix(datagram) {
        *header = udp::Header { source, destination, bytes: U16::new(udp_bytes), checksum: U16::ZERO };
    }
    let checksum = sum(flow.local.addr, flow.remote.addr, ipv4::PROTOCOL_UDP, datagram).checksum();
    if let Ok((header, _)) = udp::Header::mut_from_prefix(datagram) {
        // 0 would say that there is none (RFC 768).
        header.checksum = if checksum == U16::ZERO { U16::MAX_VALUE } else { checksum };
    }
    end
}

fn turn_ipv4(header: &mut [u8], payload_bytes: u16) {
    let Ok((header, _)) = ipv4::Header::mut_from_prefix(header) else { return };
    core::mem::swap(&mut header.source, &mut header.destination);
    header.total_bytes = U16::new(payload_bytes.saturating_add(20));
    header.identification = U16::ZERO;
    header.fragment = U16::new(DONT_FRAGMENT);
    header.ttl = ipv4::TTL;
    header.checksum = U16::ZERO;
    header.checksum = Sum::of(zerocopy::IntoBytes::as_bytes(header)).checksum();
}

/// "Don't fragment", without which an identification of 0 would not do (RFC 6864 §4.1 "IPv4 ID Used Only for
/// Fragmentation").
const DONT_FRAGMENT: u16 = 1 << 14;

fn turn_ipv6(header: &mut [u8], payload_bytes: u16) {
    header[4..6].copy_from_slice(&payload_bytes.to_be_bytes());
    header[7] = ipv4::TTL;
    let (_, addresses) = header.split_at_mut(8);
    let (source, destination) = addresses.split_at_mut(16);
    source.swap_with_slice(destination);
}
