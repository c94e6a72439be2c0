//! Whom frames go to on the link: address resolution as who asks sees it (RFC 826).

use weir_net::ethernet::{self, TYPE_ARP};
use weir_net::{Ipv4Address, Ipv4Network, MacAddress, arp};
use zerocopy::network_endian::U16;
use zerocopy::{FromBytes, IntoBytes};

const ETHERNET_BYTES: usize = size_of::<ethernet::Header>();
const ARP_BYTES: usize = size_of::<arp::Packet>();
/// Bytes of a question: as short as a frame can be.
pub const REQUEST_BYTES: usize = crate::size::FRAME_MIN_BYTES;

/// Who is asked for `to`: itself on the own network, else the gateway, if there is one.
#[must_use]
pub fn next_hop(own: Ipv4Network, gateway: Option<Ipv4Address>, to: Ipv4Address) -> Option<Ipv4Address> {
    let number = |address: Ipv4Address| u32::from_be_bytes(address.0);
    let differs = number(own.address) ^ number(to);
    let is_near = u32::MAX.checked_shl(32 - u32::from(own.prefix)).is_none_or(|mask| differs & mask == 0);
    if is_near { Some(to) } else { gateway }
}

/// "Who has `wanted`?"
#[must_use]
pub fn request(mac: MacAddress, own: Ipv4Address, wanted: Ipv4Address) -> [u8; REQUEST_BYTES] {
    let ethernet = ethernet::Header { destination: MacAddress::BROADCAST, source: mac, ethertype: TYPE_ARP };
    let packet = arp::Packet {
        hardware: U16::new(1),
        protocol: U16::new(0x0800),
        hardware_bytes: 6,
        protocol_bytes: 4,
        operation: arp::REQUEST,
        sender_mac: mac,
        sender_ip: own,
        target_mac: MacAddress([0; 6]),
        target_ip: wanted,
    };
    let mut frame = [0; REQUEST_BYTES];
    frame[..ETHERNET_BYTES].copy_from_slice(ethernet.as_bytes());
    frame[ETHERNET_BYTES..][..ARP_BYTES].copy_from_slice(packet.as_bytes());
    frame
}

/// Who has `wanted`, where `frame` tells it to `mac`. An address of a group, which no host has, is not believed.
#[must_use]
pub fn answer(frame: &[u8], mac: MacAddress, wanted: Ipv4Address) -> Option<MacAddress> {
    let (ethernet, rest) = ethernet::Header::read_from_prefix(frame).ok()?;
    let (packet, _) = arp::Packet::read_from_prefix(rest).ok()?;
    let is_answer = (ethernet.destination, ethernet.ethertype) == (mac, TYPE_ARP)
        && packet.is_ipv4_on_ethernet()
        && (packet.operation, packet.sender_ip) == (arp::REPLY, wanted);
    (is_answer && !packet.sender_mac.is_group()).then_some(packet.sender_mac)
}
