//! Whom a frame concerns: the addresses and ports in its headers.
//!
//! **Invariant: the ranges of a [`Packet`] lie in the frame it was made of.** Checksums are not looked at here.

use core::ops::Range;

use smoltcp::wire::{
    EthernetAddress, EthernetFrame, EthernetProtocol, IpAddress, IpEndpoint, IpProtocol, Ipv4Packet,
    Ipv6Packet, TcpPacket, UdpPacket,
};

/// Both ends of a connection, seen from here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Flow {
    pub(crate) local: IpEndpoint,
    pub(crate) remote: IpEndpoint,
}

/// A frame's IP packet, whole and without extension headers.
#[derive(Clone, Debug)]
pub(crate) struct Packet {
    pub(crate) to: EthernetAddress,
    pub(crate) source: IpAddress,
    pub(crate) destination: IpAddress,
    /// Where the IP header is.
    pub(crate) header: Range<usize>,
    /// Where what it carries is, without the padding of short frames.
    pub(crate) payload: Range<usize>,
}

/// What is in a frame.
#[derive(Clone, Debug)]
pub(crate) enum Kind {
    /// A TCP segment; whether it asks for a connection.
    Tcp { packet: Packet, flow: Flow, is_syn: bool },
    /// A UDP datagram, and its data.
    Udp { packet: Packet, flow: Flow, data: Range<usize> },
    /// What the interface deals with itself: ARP, ICMP, neighbour discovery, fragments.
    Other,
    /// Shorter than its headers say, or a fragment of a TCP segment, which no sender needs.
    Unusable,
}

/// Reads the headers of `frame`.
pub(crate) fn classify(frame: &[u8]) -> Kind {
    let Ok(ethernet) = EthernetFrame::new_checked(frame) else { return Kind::Unusable };
    match ethernet.ethertype() {
        EthernetProtocol::Ipv4 => classify_ipv4(frame, &ethernet),
        EthernetProtocol::Ipv6 => classify_ipv6(frame, &ethernet),
        EthernetProtocol::Arp => Kind::Other,
        EthernetProtocol::Unknown(_) => Kind::Unusable,
    }
}

fn classify_ipv4(frame: &[u8], ethernet: &EthernetFrame<&[u8]>) -> Kind {
    let Ok(ip) = Ipv4Packet::new_checked(ethernet.payload()) else { return Kind::Unusable };
    if ip.more_frags() || ip.frag_offset() != 0 {
        return if ip.next_header() == IpProtocol::Tcp { Kind::Unusable } else { Kind::Other };
    }
    let start = EthernetFrame::<&[u8]>::header_len();
    let (header, total) = (usize::from(ip.header_len()), usize::from(ip.total_len()));
    if header < IPV4_HEADER {
        return Kind::Unusable;
    }
    // An answer made in place would have the request's options.
    if header > IPV4_HEADER && ip.next_header() == IpProtocol::Udp {
        return Kind::Other;
    }
    let packet = Packet {
        to: ethernet.dst_addr(),
        source: ip.src_addr().into(),
        destination: ip.dst_addr().into(),
        header: start..start + header,
        payload: start + header..start + total,
    };
    classify_ip(frame, packet, ip.next_header())
}

fn classify_ipv6(frame: &[u8], ethernet: &EthernetFrame<&[u8]>) -> Kind {
    let Ok(ip) = Ipv6Packet::new_checked(ethernet.payload()) else { return Kind::Unusable };
    let start = EthernetFrame::<&[u8]>::header_len();
    let header = ip.header_len();
    let packet = Packet {
        to: ethernet.dst_addr(),
        source: ip.src_addr().into(),
        destination: ip.dst_addr().into(),
        header: start..start + header,
        payload: start + header..start + ip.total_len(),
    };
    classify_ip(frame, packet, ip.next_header())
}

fn classify_ip(frame: &[u8], packet: Packet, protocol: IpProtocol) -> Kind {
    let Some(payload) = frame.get(packet.payload.clone()) else { return Kind::Unusable };
    let flow = |from: u16, to: u16| Flow {
        local: IpEndpoint::new(packet.destination, to),
        remote: IpEndpoint::new(packet.source, from),
    };
    match protocol {
        IpProtocol::Tcp => {
            let Ok(tcp) = TcpPacket::new_checked(payload) else { return Kind::Unusable };
            let flow = flow(tcp.src_port(), tcp.dst_port());
            Kind::Tcp { flow, is_syn: tcp.syn() && !tcp.ack() && !tcp.rst(), packet }
        }
        IpProtocol::Udp => {
            let Ok(udp) = UdpPacket::new_checked(payload) else { return Kind::Unusable };
            let flow = flow(udp.src_port(), udp.dst_port());
            let start = packet.payload.start;
            Kind::Udp { flow, data: start + UDP_HEADER..start + usize::from(udp.len()), packet }
        }
        _ => Kind::Other,
    }
}

/// IP's number of TCP.
pub(crate) const PROTOCOL_TCP: u8 = 6;
/// Bytes of an IPv4 header without options.
const IPV4_HEADER: usize = 20;
/// Bytes of a UDP header.
pub(crate) const UDP_HEADER: usize = 8;
