//! Frames of hosts that mean no good, to the service at [`VICTIM`].
//!
//! Each is made for its number, so that floods of a kind differ from frame to frame.

use std::net::Ipv4Addr;

use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    ArpOperation, ArpPacket, ArpRepr, EthernetAddress, EthernetFrame, EthernetProtocol, EthernetRepr,
    Icmpv4Packet, Icmpv4Repr, IpProtocol, Ipv4Packet, Ipv4Repr, TcpControl, TcpPacket, TcpRepr, TcpSeqNumber,
    UdpPacket, UdpRepr,
};
use weir_runner::peer::GUEST_MAC;

use crate::cases::tap::NEAR as VICTIM;

/// Where the frames come from; answers go there, too.
const OWN_MAC: EthernetAddress = EthernetAddress([0x02, 0xfe, 0, 0, 0, 1]);
const ECHO: u16 = 7;

/// Numbers that look like chance, and are the same in each run (Knuth, MMIX).
fn mixed(number: u32) -> [u8; 8] {
    u64::from(number + 1)
        .wrapping_mul(6_364_136_223_846_793_005)
        .wrapping_add(1_442_695_040_888_963_407)
        .to_be_bytes()
}

/// A made-up host on the link.
fn neighbour(number: u32) -> Ipv4Addr {
    // 2 is this host, which is real.
    let last = mixed(number)[0] % 250 + 3;
    let [a, b, c, victim] = VICTIM.octets();
    Ipv4Addr::new(a, b, c, if last == victim { victim + 1 } else { last })
}

/// A made-up host behind the gateway.
fn stranger(number: u32) -> Ipv4Addr {
    let [a, b, c, ..] = mixed(number);
    Ipv4Addr::new(44, a, b, c)
}

fn ethernet(kind: EthernetProtocol, payload: &[u8]) -> Vec<u8> {
    let header = EthernetRepr { src_addr: OWN_MAC, dst_addr: GUEST_MAC, ethertype: kind };
    let mut frame = EthernetFrame::new_unchecked(vec![0; header.buffer_len() + payload.len()]);
    header.emit(&mut frame);
    frame.payload_mut().copy_from_slice(payload);
    frame.into_inner()
}

fn ipv4(from: Ipv4Addr, next_header: IpProtocol, payload: &[u8]) -> Vec<u8> {
    let header =
        Ipv4Repr { src_addr: from, dst_addr: VICTIM, next_header, payload_len: payload.len(), hop_limit: 64 };
    let mut bytes = vec![0; header.buffer_len() + payload.len()];
    let mut packet = Ipv4Packet::new_unchecked(&mut bytes);
    header.emit(&mut packet, &ChecksumCapabilities::default());
    packet.payload_mut().copy_from_slice(payload);
    bytes
}

/// A frame of a kind that nobody knows (IEEE 802 "Local Experimental EtherType 1").
pub(super) fn nothing(_: u32) -> Vec<u8> {
    ethernet(EthernetProtocol::Unknown(0x88b5), &[0; 46])
}

/// A request for a connection, from behind the gateway.
pub(super) fn syn_of_stranger(number: u32) -> Vec<u8> {
    syn(stranger(number), number)
}

/// The same from the link, where the answer needs a hardware address that nobody has.
pub(super) fn syn_of_neighbour(number: u32) -> Vec<u8> {
    syn(neighbour(number), number)
}

fn syn(from: Ipv4Addr, number: u32) -> Vec<u8> {
    let [.., a, b, c, d] = mixed(number);
    let segment = TcpRepr {
        src_port: u16::from_be_bytes([a | 4, b]),
        dst_port: ECHO,
        control: TcpControl::Syn,
        seq_number: TcpSeqNumber(i32::from_be_bytes([a, b, c, d])),
        ack_number: None,
        window_len: 64_000,
        window_scale: Some(7),
        max_seg_size: Some(1460),
        sack_permitted: true,
        sack_ranges: [None; 3],
        timestamp: None,
        payload: &[],
    };
    let mut bytes = vec![0; segment.buffer_len()];
    let mut packet = TcpPacket::new_unchecked(&mut bytes);
    segment.emit(&mut packet, &from.into(), &VICTIM.into(), &ChecksumCapabilities::default());
    ethernet(EthernetProtocol::Ipv4, &ipv4(from, IpProtocol::Tcp, &bytes))
}

