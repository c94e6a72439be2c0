//! The responder on frames made by hand, on frames smoltcp makes, and on random bytes.

use proptest::prelude::*;
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::*;
use weir_net::{Answer, EchoResponder, Ignored, Ipv4Address, Ipv4Network, MacAddress};

const OUR_MAC: [u8; 6] = [0x52, 0x54, 0, 0x12, 0x34, 0x56];
const PEER_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 1];
const OUR_IP: [u8; 4] = [10, 0, 2, 15];
const PEER_IP: [u8; 4] = [10, 0, 2, 2];

fn responder() -> EchoResponder {
    EchoResponder::new(MacAddress(OUR_MAC), "10.0.2.15/24".parse().expect("a network"))
}

/// Every byte from RFC 826's layout.
const ARP_REQUEST: [u8; 42] = [
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02, 0, 0, 0, 0, 1, 0x08, 0x06, // Ethernet: broadcast
    0, 1, 0x08, 0, 6, 4, 0, 1, // Ethernet, IPv4, request
    0x02, 0, 0, 0, 0, 1, 10, 0, 2, 2, // sender
    0, 0, 0, 0, 0, 0, 10, 0, 2, 15, // target
];
const ARP_REPLY: [u8; 42] = [
    0x02, 0, 0, 0, 0, 1, 0x52, 0x54, 0, 0x12, 0x34, 0x56, 0x08, 0x06, // Ethernet: back
    0, 1, 0x08, 0, 6, 4, 0, 2, // reply
    0x52, 0x54, 0, 0x12, 0x34, 0x56, 10, 0, 2, 15, // sender
    0x02, 0, 0, 0, 0, 1, 10, 0, 2, 2, // target
];
/// Checksums worked out by hand (RFC 1071): the header's words sum to 0x9d31, of which 0x62ce is the complement;
/// the message's to 0x0800 + 0x1234 + 0x0001 + 0x6869 = 0x829e, complement 0x7d61.
const PING: [u8; 44] = [
    0x52, 0x54, 0, 0x12, 0x34, 0x56, 0x02, 0, 0, 0, 0, 1, 0x08, 0x00, // Ethernet
    0x45, 0, 0, 30, 0, 1, 0, 0, 64, 1, 0x62, 0xce, 10, 0, 2, 2, 10, 0, 2, 15, // IPv4
    8, 0, 0x7d, 0x61, 0x12, 0x34, 0, 1, b'h', b'i', // echo request
];

fn ethernet(ethertype: EthernetProtocol, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; 14 + payload.len()];
    let repr =
        EthernetRepr { src_addr: EthernetAddress(PEER_MAC), dst_addr: EthernetAddress(OUR_MAC), ethertype };
    repr.emit(&mut EthernetFrame::new_unchecked(&mut bytes));
    bytes[14..].copy_from_slice(payload);
    bytes
}

fn ipv4(next_header: IpProtocol, payload: &[u8]) -> Vec<u8> {
    let repr = Ipv4Repr {
        src_addr: PEER_IP.into(),
        dst_addr: OUR_IP.into(),
        next_header,
        payload_len: payload.len(),
        hop_limit: 17,
    };
    let mut bytes = vec![0; 20 + payload.len()];
    repr.emit(&mut Ipv4Packet::new_unchecked(&mut bytes), &ChecksumCapabilities::default());
    bytes[20..].copy_from_slice(payload);
    ethernet(EthernetProtocol::Ipv4, &bytes)
}

fn udp(source: u16, destination: u16, data: &[u8]) -> Vec<u8> {
    let repr = UdpRepr { src_port: source, dst_port: destination };
    let mut bytes = vec![0; 8 + data.len()];
    repr.emit(
        &mut UdpPacket::new_unchecked(&mut bytes),
        &IpAddress::Ipv4(PEER_IP.into()),
        &IpAddress::Ipv4(OUR_IP.into()),
        data.len(),
        |payload| payload.copy_from_slice(data),
        &ChecksumCapabilities::default(),
    );
    ipv4(IpProtocol::Udp, &bytes)
}

fn ping(data: &[u8]) -> Vec<u8> {
    let repr = Icmpv4Repr::EchoRequest { ident: 0x1234, seq_no: 7, data };
    let mut bytes = vec![0; repr.buffer_len()];
    repr.emit(&mut Icmpv4Packet::new_unchecked(&mut bytes), &ChecksumCapabilities::default());
    ipv4(IpProtocol::Icmp, &bytes)
}

/// The answer to a frame, as smoltcp reads it: source port, destination port and data, all checksums verified.
fn read_udp(frame: &[u8]) -> (u16, u16, Vec<u8>) {
    let ip = read_ipv4(frame);
    let udp = UdpPacket::new_checked(ip.payload()).expect("a datagram");
    let (source, destination) = (IpAddress::Ipv4(OUR_IP.into()), IpAddress::Ipv4(PEER_IP.into()));
    let repr = UdpRepr::parse(&udp, &source, &destination, &ChecksumCapabilities::default());
    let repr = repr.expect("a right checksum");
    (repr.src_port, repr.dst_port, udp.payload().to_vec())
}

