//! Frames that are made, judged by smoltcp; and answers to them, whole and damaged.

use proptest::prelude::*;
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    ArpOperation, ArpPacket, ArpRepr, EthernetFrame, EthernetProtocol, Icmpv4Packet, Icmpv4Repr, Ipv4Packet,
    Ipv4Repr, UdpPacket, UdpRepr,
};
use weir_net::{Answer, EchoResponder, Ipv4Address, Ipv4Network, MacAddress};
use weir_traffic::frames::{Frames, Kind, Path};
use weir_traffic::neighbour;
use weir_traffic::reply::{Expected, Reply};
use weir_traffic::size::{FRAME_MAX_BYTES, FRAME_MIN_BYTES};
use weir_traffic::stamp::{self, Stamp};

const OWN: Ipv4Address = Ipv4Address([10, 0, 2, 15]);
const PEER: Ipv4Address = Ipv4Address([10, 0, 2, 2]);
const PATH: Path = Path {
    own_mac: MacAddress([2, 0, 0, 0, 0, 1]),
    own: OWN,
    next_mac: MacAddress([2, 0, 0, 0, 0, 2]),
    to: PEER,
};
const PING: Kind = Kind::Ping { identifier: 0xabcd };
const ECHO: Kind = Kind::Udp { from: 50_007, to: 7, flows: 1 };

fn stamp(sequence: u64) -> Stamp {
    Stamp { sequence: sequence.into(), time_ns: (sequence.wrapping_mul(1_000_003)).into() }
}

fn make(kind: Kind, bytes: usize, sequence: u64) -> Vec<u8> {
    let mut frame = vec![0xee; bytes];
    assert!(Frames::new(&PATH, kind).write(&mut frame, stamp(sequence)));
    frame
}

/// What is in the packet, whose addresses and checksum are right.
fn message(frame: &[u8], bytes: usize) -> Vec<u8> {
    let ethernet = EthernetFrame::new_checked(frame).expect("a frame");
    assert_eq!((ethernet.src_addr().0, ethernet.dst_addr().0), (PATH.own_mac.0, PATH.next_mac.0));
    assert_eq!(ethernet.ethertype(), EthernetProtocol::Ipv4);
    let packet = Ipv4Packet::new_checked(ethernet.payload()).expect("a packet");
    let ip = Ipv4Repr::parse(&packet, &ChecksumCapabilities::default()).expect("a right checksum");
    assert_eq!((ip.src_addr.octets(), ip.dst_addr.octets()), (OWN.0, PEER.0));
    assert_eq!(usize::from(packet.total_len()), bytes - 14);
    packet.payload().to_vec()
}

#[test]
fn datagrams_of_every_size_are_right() {
    const FLOWS: u16 = 7;
    for bytes in FRAME_MIN_BYTES..=FRAME_MAX_BYTES {
        let sequence = bytes as u64 * 0x1_0001_0001;
        let message = message(&make(Kind::Udp { from: 49_152, to: 9, flows: FLOWS }, bytes, sequence), bytes);
        let datagram = UdpPacket::new_checked(&message[..]).expect("a datagram");
        let (own, peer) = (std::net::Ipv4Addr::from(OWN.0), std::net::Ipv4Addr::from(PEER.0));
        let udp = UdpRepr::parse(&datagram, &own.into(), &peer.into(), &ChecksumCapabilities::default());
        let udp = udp.expect("a right checksum");
        let flow = u16::try_from(sequence % u64::from(FLOWS)).unwrap();
        assert_eq!((udp.src_port, udp.dst_port), (49_152 + flow, 9));
        assert_ne!(datagram.checksum(), 0);
        assert_eq!(stamp::read(datagram.payload()), Some(stamp(sequence)));
        let mut filling = datagram.payload().iter().enumerate().skip(16);
        assert!(filling.all(|(at, byte)| at.to_le_bytes()[0] == *byte));
    }
}

