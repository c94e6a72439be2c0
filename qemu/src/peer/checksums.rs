//! A guest whose device computes and checks checksums (`apps/swap`): it changes the last byte of a frame whose checksum its
//! device found right, and its device fills in the new one.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use anyhow::{Context, Result, bail, ensure};
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    EthernetAddress, EthernetFrame, EthernetProtocol, EthernetRepr, IpAddress, IpProtocol, Ipv4Packet,
    Ipv4Repr, TcpControl, TcpPacket, TcpRepr, TcpSeqNumber, UdpPacket, UdpRepr,
};

use super::swap::{FRAME_MIN_BYTES, GUEST_MAC, OWN_MAC};
use super::{LIMIT, Peer, pattern, port_of};

const OWN_IP: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const GUEST_IP: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
/// Bytes in front of a payload of TCP over IPv4, and where its protocol is.
const HEADERS_BYTES: usize = 14 + 20 + 20;
const PROTOCOL: usize = 23;

impl Peer {
    /// Sends `count` frames of UDP and TCP, `size` gives their payloads' sizes (at least 1), every other with a wrong checksum.
    /// Checks every byte of what comes back: addresses exchanged; the last byte changed, and the checksum right again, exactly
    /// where it was right.
    ///
    /// # Errors
    /// One is lost, or is not what it should be.
    pub fn checksums(&mut self, count: usize, size: impl Fn(usize) -> usize) -> Result<()> {
        let (mut next, mut back) = (0, 0);
        while back < count {
            while next < count && next - back < self.window {
                self.send(&frame(next, &pattern(next, size(next)), is_right(next), OWN_MAC, GUEST_MAC))?;
                next += 1;
            }
            let Some(bytes) = self.next_frame(LIMIT)? else {
                bail!("{back} of {next} frames came back, and no more");
            };
            let mut payload = pattern(back, size(back));
            if is_right(back)
                && let Some(last) = payload.last_mut()
            {
                *last = last.wrapping_add(1);
            }
            let expected = frame(back, &payload, is_right(back), GUEST_MAC, OWN_MAC);
            let what = if is_right(back) { "a right" } else { "a wrong" };
            ensure!(
                bytes == expected,
                "frame {back}, {} bytes with {what} checksum: {bytes:x?}",
                bytes.len()
            );
            back += 1;
        }
        Ok(())
    }

    /// The same with right checksums only, one frame at a time, all of which the guest changes; TCP comes back in pieces of
    /// `data_bytes` of data.
    ///
    /// # Errors
    /// As there.
    pub fn segments(&mut self, count: usize, size: impl Fn(usize) -> usize, data_bytes: usize) -> Result<()> {
        self.changed(count, size, data_bytes, |_| 1)
    }

    /// The same with flows that the guest's device spreads over `queues`: what is added says which queue a frame came by, and is
    /// held to the hash of its addresses and ports.
    ///
    /// # Errors
    /// As there.
    pub fn spread(&mut self, count: usize, size: impl Fn(usize) -> usize, queues: u8) -> Result<()> {
        let queue = |number| u8::try_from(hash(number) % u32::from(queues)).expect("a queue's number");
        let used: BTreeSet<u8> = (0..count).map(queue).collect();
        ensure!(used.len() == usize::from(queues), "these flows all go to queues {used:?}");
        self.changed(count, size, usize::MAX, |number| 1 + queue(number))
    }

    fn changed(
        &mut self,
        count: usize,
        size: impl Fn(usize) -> usize,
        data_bytes: usize,
        added: impl Fn(usize) -> u8,
    ) -> Result<()> {
        for number in 0..count {
            let mut payload = pattern(number, size(number));
            self.send(&frame(number, &payload, true, OWN_MAC, GUEST_MAC))?;
            if let Some(last) = payload.last_mut() {
                *last = last.wrapping_add(added(number));
            }
            for (at, expected) in
                cut(&frame(number, &payload, true, GUEST_MAC, OWN_MAC), data_bytes).iter().enumerate()
            {
                let came = self.next_frame(LIMIT)?.with_context(|| {
                    format!("frame {number} of {} bytes: piece {at} does not come", payload.len())
                })?;
                ensure!(came == *expected, "frame {number}, piece {at}: {came:x?} and not {expected:x?}");
            }
        }
        Ok(())
    }
}

