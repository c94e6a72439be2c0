//! Turns a packet round: the addresses of Ethernet, of IPv4 or IPv6, and the ports of TCP or UDP change places.
//!
//! No checksum changes: each is a sum that does not depend on the order of its words. VLAN tags are passed over. Headers
//! are taken at their word where testpmd takes them so (the lengths of packet and datagram are not looked at), and
//! **nothing is changed from the first header that does not fit into the frame**.

use core::mem::swap as exchange;

use weir_net::ethernet::{self, TYPE_IPV4};
use weir_net::ipv4::{self, PROTOCOL_UDP};
use zerocopy::network_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// EtherType of IPv6 (RFC 2464 §3 "Frame Format").
const TYPE_IPV6: U16 = U16::new(0x86dd);
/// EtherType of a customer's VLAN tag, and of a provider's (IEEE 802.1Q §9.5 "Tag Protocol identification").
const TAGS: [U16; 2] = [U16::new(0x8100), U16::new(0x88a8)];
/// Protocol number of TCP.
const PROTOCOL_TCP: u8 = 6;
/// In [`ipv4::Header::fragment`]: where in the datagram the fragment is.
const FRAGMENT_OFFSET: u16 = 0x1fff;

/// A VLAN tag, as far as it is behind the EtherType that announces it.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Tag {
    control: U16,
    ethertype: U16,
}

/// An IPv6 header (RFC 8200 §3 "IPv6 Header Format").
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Ipv6 {
    version_class_flow: [u8; 4],
    payload_bytes: U16,
    next_header: u8,
    hop_limit: u8,
    source: [u8; 16],
    destination: [u8; 16],
}
const _: () = assert!(size_of::<Ipv6>() == 40);

/// Start of TCP (RFC 9293 §3.1 "Header Format") and UDP.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Ports {
    source: U16,
    destination: U16,
}

/// Turns the packet in `frame` round, as deep as its headers are known. `false` where one of them is cut short or wrong:
/// those before it are turned round.
pub fn swap(frame: &mut [u8]) -> bool {
    crate::mac::swap(frame);
    swap_below_ethernet(frame).is_some()
}

/// `None` where a header does not fit.
fn swap_below_ethernet(frame: &mut [u8]) -> Option<()> {
    let (header, mut rest) = ethernet::Header::mut_from_prefix(frame).ok()?;
    let mut ethertype = header.ethertype;
    while TAGS.contains(&ethertype) {
        let (tag, behind) = Tag::mut_from_prefix(rest).ok()?;
        (ethertype, rest) = (tag.ethertype, behind);
    }
    match ethertype {
        TYPE_IPV4 => swap_ipv4(rest),
        TYPE_IPV6 => swap_ipv6(rest),
        _ => Some(()),
    }
}

fn swap_ipv4(packet: &mut [u8]) -> Option<()> {
    let (header, rest) = ipv4::Header::mut_from_prefix(packet).ok()?;
    let (version, words) = (header.version_and_words >> 4, usize::from(header.version_and_words & 0xf));
    let options = (4 * words).checked_sub(size_of::<ipv4::Header>())?;
    let payload = rest.get_mut(options..).filter(|_| version == 4)?;
    exchange(&mut header.source, &mut header.destination);
    // Ports are in the first fragment only.
    if header.fragment.get() & FRAGMENT_OFFSET != 0 {
        return Some(());
    }
    swap_ports(header.protocol, payload)
}

fn swap_ipv6(packet: &mut [u8]) -> Option<()> {
    let (header, payload) = Ipv6::mut_from_prefix(packet).ok()?;
    if header.version_class_flow[0] >> 4 != 6 {
        return None;
    }
    exchange(&mut header.source, &mut header.destination);
    swap_ports(header.next_header, payload)
}

fn swap_ports(protocol: u8, payload: &mut [u8]) -> Option<()> {
    if matches!(protocol, PROTOCOL_TCP | PROTOCOL_UDP) {
        let (ports, _) = Ports::mut_from_prefix(payload).ok()?;
        exchange(&mut ports.source, &mut ports.destination);
    }
    Some(())
}
