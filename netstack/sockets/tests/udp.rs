//! Datagrams, answered where they lie; and whatever else may arrive.

mod rig;

use proptest::prelude::*;
use rig::{Host, config};
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::*;
use weir_sockets::{Buffers, Config, Reply};

const PORT: u16 = 7;

/// Answers with the same bytes; or, where they begin with `?`, with their number.
fn host(config: &Config) -> Host {
    let host = Host::new(config);
    host.net
        .serve_udp(PORT, |datagram| match datagram.data.first() {
            Some(b'?') => {
                let count = datagram.data.len().to_le_bytes();
                datagram.room[..8].copy_from_slice(&count);
                Reply::InRoom(8)
            }
            Some(b'-') => Reply::Nothing,
            Some(b'!') => Reply::InPlace(usize::MAX),
            _ => Reply::InPlace(datagram.data.len()),
        })
        .expect("a free port");
    host
}

/// A datagram from host 2 to host 1, over IPv4 or IPv6.
fn frame(is_ipv6: bool, to_port: u16, data: &[u8]) -> Vec<u8> {
    let udp = UdpRepr { src_port: 4000, dst_port: to_port };
    let caps = ChecksumCapabilities::default();
    let (source, destination): (IpAddress, IpAddress) = if is_ipv6 {
        (link(2).into(), link(1).into())
    } else {
        (Ipv4Address::new(10, 0, 0, 2).into(), Ipv4Address::new(10, 0, 0, 1).into())
    };
    let ip = IpRepr::new(source, destination, IpProtocol::Udp, udp.header_len() + data.len(), 9);
    let mut bytes = vec![0; 14 + ip.buffer_len()];
    let mut ethernet = EthernetFrame::new_unchecked(&mut bytes);
    ethernet.set_dst_addr(rig::mac(1));
    ethernet.set_src_addr(rig::mac(2));
    ethernet.set_ethertype(if is_ipv6 { EthernetProtocol::Ipv6 } else { EthernetProtocol::Ipv4 });
    let header = ip.header_len();
    ip.emit(&mut *ethernet.payload_mut(), &caps);
    let payload = &mut ethernet.payload_mut()[header..];
    let mut packet = UdpPacket::new_unchecked(payload);
    udp.emit(&mut packet, &source, &destination, data.len(), |room| room.copy_from_slice(data), &caps);
    bytes
}

fn link(number: u16) -> Ipv6Address {
    Ipv6Address::new(0xfe80, 0, 0, 0, 0, 0xff, 0xfe00, number)
}

/// What comes back, read and judged by smoltcp: addresses, lengths and checksums.
fn data_of(frame: &[u8]) -> Vec<u8> {
    let caps = ChecksumCapabilities::default();
    let ethernet = EthernetFrame::new_checked(frame).expect("whole");
    assert_eq!((ethernet.dst_addr(), ethernet.src_addr()), (rig::mac(2), rig::mac(1)));
    let (source, destination, payload): (IpAddress, IpAddress, &[u8]) = match ethernet.ethertype() {
        EthernetProtocol::Ipv4 => {
            let ip = Ipv4Packet::new_checked(ethernet.payload()).expect("whole");
            Ipv4Repr::parse(&ip, &caps).expect("a good header");
            (ip.src_addr().into(), ip.dst_addr().into(), ip.payload())
        }
        _ => {
            let ip = Ipv6Packet::new_checked(ethernet.payload()).expect("whole");
            (ip.src_addr().into(), ip.dst_addr().into(), ip.payload())
        }
    };
    let udp = UdpPacket::new_checked(payload).expect("whole");
    let repr = UdpRepr::parse(&udp, &source, &destination, &caps).expect("a good checksum");
    assert_eq!((repr.src_port, repr.dst_port), (PORT, 4000));
    udp.payload().to_vec()
}

fn answers(host: &mut Host, frame: &[u8]) -> Vec<Vec<u8>> {
    host.take(0, frame);
    host.work(0).into_iter().filter(|frame| !is_discovery(frame)).collect()
}

/// ARP or ICMPv6.
fn is_discovery(frame: &[u8]) -> bool {
    frame[12..14] == [8, 6] || frame[12..14] == [0x86, 0xdd] && frame[20] == 58
}

#[test]
fn every_length_comes_back() {
    for is_ipv6 in [false, true] {
        let mut host = host(&config(1));
        for len in (0..1450).step_by(7) {
            let data: Vec<u8> = (0..len).map(|at: usize| at.to_le_bytes()[0] | 0x80).collect();
            let back = answers(&mut host, &frame(is_ipv6, PORT, &data));
            assert_eq!(back.iter().map(|frame| data_of(frame)).collect::<Vec<_>>(), [data], "{len}");
        }
        let back = answers(&mut host, &frame(is_ipv6, PORT, &[b'?'; 1000]));
        assert_eq!(back.iter().map(|frame| data_of(frame)).collect::<Vec<_>>(), [1000u64.to_le_bytes()]);
        assert!(answers(&mut host, &frame(is_ipv6, PORT, b"-")).is_empty());
        assert!(answers(&mut host, &frame(is_ipv6, PORT, b"!")).is_empty(), "more than there is");
        host.assert_none_lost();
    }
}