fn read_ipv4(frame: &[u8]) -> Ipv4Packet<&[u8]> {
    let frame = EthernetFrame::new_checked(frame).expect("a frame");
    assert_eq!((frame.src_addr().0, frame.dst_addr().0), (OUR_MAC, PEER_MAC));
    let ip = Ipv4Packet::new_checked(frame.payload()).expect("a packet");
    let repr = Ipv4Repr::parse(&ip, &ChecksumCapabilities::default()).expect("a right checksum");
    assert_eq!((repr.src_addr.octets(), repr.dst_addr.octets()), (OUR_IP, PEER_IP));
    assert_eq!(repr.hop_limit, 64);
    Ipv4Packet::new_unchecked(&frame.into_inner()[14..])
}

fn ignored(mut frame: Vec<u8>) -> Ignored {
    let before = frame.clone();
    let Answer::Ignore(why) = responder().answer(&mut frame) else { panic!("answered: {before:02x?}") };
    assert_eq!(frame, before, "an ignored frame stays as it is");
    why
}

/// Changes a frame and repairs the IPv4 header checksum.
fn with_header(mut frame: Vec<u8>, change: impl FnOnce(&mut [u8])) -> Vec<u8> {
    change(&mut frame[14..]);
    Ipv4Packet::new_unchecked(&mut frame[14..]).fill_checksum();
    frame
}

#[test]
fn an_arp_request_becomes_its_reply() {
    let mut frame = ARP_REQUEST;
    assert_eq!(responder().answer(&mut frame), Answer::Send);
    assert_eq!(frame, ARP_REPLY);
}

#[test]
fn a_ping_made_by_hand_becomes_its_reply() {
    let mut frame = PING;
    assert_eq!(responder().answer(&mut frame), Answer::Send);
    let mut reply = PING;
    reply[..6].copy_from_slice(&PEER_MAC);
    reply[6..12].copy_from_slice(&OUR_MAC);
    reply[26..30].copy_from_slice(&OUR_IP);
    reply[30..34].copy_from_slice(&PEER_IP);
    reply[34..38].copy_from_slice(&[0, 0, 0x85, 0x61]);
    assert_eq!(frame, reply);
}

#[test]
fn a_datagram_without_checksum_is_answered_without() {
    let mut frame = udp(4000, 7, b"data");
    frame[40..42].fill(0);
    assert_eq!(responder().answer(&mut frame), Answer::Send);
    assert_eq!(frame[40..42], [0, 0]);
    assert_eq!(&frame[42..], b"data");
}

#[test]
fn padding_is_not_data() {
    let mut frame = udp(4000, 7, b"data");
    frame.resize(60, 0xee);
    assert_eq!(responder().answer(&mut frame), Answer::Send);
    assert_eq!(read_udp(&frame), (7, 4000, b"data".to_vec()));
}

#[test]
fn each_wrong_frame_is_ignored_for_its_reason() {
    let good = || udp(4000, 7, b"data");
    let arp = |change: fn(&mut [u8])| {
        let mut frame = ARP_REQUEST.to_vec();
        change(&mut frame);
        ignored(frame)
    };
    let changed = |frame: Vec<u8>, at: usize, byte: u8| {
        let mut frame = frame;
        frame[at] = byte;
        ignored(frame)
    };
    // Ethernet
    assert_eq!(ignored(vec![0; 13]), Ignored::Malformed);
    assert_eq!(changed(good(), 0, 0x54), Ignored::NotForUs);
    assert_eq!(changed(good(), 6, 0x03), Ignored::BadSource);
    assert_eq!(changed(good(), 12, 0x86), Ignored::NoService);
    // ARP
    assert_eq!(arp(|f| f[41] = 16), Ignored::NotForUs);
    assert_eq!(arp(|f| f[21] = 2), Ignored::NoService);
    assert_eq!(arp(|f| f[18] = 8), Ignored::NoService);
    assert_eq!(arp(|f| f[22] = 0xff), Ignored::BadSource);
    assert_eq!(ignored(ARP_REQUEST[..41].to_vec()), Ignored::Malformed);
    // IPv4
    assert_eq!(changed(good(), 14, 0x46), Ignored::NotPlain);
    assert_eq!(changed(good(), 14, 0x65), Ignored::NotPlain);
    assert_eq!(changed(good(), 24, 1), Ignored::BadChecksum);
    assert_eq!(ignored(with_header(good(), |ip| ip[6] = 0x20)), Ignored::NotPlain, "more fragments");
    assert_eq!(ignored(with_header(good(), |ip| ip[7] = 1)), Ignored::NotPlain, "a later fragment");
    assert_eq!(ignored(with_header(good(), |ip| ip[19] = 16)), Ignored::NotForUs);
    assert_eq!(ignored(with_header(good(), |ip| ip[19] = 255)), Ignored::NotForUs, "broadcast");
    assert_eq!(ignored(with_header(good(), |ip| ip[12] = 224)), Ignored::BadSource);
    assert_eq!(ignored(with_header(good(), |ip| ip[15] = 255)), Ignored::BadSource);
    assert_eq!(ignored(with_header(good(), |ip| ip[15] = 15)), Ignored::BadSource, "ourselves");
    assert_eq!(ignored(with_header(good(), |ip| ip[3] = 19)), Ignored::Malformed);
    assert_eq!(ignored(with_header(good(), |ip| ip[3] = 33)), Ignored::Malformed, "longer than it is");
    assert_eq!(ignored(with_header(good(), |ip| ip[9] = 6)), Ignored::NoService);
    // UDP
    assert_eq!(ignored(udp(4000, 8, b"")), Ignored::NoService);
    assert_eq!(ignored(udp(7, 7, b"")), Ignored::NoService, "an echo service");
    assert_eq!(changed(good(), 39, 7), Ignored::Malformed, "shorter than its header");
    assert_eq!(changed(good(), 39, 13), Ignored::Malformed, "longer than it is");
    assert_eq!(changed(good(), 45, b'A'), Ignored::BadChecksum);
    // ICMP
    assert_eq!(changed(ping(b"data"), 34, 13), Ignored::NoService);
    assert_eq!(changed(ping(b"data"), 45, b'A'), Ignored::BadChecksum);
}

