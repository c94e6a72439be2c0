//! A packet that is turned round is still a good packet, as smoltcp sees it.

use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    EthernetAddress, EthernetFrame, EthernetProtocol, EthernetRepr, IpAddress, IpProtocol, IpRepr,
    Ipv4Address, Ipv6Address, TcpControl, TcpPacket, TcpRepr, TcpSeqNumber, UdpPacket, UdpRepr,
};
use weir_forward::five_tuple;

const MACS: [EthernetAddress; 2] = [EthernetAddress([2, 0, 0, 0, 0, 1]), EthernetAddress([2, 0, 0, 0, 0, 2])];
const PORTS: [u16; 2] = [4000, 53];

fn addresses(is_v6: bool) -> [IpAddress; 2] {
    if is_v6 {
        [
            Ipv6Address::new(0xfd00, 1, 2, 3, 4, 5, 6, 7).into(),
            Ipv6Address::new(0xfd00, 9, 0, 0, 0, 0, 0, 1).into(),
        ]
    } else {
        [Ipv4Address::new(10, 0, 0, 1).into(), Ipv4Address::new(10, 200, 3, 4).into()]
    }
}

/// A frame between these ends, `from` being 0 or 1, with all checksums.
fn frame(is_v6: bool, is_tcp: bool, from: usize) -> Vec<u8> {
    let to = 1 - from;
    let (addresses, checksums) = (addresses(is_v6), ChecksumCapabilities::default());
    let tcp = TcpRepr {
        src_port: PORTS[from],
        dst_port: PORTS[to],
        control: TcpControl::Psh,
        seq_number: TcpSeqNumber(77),
        ack_number: Some(TcpSeqNumber(99)),
        window_len: 1000,
        window_scale: None,
        max_seg_size: None,
        sack_permitted: false,
        sack_ranges: [None; 3],
        timestamp: None,
        payload: b"odd text!",
    };
    let udp = UdpRepr { src_port: PORTS[from], dst_port: PORTS[to] };
    let (protocol, bytes) =
        if is_tcp { (IpProtocol::Tcp, tcp.buffer_len()) } else { (IpProtocol::Udp, udp.header_len() + 9) };
    let ip = IpRepr::new(addresses[from], addresses[to], protocol, bytes, 64);
    let ethertype = if is_v6 { EthernetProtocol::Ipv6 } else { EthernetProtocol::Ipv4 };
    let ethernet = EthernetRepr { src_addr: MACS[from], dst_addr: MACS[to], ethertype };
    let mut frame = EthernetFrame::new_unchecked(vec![0; 14 + ip.buffer_len()]);
    ethernet.emit(&mut frame);
    ip.emit(frame.payload_mut(), &checksums);
    let payload = &mut frame.payload_mut()[ip.header_len()..];
    let (source, destination) = (&addresses[from], &addresses[to]);
    if is_tcp {
        tcp.emit(&mut TcpPacket::new_unchecked(payload), source, destination, &checksums);
    } else {
        let fill = |room: &mut [u8]| room.copy_from_slice(b"odd text!");
        udp.emit(&mut UdpPacket::new_unchecked(payload), source, destination, 9, fill, &checksums);
    }
    frame.into_inner()
}

#[test]
fn what_is_turned_round_is_what_the_other_end_would_have_sent() {
    for (is_v6, is_tcp) in [(false, false), (false, true), (true, false), (true, true)] {
        let mut turned = frame(is_v6, is_tcp, 0);
        assert!(five_tuple::swap(&mut turned));
        assert_eq!(turned, frame(is_v6, is_tcp, 1), "IPv6: {is_v6}, TCP: {is_tcp}");
    }
}