#[test]
fn long_frames_come_back() {
    let mut host = host(&Config { mtu: 9000, ..config(1) });
    for len in [1940, 1943, 3000, 8972] {
        let data = vec![0xa5; len];
        let back = answers(&mut host, &frame(false, PORT, &data));
        assert_eq!(back.iter().map(|frame| data_of(frame)).collect::<Vec<_>>(), [data], "{len}");
    }
    assert!(answers(&mut host, &frame(false, PORT, &[0; 9000])).is_empty(), "longer than is allowed");
    host.assert_none_lost();
}

#[test]
fn each_damaged_bit_is_seen() {
    let mut host = host(&config(1));
    let whole = frame(false, PORT, b"twelve bytes");
    for bit in 8 * 14..8 * whole.len() {
        let mut damaged = whole.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        let back = answers(&mut host, &damaged);
        assert!(back.is_empty(), "bit {bit}: {back:x?}");
    }
    assert!(!answers(&mut host, &whole).is_empty());
}

#[test]
fn strangers_are_not_answered() {
    let mut host = host(&config(1));
    let mut other_mac = frame(false, PORT, b"a");
    other_mac[5] = 9;
    assert!(answers(&mut host, &other_mac).is_empty());
    let own = {
        let mut frame = frame(false, PORT, b"a");
        // From its own address: the checksums stay right if both addresses change by what cancels out.
        frame[29] = 1;
        frame[33] = 2;
        frame
    };
    assert!(answers(&mut host, &own).is_empty());
    host.assert_none_lost();
}

#[test]
fn options_are_not_sent_back() {
    let mut host = host(&config(1));
    // Four options that mean nothing, behind a longer header; the checksum mended.
    let mut frame = frame(false, PORT, b"with options");
    frame.splice(34..34, [1; 4]);
    let total = u16::from_be_bytes([frame[16], frame[17]]) + 4;
    frame[14] = 0x46;
    frame[16..18].copy_from_slice(&total.to_be_bytes());
    Ipv4Packet::new_unchecked(&mut frame[14..]).fill_checksum();
    let back = answers(&mut host, &frame);
    assert!(back.iter().all(|frame| frame[23] != 17), "an answer by UDP: {back:x?}");
    host.assert_none_lost();
}

fn any_host() -> Host {
    let host = host(&Config { connections: 8, half_open: 4, ..config(1) });
    let small = Buffers { rx_bytes: 512, tx_bytes: 512 };
    let listener = host.net.listen(80, small, 2).expect("a free port");
    host.executor.spawner().spawn(async move {
        loop {
            let mut stream = listener.accept().await;
            let mut bytes = [0; 64];
            while let Ok(count @ 1..) = stream.read(&mut bytes).await {
                let _ = stream.write_all(&bytes[..count]).await;
            }
        }
    });
    host
}

/// Bytes put over a frame that would be answered, at places and lengths.
fn vandal() -> impl Strategy<Value = Vec<u8>> {
    let overwrite = (0..80usize, prop::collection::vec(any::<u8>(), 1..4));
    let kinds = prop_oneof![Just((false, PORT)), Just((true, PORT)), Just((false, 80)), Just((false, 68))];
    (kinds, prop::collection::vec(overwrite, 0..4), prop::option::of(0..70usize), any::<[u8; 20]>()).prop_map(
        |((is_ipv6, port), changes, cut, data)| {
            let mut frame = frame(is_ipv6, port, &data);
            for (at, bytes) in changes {
                for (place, byte) in frame.iter_mut().skip(at).zip(bytes) {
                    *place = byte;
                }
            }
            frame.truncate(cut.unwrap_or(usize::MAX).max(1));
            frame
        },
    )
}

proptest! {
    #[test]
    fn whatever_arrives_no_buffer_is_lost_and_service_goes_on(frames in prop::collection::vec(
        prop_oneof![3 => vandal(), 1 => prop::collection::vec(any::<u8>(), 1..200)], 1..40)) {
        let mut host = any_host();
        for (number, frame) in frames.iter().enumerate() {
            let now_ns = number as u64 * rig::MS;
            host.take(now_ns, frame);
            host.work(now_ns);
        }
        host.assert_none_lost();
        let back = answers(&mut host, &self::frame(false, PORT, b"still there"));
        prop_assert_eq!(back.iter().map(|frame| data_of(frame)).collect::<Vec<_>>(), [b"still there"]);
        let (all, half_open) = host.net.connections();
        prop_assert!(all <= 8 && half_open <= 4);
    }
}