/// Asks for the victim's address, as somebody else each time, or says that somebody else has it.
pub(super) fn arp(number: u32) -> Vec<u8> {
    let [a, b, c, d, ..] = mixed(number);
    let source = if number % 4 == 3 { VICTIM } else { neighbour(number) };
    let arp = ArpRepr::EthernetIpv4 {
        operation: if number % 4 == 2 { ArpOperation::Reply } else { ArpOperation::Request },
        source_hardware_addr: EthernetAddress([0x02, 0xaa, a, b, c, d]),
        source_protocol_addr: source,
        target_hardware_addr: EthernetAddress([0; 6]),
        target_protocol_addr: VICTIM,
    };
    let mut bytes = vec![0; arp.buffer_len()];
    arp.emit(&mut ArpPacket::new_unchecked(&mut bytes));
    ethernet(EthernetProtocol::Arp, &bytes)
}

/// Long pings from everywhere, and datagrams for ports that nobody serves: each asks for an answer.
pub(super) fn ping(number: u32) -> Vec<u8> {
    let from = if number.is_multiple_of(2) { stranger(number) } else { neighbour(number) };
    let (data, caps) = (vec![7; 1400], ChecksumCapabilities::default());
    if number % 4 < 2 {
        let ping = Icmpv4Repr::EchoRequest { ident: 1, seq_no: 2, data: &data };
        let mut bytes = vec![0; ping.buffer_len()];
        ping.emit(&mut Icmpv4Packet::new_unchecked(&mut bytes), &caps);
        return ethernet(EthernetProtocol::Ipv4, &ipv4(from, IpProtocol::Icmp, &bytes));
    }
    let header = UdpRepr { src_port: 4000, dst_port: 9 };
    let mut bytes = vec![0; header.header_len() + data.len()];
    let mut packet = UdpPacket::new_unchecked(&mut bytes);
    header.emit(
        &mut packet,
        &from.into(),
        &VICTIM.into(),
        data.len(),
        |room| room.copy_from_slice(&data),
        &caps,
    );
    ethernet(EthernetProtocol::Ipv4, &ipv4(from, IpProtocol::Udp, &bytes))
}

/// Fragments that are never whole: of many packets; of one, over each other, with other contents; beyond the end of any packet;
/// of nothing.
pub(super) fn fragment(number: u32) -> Vec<u8> {
    let [a, b, ..] = mixed(number);
    let (ident, offset, more, bytes) = match number % 5 {
        0 => (number, 0, true, 1000),
        1 => (number, 1480, true, 1480),
        2 => (1, u32::from(a) * 8, true, 8 + usize::from(b)),
        3 => (number % 8, 65_528, false, 1000),
        _ => (number % 8, u32::from(b) * 8, b % 2 == 0, 0),
    };
    let protocol = [IpProtocol::Icmp, IpProtocol::Udp, IpProtocol::Tcp][usize::from(a % 3)];
    let mut packet = ipv4(neighbour(number % 16), protocol, &vec![a; bytes]);
    let mut header = Ipv4Packet::new_unchecked(&mut packet);
    header.set_ident(u16::try_from(ident % 0x1_0000).expect("16 bits"));
    header.set_dont_frag(false);
    header.set_more_frags(more);
    header.set_frag_offset(u16::try_from(offset).expect("below 64 KiB"));
    header.fill_checksum();
    ethernet(EthernetProtocol::Ipv4, &packet)
}

/// The same over IPv6, where fragments have a header of their own (RFC 8200 §4.5 "Fragment Header"), and other extension headers in
/// long rows.
pub(super) fn fragment_ipv6(number: u32) -> Vec<u8> {
    const FRAGMENT: u8 = 44;
    const DESTINATION_OPTIONS: u8 = 60;
    const ICMPV6: u8 = 58;
    let [a, b, c, d, ..] = mixed(number);
    let mut packet = vec![0x60, 0, 0, 0, 0, 0, FRAGMENT, 64];
    packet.extend([0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, a, b, c, d, 1]);
    // The address that the victim gives itself, from its hardware address.
    packet.extend([0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0x50, 0x54, 0, 0xff, 0xfe, 0x12, 0x34, 0x56]);
    if number.is_multiple_of(4) {
        packet[6] = DESTINATION_OPTIONS;
        for _ in 0..usize::from(b % 100) {
            packet.extend([DESTINATION_OPTIONS, 0, 1, 4, 0, 0, 0, 0]);
        }
    }
    packet.extend([ICMPV6, 0, a, b & 0xf8 | 1, 0, 0, c, d]);
    packet.extend(vec![0x80; usize::from(c) * 4]);
    let payload = u16::try_from(packet.len() - 40).expect("short").to_be_bytes();
    packet[4..6].copy_from_slice(&payload);
    ethernet(EthernetProtocol::Ipv6, &packet)
}