#[test]
fn fragments_may_be_forbidden() {
    let mut frame = with_header(udp(4000, 7, b"data"), |ip| ip[6] = 0x40);
    assert_eq!(responder().answer(&mut frame), Answer::Send);
}

#[test]
fn networks_are_read_and_checked() {
    let network: Ipv4Network = "10.0.2.15/24".parse().expect("a network");
    assert_eq!((network.address, network.prefix), (Ipv4Address(OUR_IP), 24));
    assert_eq!(network.broadcast(), Some(Ipv4Address([10, 0, 2, 255])));
    assert_eq!(network.to_string(), "10.0.2.15/24");
    let point: Ipv4Network = "10.0.2.15/32".parse().expect("a network");
    assert_eq!(point.broadcast(), None);
    for wrong in [
        "",
        "10.0.2.15",
        "10.0.2/24",
        "10.0.2.15/33",
        "10.0.2.15/0",
        "10.0.2.15/-1",
        "10.0.2.255/24",
        "224.0.0.1/24",
        "0.0.0.0/8",
    ] {
        assert!(wrong.parse::<Ipv4Network>().is_err(), "{wrong}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    /// smoltcp makes the request and judges the answer.
    #[test]
    fn smoltcp_agrees_on_udp(data in proptest::collection::vec(any::<u8>(), 0..1472), port in 8u16..) {
        let mut frame = udp(port, 7, &data);
        prop_assert_eq!(responder().answer(&mut frame), Answer::Send);
        prop_assert_eq!(read_udp(&frame), (7, port, data));
    }

    /// The same for ICMP.
    #[test]
    fn smoltcp_agrees_on_icmp(data in proptest::collection::vec(any::<u8>(), 0..1472)) {
        let mut frame = ping(&data);
        prop_assert_eq!(responder().answer(&mut frame), Answer::Send);
        let ip = read_ipv4(&frame);
        let icmp = Icmpv4Packet::new_checked(ip.payload()).expect("a message");
        let repr = Icmpv4Repr::parse(&icmp, &ChecksumCapabilities::default()).expect("a right checksum");
        prop_assert_eq!(repr, Icmpv4Repr::EchoReply { ident: 0x1234, seq_no: 7, data: &data });
    }

    /// Any bytes at all: no panic, and an ignored frame is untouched.
    #[test]
    fn random_bytes_do_no_harm(mut frame in proptest::collection::vec(any::<u8>(), 0..200)) {
        let before = frame.clone();
        if responder().answer(&mut frame) != Answer::Send {
            prop_assert_eq!(frame, before);
        }
    }

    /// Good frames with a few wrong bytes, or cut short: what is answered must still read well.
    #[test]
    fn damaged_frames_are_answered_well_or_not(
        data in proptest::collection::vec(any::<u8>(), 0..64),
        damage in proptest::collection::vec((14usize..60, any::<u8>()), 1..4),
        cut in 0usize..80,
    ) {
        let mut frame = udp(4000, 7, &data);
        for (at, byte) in damage {
            if let Some(place) = frame.get_mut(at) {
                *place = byte;
            }
        }
        frame.truncate(frame.len().saturating_sub(cut).max(1));
        let before = frame.clone();
        if responder().answer(&mut frame) == Answer::Send {
            let ip = Ipv4Packet::new_checked(&frame[14..]).expect("a packet");
            prop_assert!(ip.verify_checksum());
        } else {
            prop_assert_eq!(frame, before);
        }
    }
}