#[test]
fn echo_requests_of_every_size_are_right() {
    for bytes in FRAME_MIN_BYTES..=FRAME_MAX_BYTES {
        let message = message(&make(PING, bytes, 0x1_2345 + bytes as u64), bytes);
        let packet = Icmpv4Packet::new_checked(&message[..]).expect("a message");
        match Icmpv4Repr::parse(&packet, &ChecksumCapabilities::default()).expect("a right checksum") {
            Icmpv4Repr::EchoRequest { ident: 0xabcd, seq_no, data } => {
                assert_eq!(seq_no, u16::try_from((0x1_2345 + bytes) & 0xffff).unwrap());
                assert_eq!(stamp::read(data), Some(stamp(0x1_2345 + bytes as u64)));
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_room_that_is_too_short_or_too_long_stays_as_it_is() {
    let frames = Frames::new(&PATH, ECHO);
    for bytes in (0..58).chain([FRAME_MAX_BYTES + 1, 70_000]) {
        let mut room = vec![0xee; bytes];
        assert!(!frames.write(&mut room, stamp(1)), "{bytes}");
        assert!(room.iter().all(|byte| *byte == 0xee));
    }
    assert!(frames.write(&mut [0; 58], stamp(1)));
}

/// Answers as an honest host does.
fn answered(mut frame: Vec<u8>) -> Vec<u8> {
    let network = Ipv4Network { address: PEER, prefix: 24 };
    assert_eq!(EchoResponder::new(PATH.next_mac, network).answer(&mut frame), Answer::Send);
    frame
}

#[test]
fn an_honest_answer_is_one() {
    for kind in [PING, ECHO] {
        for bytes in [60, 61, 64, 1000, 1514] {
            let expected = Expected::new(&PATH, kind, bytes);
            for sequence in [0, 1, 0xffff, 0x1_0000, u64::MAX] {
                let probe = make(kind, bytes.into(), sequence);
                assert_eq!(expected.read(&probe), Reply::Other, "a probe is no answer");
                let mut answer = answered(probe);
                assert_eq!(expected.read(&answer), Reply::To(stamp(sequence)));
                // Ethernet pads.
                answer.extend([0; 4]);
                assert_eq!(expected.read(&answer), Reply::To(stamp(sequence)));
            }
            let other = answered(make(kind, usize::from(bytes) - 1, 5));
            assert_eq!(expected.read(&other), Reply::Damaged, "of another size");
        }
    }
    let other = Expected::new(&PATH, Kind::Ping { identifier: 1 }, 64);
    assert_eq!(other.read(&answered(make(PING, 64, 1))), Reply::Other, "somebody else's ping");
    let other = Expected::new(&PATH, Kind::Udp { from: 50_007, to: 8, flows: 1 }, 64);
    assert_eq!(other.read(&answered(make(ECHO, 64, 1))), Reply::Other, "somebody else's datagram");
    assert_eq!(other.read(&answered(make(PING, 64, 1))), Reply::Other, "a ping");
}

#[test]
fn a_bit_that_is_wrong_is_seen_and_so_is_a_byte_that_is_missing() {
    for kind in [PING, ECHO] {
        let (expected, answer) = (Expected::new(&PATH, kind, 100), answered(make(kind, 100, 77)));
        for bit in 0..answer.len() * 8 {
            let mut damaged = answer.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            let wanted = match bit / 8 {
                // To another host, of another type: not for us.
                0..6 | 12..14 => Reply::Other,
                // From whom on the link does not matter.
                6..12 => Reply::To(stamp(77)),
                // Version and length of the header: nothing we know.
                14 => Reply::Other,
                _ => Reply::Damaged,
            };
            assert_eq!(expected.read(&damaged), wanted, "bit {bit} of {kind:?}");
        }
        for bytes in 0..answer.len() {
            let wanted = if bytes < 14 { Reply::Other } else { Reply::Damaged };
            assert_eq!(expected.read(&answer[..bytes]), wanted, "{bytes} bytes of {kind:?}");
        }
    }
}

#[test]
fn without_a_checksum_every_byte_is_looked_at_all_the_same() {
    let mut answer = answered(make(ECHO, 100, 77));
    answer[40..42].fill(0);
    let expected = Expected::new(&PATH, ECHO, 100);
    assert_eq!(expected.read(&answer), Reply::To(stamp(77)), "IPv4 allows it");
    for at in 58..100 {
        let mut damaged = answer.clone();
        damaged[at] ^= 1;
        assert_eq!(expected.read(&damaged), Reply::Damaged, "byte {at}");
    }
}

proptest! {
    #[test]
    fn no_bytes_do_harm(bytes in prop::collection::vec(any::<u8>(), 0..200), is_ours: bool, kind in prop::sample::select(vec![PING, ECHO])) {
        let mut frame = bytes;
        if is_ours && frame.len() > 34 {
            frame[..6].copy_from_slice(&PATH.own_mac.0);
            frame[12..15].copy_from_slice(&[8, 0, 0x45]);
        }
        let reply = Expected::new(&PATH, kind, 100).read(&frame);
        prop_assert!(!matches!(reply, Reply::To(_)));
        let _ = neighbour::answer(&frame, PATH.own_mac, PEER);
        let _ = stamp::read(&frame);
    }
}

#[test]
fn a_neighbour_is_asked_for_and_its_answer_believed() {
    let request = neighbour::request(PATH.own_mac, OWN, PEER);
    let frame = EthernetFrame::new_checked(&request[..]).expect("a frame");
    assert!(frame.dst_addr().is_broadcast() && frame.ethertype() == EthernetProtocol::Arp);
    let packet = ArpPacket::new_checked(frame.payload()).expect("a packet");
    let ArpRepr::EthernetIpv4 { operation, source_protocol_addr, target_protocol_addr, .. } =
        ArpRepr::parse(&packet).expect("for Ethernet and IPv4")
    else {
        panic!("another kind");
    };
    assert_eq!(operation, ArpOperation::Request);
    assert_eq!((source_protocol_addr.octets(), target_protocol_addr.octets()), (OWN.0, PEER.0));
    let answer = answered(request.to_vec());
    assert_eq!(neighbour::answer(&answer, PATH.own_mac, PEER), Some(PATH.next_mac));
    assert_eq!(neighbour::answer(&answer, PATH.next_mac, PEER), None, "not for us");
    assert_eq!(neighbour::answer(&answer, PATH.own_mac, OWN), None, "not about whom we asked for");
    assert_eq!(neighbour::answer(&request, PATH.own_mac, PEER), None, "a question");
    let mut of_group = answer.clone();
    of_group[22] |= 1;
    assert_eq!(neighbour::answer(&of_group, PATH.own_mac, PEER), None, "an address of a group");
    for bytes in 0..42 {
        assert_eq!(neighbour::answer(&answer[..bytes], PATH.own_mac, PEER), None, "{bytes}");
    }
}
