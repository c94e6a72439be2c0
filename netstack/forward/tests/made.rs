//! Frames that are made: what they are, how many, and that none is left out when a ring is full.

mod rig;

use rig::{BURST, ENDS, ENTRIES, OWN, PEER, Rig};
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{EthernetFrame, IpProtocol, Ipv4Packet, Ipv4Repr, UdpPacket, UdpRepr};
use weir_forward::{Mode, Settings, Stream};

/// What testpmd 22.11 sends in `txonly`, byte by byte, with our addresses.
#[test]
fn txonly_sends_what_testpmd_sends() {
    let mut rig = Rig::with_ports(1);
    let mut stream = Stream::new(&Settings { frames: 50, ..Settings::of(Mode::TxOnly) }, ENDS, ());
    let mut frames = Vec::new();
    while !stream.is_done() {
        let passed = rig.pass(&mut stream).expect("an honest device");
        assert_eq!(passed.received, 0);
        frames.extend(rig.ports[0].sent());
    }
    assert!(rig.pass(&mut stream).expect("an honest device").is_idle());
    assert_eq!(frames.len(), 50);
    let headers: [&[u8]; 4] = [
        &[&PEER.0[..], &OWN.0, &[8, 0]].concat(),
        // 50 bytes, hop limit 64, UDP, the header's checksum.
        &[0x45, 0, 0, 50, 0, 0, 0, 0, 64, 17, 0xee, 0x93],
        &[198, 18, 0, 1, 198, 18, 0, 2],
        &[0, 9, 0, 9, 0, 30, 0, 0],
    ];
    for frame in frames {
        assert_eq!(frame.len(), 64);
        assert_eq!(frame[..42], headers.concat());
    }
}

/// The flow that a frame belongs to, if all its headers are right.
fn flow(frame: &[u8]) -> u32 {
    let checksums = ChecksumCapabilities::default();
    let ethernet = EthernetFrame::new_checked(frame).expect("a frame");
    let packet = Ipv4Packet::new_checked(ethernet.payload()).expect("a packet");
    let ip = Ipv4Repr::parse(&packet, &checksums).expect("a checksum that is right");
    assert_eq!((ip.src_addr.octets(), ip.next_header), ([10, 254, 0, 0], IpProtocol::Udp));
    let datagram = UdpPacket::new_checked(packet.payload()).expect("a datagram");
    let udp = UdpRepr::parse(&datagram, &ip.src_addr.into(), &ip.dst_addr.into(), &checksums);
    assert_eq!(udp, Ok(UdpRepr { src_port: 1000, dst_port: 1001 }));
    u32::from(ip.dst_addr) - u32::from_be_bytes([10, 253, 0, 0])
}

#[test]
fn flows_take_turns_even_when_the_ring_is_full() {
    for flows in [1, 2, 7, 300, 1 << 20] {
        let mut rig = Rig::with_ports(1);
        let settings = Settings { flows, frames: 1000, frame_bytes: 90, ..Settings::of(Mode::FlowGen) };
        let mut stream = Stream::new(&settings, ENDS, ());
        let mut next = 0;
        for round in 0.. {
            rig.ports[0].deliver(&[3; 60]);
            rig.pass(&mut stream).expect("an honest device");
            // Mostly the device does not get on with it.
            let frames = if round % 5 == 4 || stream.is_done() { rig.ports[0].sent() } else { vec![] };
            for frame in &frames {
                assert_eq!((frame.len(), flow(frame)), (90, next % flows));
                next += 1;
            }
            if stream.is_done() {
                break;
            }
        }
        assert_eq!(next, 1000);
        let (received, sent) = (stream.received(), stream.sent());
        assert_eq!((sent.packets, sent.bytes), (1000, 90_000));
        assert!(sent.dropped > 0, "the ring was never full");
        assert!(received.packets > 0 && received.bytes == 60 * received.packets);
    }
}

#[test]
fn bursts_are_as_large_as_there_are_buffers() {
    let mut rig = Rig::with_ports(1);
    let mut stream = Stream::new(&Settings::of(Mode::TxOnly), ENDS, ());
    let free = rig.pool.available();
    assert!(free > usize::from(ENTRIES));
    let mut kept: Vec<_> = (0..free - 5).map_while(|_| rig.pool.take()).collect();
    assert_eq!(rig.pass(&mut stream).expect("an honest device").sent, 5);
    assert_eq!(rig.pass(&mut stream).expect("an honest device").sent, 0);
    kept.drain(..).for_each(|buf| rig.pool.put(buf));
    assert_eq!(rig.pass(&mut stream).expect("an honest device").sent, BURST);
    assert_eq!((stream.sent().bursts.of(5), stream.sent().bursts.of(BURST)), (1, 1));
}
