//! Whom frames go to, when a neighbour's address is elsewhere than before.

mod rig;

use rig::{Host, MS, SECOND, at, config, mac};
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::*;
use weir_sockets::{Buffers, Config};

const OWN: Ipv4Address = Ipv4Address::new(10, 0, 0, 1);
const PEER: Ipv4Address = Ipv4Address::new(10, 0, 0, 2);

/// An ARP packet of the host at `from`, which has `source`, about `target`.
fn arp(operation: ArpOperation, from: EthernetAddress, source: Ipv4Address, target: Ipv4Address) -> Vec<u8> {
    let arp = ArpRepr::EthernetIpv4 {
        operation,
        source_hardware_addr: from,
        source_protocol_addr: source,
        target_hardware_addr: EthernetAddress([0; 6]),
        target_protocol_addr: target,
    };
    let header = EthernetRepr {
        src_addr: from,
        dst_addr: EthernetAddress::BROADCAST,
        ethertype: EthernetProtocol::Arp,
    };
    let mut frame = EthernetFrame::new_unchecked(vec![0; header.buffer_len() + arp.buffer_len()]);
    header.emit(&mut frame);
    arp.emit(&mut ArpPacket::new_unchecked(frame.payload_mut()));
    frame.into_inner()
}

/// A host that connects with the peer, whose address it asked for and got.
fn connecting() -> Host {
    let mut host = Host::new(&config(1));
    let net = host.net.clone();
    host.executor.spawner().spawn(async move {
        // Nobody answers.
        let _ = net.connect(at(2, 80), Buffers::default()).await;
    });
    assert_eq!(host.work(0).len(), 1, "it asks for the address");
    host.take(0, &arp(ArpOperation::Reply, mac(2), PEER, OWN));
    assert_eq!(segments_go_to(&mut host, 0), [mac(2)]);
    host
}

/// To whom the host sends TCP at that time.
fn segments_go_to(host: &mut Host, now_ns: u64) -> Vec<EthernetAddress> {
    let frames = host.work(now_ns);
    let is_ip = |frame: &&Vec<u8>| frame[12..14] == [8, 0];
    frames.iter().filter(is_ip).map(|frame| EthernetAddress::from_bytes(&frame[..6])).collect()
}

#[test]
fn an_announcement_is_believed() {
    for operation in [ArpOperation::Request, ArpOperation::Reply] {
        let mut host = connecting();
        host.take(SECOND, &arp(operation, mac(3), PEER, PEER));
        assert_eq!(segments_go_to(&mut host, 4 * SECOND), [mac(3)], "{operation:?}");
    }
}

#[test]
fn an_announcement_is_not_answered_and_other_questions_change_nothing() {
    let mut host = connecting();
    let other = Ipv4Address::new(10, 0, 0, 9);
    for frame in [
        arp(ArpOperation::Request, mac(3), PEER, PEER),
        arp(ArpOperation::Request, mac(2), PEER, PEER),
        arp(ArpOperation::Request, mac(3), PEER, other),
        arp(
            ArpOperation::Request,
            mac(3),
            Ipv4Address::new(192, 168, 0, 1),
            Ipv4Address::new(192, 168, 0, 1),
        ),
    ] {
        host.take(1, &frame);
        assert!(host.work(1).is_empty(), "{frame:x?}");
    }
    // Who claims the host's own address is told whose it is (RFC 5227 §2.4 "Ongoing Address Conflict Detection and Address
    // Defense").
    host.take(1, &arp(ArpOperation::Request, mac(3), OWN, OWN));
    let defence = host.work(1);
    let reply = ArpRepr::parse(&ArpPacket::new_checked(&defence[0][14..]).expect("ARP")).expect("ARP");
    let ArpRepr::EthernetIpv4 { operation, source_hardware_addr, source_protocol_addr, .. } = reply else {
        panic!("{reply:?}")
    };
    assert_eq!((operation, source_hardware_addr, source_protocol_addr), (ArpOperation::Reply, mac(1), OWN));
    assert_eq!(segments_go_to(&mut host, 4 * SECOND), [mac(2)]);
    host.assert_none_lost();
}

/// A request of `source` for a connection to port 80.
fn syn(source: Ipv4Address) -> Vec<u8> {
    let caps = ChecksumCapabilities::default();
    let tcp = TcpRepr {
        src_port: 1000,
        dst_port: 80,
        control: TcpControl::Syn,
        seq_number: TcpSeqNumber(7),
        ack_number: None,
        window_len: 1000,
        window_scale: None,
        max_seg_size: None,
        sack_permitted: false,
        sack_ranges: [None; 3],
        timestamp: None,
        payload: &[],
    };
    let ip = IpRepr::new(source.into(), OWN.into(), IpProtocol::Tcp, tcp.buffer_len(), 64);
    let header = EthernetRepr { src_addr: mac(2), dst_addr: mac(1), ethertype: EthernetProtocol::Ipv4 };
    let mut frame = EthernetFrame::new_unchecked(vec![0; header.buffer_len() + ip.buffer_len()]);
    header.emit(&mut frame);
    ip.emit(&mut *frame.payload_mut(), &caps);
    let segment = &mut frame.payload_mut()[ip.header_len()..];
    tcp.emit(&mut TcpPacket::new_unchecked(segment), &source.into(), &OWN.into(), &caps);
    frame.into_inner()
}

/// One handshake at a time: a host that nobody can find is given up for one that is known, which need not wait for it.
#[test]
fn who_is_known_does_not_wait_for_who_is_not() {
    let mut host = Host::new(&Config { connections: 1, half_open: 1, ..config(1) });
    let _listener = host.net.listen(80, Buffers::default(), 8).expect("a free port");
    host.take(0, &arp(ArpOperation::Request, mac(2), PEER, OWN));
    host.work(0);
    host.take(MS, &syn(Ipv4Address::new(10, 0, 0, 9)));
    assert!(segments_go_to(&mut host, MS).is_empty(), "it asks where 10.0.0.9 is");
    host.take(2 * MS, &syn(PEER));
    assert_eq!(segments_go_to(&mut host, 2 * MS), [mac(2)]);
}
