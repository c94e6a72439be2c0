//! Whom frames go to, when a neighbour's address is elsewhere than before.

mod rig;

use rig::{Host, SECOND, at, config, mac};
use smoltcp::wire::*;
use weir_sockets::Buffers;

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
