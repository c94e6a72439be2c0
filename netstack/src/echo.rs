//! Answers a frame in place: ARP requests, ICMP echo, UDP echo (RFC 862).
//!
//! **Invariant: a frame is changed only when it is answered**, and then its answer has the same length.
//! Does not answer groups, broadcasts, fragments, or packets with IP options.

use crate::checksum::{Sum, update};
use crate::ethernet::{TYPE_ARP, TYPE_IPV4};
use crate::ipv4::{PROTOCOL_ICMP, PROTOCOL_UDP};
use crate::udp::PORT_ECHO;
use crate::{Ipv4Address, Ipv4Network, MacAddress, arp, ethernet, icmp, ipv4, udp};

/// What became of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It is its answer now: send it.
    Send,
    /// There is no answer; the frame is as it was.
    Ignore(Ignored),
}

/// Why a frame has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ignored {
    /// Shorter than its headers, or than they say it is; or they contradict themselves.
    Malformed,
    /// A checksum is wrong.
    BadChecksum,
    /// Meant for somebody else.
    NotForUs,
    /// From an address that no host can have.
    BadSource,
    /// Part of a datagram, or with IP options.
    NotPlain,
    /// A protocol, a type or a port that nobody answers here.
    NoService,
}

/// Answers for one address.
#[derive(Clone, Copy, Debug)]
pub struct EchoResponder {
    mac: MacAddress,
    network: Ipv4Network,
    broadcast: Option<Ipv4Address>,
}

impl EchoResponder {
    /// Answers for `network.address` at `mac`.
    #[must_use]
    pub fn new(mac: MacAddress, network: Ipv4Network) -> EchoResponder {
        EchoResponder { mac, network, broadcast: network.broadcast() }
    }

    /// Turns `frame` into its answer, or says why it has none.
    #[inline]
    pub fn answer(&self, frame: &mut [u8]) -> Answer {
        match self.try_answer(frame) {
            Ok(()) => Answer::Send,
            Err(why) => Answer::Ignore(why),
        }
    }

    #[inline]
    fn try_answer(&self, frame: &mut [u8]) -> Result<(), Ignored> {
        let (ethernet, payload) = header::<ethernet::Header>(frame)?;
        if ethernet.source.is_group() {
            return Err(Ignored::BadSource);
        }
        let is_ours = ethernet.destination == self.mac;
        let back = match ethernet.ethertype {
            TYPE_IPV4 if is_ours => self.answer_ipv4(payload).map(|()| ethernet.source),
            TYPE_ARP if is_ours || ethernet.destination == MacAddress::BROADCAST => self.answer_arp(payload),
            TYPE_IPV4 | TYPE_ARP => Err(Ignored::NotForUs),
            _ => Err(Ignored::NoService),
        }?;
        ethernet.destination = back;
        ethernet.source = self.mac;
        Ok(())
    }

    /// Answers an ARP request; returns to whom. RFC 5227 §1.1: probes have no sender address, and are answered.
    fn answer_arp(&self, payload: &mut [u8]) -> Result<MacAddress, Ignored> {
        let (arp, _) = header::<arp::Packet>(payload)?;
        if !arp.is_ipv4_on_ethernet() || arp.operation != arp::REQUEST {
            return Err(Ignored::NoService);
        }
        if arp.target_ip != self.network.address {
            return Err(Ignored::NotForUs);
        }
        if arp.sender_mac.is_group() {
            return Err(Ignored::BadSource);
        }
        arp.operation = arp::REPLY;
        (arp.target_mac, arp.target_ip) = (arp.sender_mac, arp.sender_ip);
        (arp.sender_mac, arp.sender_ip) = (self.mac, self.network.address);
        Ok(arp.target_mac)
    }

    #[inline]
    fn answer_ipv4(&self, payload: &mut [u8]) -> Result<(), Ignored> {
        let (ip, rest) = header::<ipv4::Header>(payload)?;
        if ip.version_and_words != ipv4::Header::WITHOUT_OPTIONS || ip.is_fragment() {
            return Err(Ignored::NotPlain);
        }
        if ip.destination != self.network.address {
            return Err(Ignored::NotForUs);
        }
        if !ip.source.is_host() || Some(ip.source) == self.broadcast || ip.source == ip.destination {
            return Err(Ignored::BadSource);
        }
        if !ip.is_checksum_valid() {
            return Err(Ignored::BadChecksum);
        }
        // Ethernet pads short frames, so the datagram may end before the frame does, but not after.
        let bytes = ip.payload_bytes().ok_or(Ignored::Malformed)?;
        let data = rest.get_mut(..bytes).ok_or(Ignored::Malformed)?;
        match ip.protocol {
            PROTOCOL_ICMP => answer_icmp(data),
            PROTOCOL_UDP => answer_udp(ip, data),
            _ => Err(Ignored::NoService),
        }?;
        ip.turn_round();
        Ok(())
    }
}

fn answer_icmp(data: &mut [u8]) -> Result<(), Ignored> {
    let sum = Sum::of(data);
    let (icmp, _) = header::<icmp::Header>(data)?;
    if icmp.type_and_code != icmp::ECHO_REQUEST {
        return Err(Ignored::NoService);
    }
    if !sum.is_whole() {
        return Err(Ignored::BadChecksum);
    }
    icmp.checksum = update(icmp.checksum, icmp::ECHO_REQUEST, icmp::ECHO_REPLY);
    icmp.type_and_code = icmp::ECHO_REPLY;
    Ok(())
}

#[inline]
fn answer_udp(ip: &ipv4::Header, data: &mut [u8]) -> Result<(), Ignored> {
    let (udp, _) = header::<udp::Header>(data)?;
    let (bytes, has_checksum) = (udp.bytes.get(), udp.checksum.get() != 0);
    // An echo port as source would make two echo services answer each other for ever.
    if udp.destination != PORT_ECHO || udp.source == PORT_ECHO || udp.source.get() == 0 {
        return Err(Ignored::NoService);
    }
    let datagram = data.get(..bytes.into()).ok_or(Ignored::Malformed)?;
    if datagram.len() < size_of::<udp::Header>() {
        return Err(Ignored::Malformed);
    }
    if has_checksum && !ip.pseudo_header(bytes).plus(Sum::of(datagram)).is_whole() {
        return Err(Ignored::BadChecksum);
    }
    // Ports and addresses change places, so the sum, and with it the checksum, stays the same.
    let (udp, _) = header::<udp::Header>(data)?;
    core::mem::swap(&mut udp.source, &mut udp.destination);
    Ok(())
}

/// The header at the start of `bytes`, and what follows it.
#[inline]
fn header<H>(bytes: &mut [u8]) -> Result<(&mut H, &mut [u8]), Ignored>
where
    H: zerocopy::FromBytes + zerocopy::IntoBytes + zerocopy::KnownLayout + zerocopy::Unaligned,
{
    H::mut_from_prefix(bytes).map_err(|_| Ignored::Malformed)
}
