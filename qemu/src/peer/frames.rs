//! Frames to and from the guest.

use std::net::Ipv4Addr;

use anyhow::{Result, bail};
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    ArpOperation, ArpPacket, ArpRepr, EthernetAddress, EthernetFrame, EthernetProtocol, EthernetRepr,
    Icmpv4Packet, Icmpv4Repr, IpProtocol, Ipv4Packet, Ipv4Repr, UdpPacket, UdpRepr,
};

/// Who speaks with whom: several pairs may share a wire.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ends {
    /// The address that the manifests of the tests give the guest.
    guest_ip: Ipv4Addr,
    own_ip: Ipv4Addr,
    /// A locally administered one.
    own_mac: EthernetAddress,
}

impl Ends {
    /// Pair `number` of a wire.
    pub(super) fn pair(number: u8) -> Ends {
        Ends {
            guest_ip: Ipv4Addr::new(10, 0, 0, 2 + number),
            own_ip: Ipv4Addr::new(10, 0, 0, if number == 0 { 1 } else { 200 + number }),
            own_mac: EthernetAddress([0x02, 0xfe, 0, 0, 0, 1 + number]),
        }
    }
}

/// The echo port (RFC 862 "Echo Protocol").
const ECHO_PORT: u16 = 7;
/// Identifies our pings.
const PING_IDENT: u16 = 0x5745;

/// What the guest can answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// Its Ethernet address.
    Arp(EthernetAddress),
    /// To a ping.
    Ping { sequence: u16, payload: Vec<u8> },
    /// A datagram from the echo port.
    Udp { to_port: u16, payload: Vec<u8> },
}

impl Ends {
    pub(super) fn arp_request(&self) -> Vec<u8> {
        let arp = ArpRepr::EthernetIpv4 {
            operation: ArpOperation::Request,
            source_hardware_addr: self.own_mac,
            source_protocol_addr: self.own_ip,
            target_hardware_addr: EthernetAddress([0; 6]),
            target_protocol_addr: self.guest_ip,
        };
        self.ethernet(EthernetAddress::BROADCAST, EthernetProtocol::Arp, arp.buffer_len(), |bytes| {
            arp.emit(&mut ArpPacket::new_unchecked(bytes));
        })
    }

    pub(super) fn echo_request(&self, guest: EthernetAddress, sequence: u16, data: &[u8]) -> Vec<u8> {
        let ping = Icmpv4Repr::EchoRequest { ident: PING_IDENT, seq_no: sequence, data };
        self.ipv4(guest, IpProtocol::Icmp, ping.buffer_len(), |bytes| {
            ping.emit(&mut Icmpv4Packet::new_unchecked(bytes), &ChecksumCapabilities::default());
        })
    }

    pub(super) fn udp(&self, guest: EthernetAddress, from_port: u16, payload: &[u8]) -> Vec<u8> {
        let header = UdpRepr { src_port: from_port, dst_port: ECHO_PORT };
        self.ipv4(guest, IpProtocol::Udp, header.header_len() + payload.len(), |bytes| {
            header.emit(
                &mut UdpPacket::new_unchecked(bytes),
                &self.own_ip.into(),
                &self.guest_ip.into(),
                payload.len(),
                |room| room.copy_from_slice(payload),
                &ChecksumCapabilities::default(),
            );
        })
    }

    fn ipv4(
        &self,
        guest: EthernetAddress,
        protocol: IpProtocol,
        bytes: usize,
        fill: impl FnOnce(&mut [u8]),
    ) -> Vec<u8> {
        let header = Ipv4Repr {
            src_addr: self.own_ip,
            dst_addr: self.guest_ip,
            next_header: protocol,
            payload_len: bytes,
            hop_limit: 64,
        };
        self.ethernet(guest, EthernetProtocol::Ipv4, header.buffer_len() + bytes, |room| {
            let mut packet = Ipv4Packet::new_unchecked(room);
            header.emit(&mut packet, &ChecksumCapabilities::default());
            fill(packet.payload_mut());
        })
    }

    fn ethernet(
        &self,
        to: EthernetAddress,
        kind: EthernetProtocol,
        bytes: usize,
        fill: impl FnOnce(&mut [u8]),
    ) -> Vec<u8> {
        let header = EthernetRepr { src_addr: self.own_mac, dst_addr: to, ethertype: kind };
        let mut frame = EthernetFrame::new_unchecked(vec![0; header.buffer_len() + bytes]);
        header.emit(&mut frame);
        fill(frame.payload_mut());
        frame.into_inner()
    }

    /// Reads a frame; `None` where it is not for us or of no interest. A frame for us with a wrong length or
    /// checksum is an error: the guest made it.
    pub(super) fn read(&self, frame: &[u8]) -> Result<Option<Answer>> {
        let frame = EthernetFrame::new_checked(frame)?;
        if frame.dst_addr() != self.own_mac {
            return Ok(None);
        }
        match frame.ethertype() {
            EthernetProtocol::Arp => self.read_arp(frame.payload()),
            EthernetProtocol::Ipv4 => self.read_ipv4(frame.payload()),
            other => bail!("the guest sent a frame of type {other}"),
        }
    }

    fn read_arp(&self, bytes: &[u8]) -> Result<Option<Answer>> {
        let ArpRepr::EthernetIpv4 { operation, source_hardware_addr, source_protocol_addr, .. } =
            ArpRepr::parse(&ArpPacket::new_checked(bytes)?)?
        else {
            bail!("the guest sent ARP of an unknown kind");
        };
        let is_answer = operation == ArpOperation::Reply && source_protocol_addr == self.guest_ip;
        Ok(is_answer.then_some(Answer::Arp(source_hardware_addr)))
    }

    fn read_ipv4(&self, bytes: &[u8]) -> Result<Option<Answer>> {
        let checksums = ChecksumCapabilities::default();
        let packet = Ipv4Packet::new_checked(bytes)?;
        let header = Ipv4Repr::parse(&packet, &checksums)?;
        if (header.src_addr, header.dst_addr) != (self.guest_ip, self.own_ip) {
            bail!("the guest sent a packet from {} to {}", header.src_addr, header.dst_addr);
        }
        match header.next_header {
            IpProtocol::Icmp => read_ping(packet.payload(), &checksums),
            IpProtocol::Udp => self.read_udp(packet.payload(), &checksums).map(Some),
            other => bail!("the guest sent a packet of protocol {other}"),
        }
    }

    fn read_udp(&self, bytes: &[u8], checksums: &ChecksumCapabilities) -> Result<Answer> {
        let packet = UdpPacket::new_checked(bytes)?;
        let header = UdpRepr::parse(&packet, &self.guest_ip.into(), &self.own_ip.into(), checksums)?;
        if header.src_port != ECHO_PORT {
            bail!("the guest sent a datagram from port {}", header.src_port);
        }
        Ok(Answer::Udp { to_port: header.dst_port, payload: packet.payload().to_vec() })
    }
}

fn read_ping(bytes: &[u8], checksums: &ChecksumCapabilities) -> Result<Option<Answer>> {
    match Icmpv4Repr::parse(&Icmpv4Packet::new_checked(bytes)?, checksums)? {
        Icmpv4Repr::EchoReply { ident: PING_IDENT, seq_no, data } => {
            Ok(Some(Answer::Ping { sequence: seq_no, payload: data.to_vec() }))
        }
        other => bail!("the guest sent {other}"),
    }
}