/// The Toeplitz hash of frame `number` under the key of `apps/swap` (Microsoft, "RSS Hashing Functions"): for each bit of
/// addresses and ports that is set, the 32 bits of the key that begin there.
fn hash(number: usize) -> u32 {
    const KEY: u128 = 0x6d5a_56da_255b_0ec2_4167_253d_43a3_8fb0;
    let ports = [port_of(number).to_be_bytes(), 7u16.to_be_bytes()].concat();
    let input = [&OWN_IP.octets()[..], &GUEST_IP.octets(), &ports].concat();
    let bits = (0..input.len() * 8).filter(|bit| input[bit / 8] >> (7 - bit % 8) & 1 == 1);
    bits.fold(0, |hash, bit| hash ^ u32::try_from(KEY << bit >> 96).expect("the upper quarter"))
}

/// The pieces of a segment over TCP as its sender's device cuts it: `data_bytes` of data in each, headers of their own, and what the
/// shortest frame needs behind it. Other frames as they are.
fn cut(frame: &[u8], data_bytes: usize) -> Vec<Vec<u8>> {
    let (headers, data) = frame.split_at(HEADERS_BYTES.min(frame.len()));
    if frame[PROTOCOL] != u8::from(IpProtocol::Tcp) || data.len() <= data_bytes {
        return vec![frame.to_vec()];
    }
    let last = (data.len() - 1) / data_bytes;
    let piece = |(number, data): (usize, &[u8])| {
        let mut piece = EthernetFrame::new_unchecked([headers, data].concat());
        let mut packet = Ipv4Packet::new_unchecked(piece.payload_mut());
        packet.set_total_len(
            u16::try_from(HEADERS_BYTES - 14 + data.len()).expect("a piece is no longer than a frame"),
        );
        packet.set_ident(u16::try_from(number).expect("a frame has few pieces"));
        packet.fill_checksum();
        let mut tcp = TcpPacket::new_unchecked(packet.payload_mut());
        tcp.set_seq_number(tcp.seq_number() + number * data_bytes);
        tcp.set_psh(number == last);
        tcp.fill_checksum(&OWN_IP.into(), &GUEST_IP.into());
        let mut piece = piece.into_inner();
        piece.resize(piece.len().max(FRAME_MIN_BYTES), 0);
        piece
    };
    data.chunks(data_bytes).enumerate().map(piece).collect()
}

/// Whether frame `number` is sent with a right checksum.
fn is_right(number: usize) -> bool {
    number % 4 < 2
}

fn frame(
    number: usize,
    payload: &[u8],
    is_right: bool,
    src_addr: EthernetAddress,
    dst_addr: EthernetAddress,
) -> Vec<u8> {
    let is_udp = number.is_multiple_of(2);
    let (header_bytes, next_header) = if is_udp { (8, IpProtocol::Udp) } else { (20, IpProtocol::Tcp) };
    let bytes = header_bytes + payload.len();
    let (from, to): (IpAddress, IpAddress) = (OWN_IP.into(), GUEST_IP.into());
    let checksums = ChecksumCapabilities::default();
    let header =
        Ipv4Repr { src_addr: OWN_IP, dst_addr: GUEST_IP, next_header, payload_len: bytes, hop_limit: 64 };
    let mut frame = EthernetFrame::new_unchecked(vec![0; 14 + header.buffer_len() + bytes]);
    EthernetRepr { src_addr, dst_addr, ethertype: EthernetProtocol::Ipv4 }.emit(&mut frame);
    let mut packet = Ipv4Packet::new_unchecked(frame.payload_mut());
    header.emit(&mut packet, &checksums);
    // A sum that is wrong by one. Another frame's last byte stays, so that the same is expected back.
    let wrong = u16::from(!is_right);
    if is_udp {
        let mut udp = UdpPacket::new_unchecked(packet.payload_mut());
        let header = UdpRepr { src_port: port_of(number), dst_port: 7 };
        let fill = |room: &mut [u8]| room.copy_from_slice(payload);
        header.emit(&mut udp, &from, &to, payload.len(), fill, &checksums);
        let checksum = udp.checksum();
        udp.set_checksum(checksum ^ wrong);
    } else {
        let mut tcp = TcpPacket::new_unchecked(packet.payload_mut());
        segment(number, payload).emit(&mut tcp, &from, &to, &checksums);
        let checksum = tcp.checksum();
        tcp.set_checksum(checksum ^ wrong);
    }
    frame.into_inner()
}

fn segment(number: usize, payload: &[u8]) -> TcpRepr<'_> {
    TcpRepr {
        src_port: port_of(number),
        dst_port: 7,
        control: TcpControl::Psh,
        seq_number: TcpSeqNumber(1),
        ack_number: Some(TcpSeqNumber(2)),
        window_len: 1000,
        window_scale: None,
        max_seg_size: None,
        sack_permitted: false,
        sack_ranges: [None; 3],
        timestamp: None,
        payload,
    }
}
