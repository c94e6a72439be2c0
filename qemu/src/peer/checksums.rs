//! A guest whose device computes and checks checksums (`apps/swap`): it changes the last byte of a frame whose checksum its
//! device found right, and its device fills in the new one.

use std::net::Ipv4Addr;

use anyhow::{Result, bail, ensure};
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    EthernetAddress, EthernetFrame, EthernetProtocol, EthernetRepr, IpAddress, IpProtocol, Ipv4Packet,
    Ipv4Repr, TcpControl, TcpPacket, TcpRepr, TcpSeqNumber, UdpPacket, UdpRepr,
};

use super::swap::{GUEST_MAC, OWN_MAC};
use super::{LIMIT, Peer, pattern, port_of};

const OWN_IP: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const GUEST_IP: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);

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
                self.send(&frame(next, &pattern(next, size(next)), OWN_MAC, GUEST_MAC))?;
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
            let expected = frame(back, &payload, GUEST_MAC, OWN_MAC);
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
}

/// Whether frame `number` is sent with a right checksum.
fn is_right(number: usize) -> bool {
    number % 4 < 2
}

fn frame(number: usize, payload: &[u8], src_addr: EthernetAddress, dst_addr: EthernetAddress) -> Vec<u8> {
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
    let wrong = u16::from(!is_right(number));
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
