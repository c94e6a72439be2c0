//! What the device does with frames on their way: checksums (RFC 1071) and TCP segmentation (virtio 1.2 §5.1.6.2,
//! §5.1.6.4), as the header in front of them says.

/// `struct virtio_net_hdr`, as far as it asks for or tells something.
#[derive(Clone, Copy, Debug, Default)]
pub struct Header {
    /// 1: checksum to be filled in. 2: checksum is right.
    pub flags: u8,
    /// 1: TCP over IPv4 to be cut, 4: over IPv6.
    pub gso_type: u8,
    /// Bytes of headers.
    pub hdr_len: u16,
    /// Bytes of data in each frame.
    pub gso_size: u16,
    /// First byte summed.
    pub csum_start: u16,
    /// Where the sum goes, from there.
    pub csum_offset: u16,
    /// Receive buffers of the frame.
    pub num_buffers: u16,
}

impl Header {
    /// Bytes of it.
    pub const BYTES: usize = 12;

    pub(super) fn parse(bytes: &[u8]) -> Header {
        let word = |at: usize| u16::from_le_bytes([byte(bytes, at), byte(bytes, at + 1)]);
        Header {
            flags: byte(bytes, 0),
            gso_type: byte(bytes, 1),
            hdr_len: word(2),
            gso_size: word(4),
            csum_start: word(6),
            csum_offset: word(8),
            num_buffers: word(10),
        }
    }

    pub(super) fn bytes(self) -> Vec<u8> {
        let mut bytes = vec![self.flags, self.gso_type];
        for word in [self.hdr_len, self.gso_size, self.csum_start, self.csum_offset, self.num_buffers] {
            bytes.extend_from_slice(&word.to_le_bytes());
        }
        bytes
    }

    /// The frames that leave for `frame`.
    pub(super) fn send(self, frame: Vec<u8>) -> Vec<Vec<u8>> {
        let mut frames = self.cut(&frame).unwrap_or_else(|| vec![frame]);
        if self.flags & 1 != 0 {
            let (start, offset) = (self.csum_start.into(), self.csum_offset.into());
            frames.iter_mut().for_each(|frame| fill_checksum(frame, start, offset));
        }
        frames
    }

    /// Frames of `gso_size` bytes of data behind the same headers, with what differs between them put right; `None`
    /// where nothing is to be cut, or cannot be.
    fn cut(self, frame: &[u8]) -> Option<Vec<Vec<u8>>> {
        let (headers, data) = frame.split_at_checked(self.hdr_len.into())?;
        let size = usize::from(self.gso_size);
        let tcp = usize::from(self.csum_start);
        if self.gso_type & 0x7f == 0 || size == 0 || headers.len() < tcp + 20 || tcp < IP + 20 {
            return None;
        }
        let last = data.len().div_ceil(size).saturating_sub(1);
        let segment = |(number, data): (usize, &[u8])| {
            let mut frame = [headers, data].concat();
            add(&mut frame[tcp + 4..tcp + 8], number * size);
            // FIN and PSH belong to the last.
            if number != last {
                frame[tcp + 13] &= !0x09;
            }
            if self.gso_type & 0x7f == 1 {
                finish_ipv4(&mut frame, tcp, number)
            } else {
                finish_ipv6(&mut frame, tcp)
            }
            frame
        };
        Some(data.chunks(size).enumerate().map(segment).collect())
    }
}

/// Where the IP header begins: no VLAN tags here.
const IP: usize = 14;
const TCP: u16 = 6;

/// Length, identification and checksum of the IPv4 header; the sum of the pseudo header (RFC 9293 §3.1).
fn finish_ipv4(frame: &mut [u8], tcp: usize, number: usize) {
    let packet = low(frame.len() - IP);
    frame[IP + 2..IP + 4].copy_from_slice(&packet.to_be_bytes());
    add(&mut frame[IP + 4..IP + 6], number);
    frame[IP + 10..IP + 12].fill(0);
    let header = !sum(&frame[IP..tcp]);
    frame[IP + 10..IP + 12].copy_from_slice(&header.to_be_bytes());
    put_pseudo_sum(frame, tcp, IP + 12..IP + 20);
}

/// Length of the IPv6 payload; the sum of the pseudo header (RFC 8200 §8.1).
fn finish_ipv6(frame: &mut [u8], tcp: usize) {
    let payload = low(frame.len() - IP - 40);
    frame[IP + 4..IP + 6].copy_from_slice(&payload.to_be_bytes());
    put_pseudo_sum(frame, tcp, IP + 8..IP + 40);
}

fn put_pseudo_sum(frame: &mut [u8], tcp: usize, addresses: std::ops::Range<usize>) {
    let mut pseudo = frame[addresses].to_vec();
    pseudo.extend_from_slice(&TCP.to_be_bytes());
    pseudo.extend_from_slice(&low(frame.len() - tcp).to_be_bytes());
    let sum = sum(&pseudo);
    frame[tcp + 16..tcp + 18].copy_from_slice(&sum.to_be_bytes());
}

fn fill_checksum(frame: &mut [u8], start: usize, offset: usize) {
    let Some(summed) = frame.get_mut(start..) else { return };
    let checksum = !sum(summed);
    if let Some(place) = summed.get_mut(offset..offset + 2) {
        place.copy_from_slice(&checksum.to_be_bytes());
    }
}

/// The sum of RFC 1071, not inverted: 0xffff over bytes whose checksum is right.
#[must_use]
pub fn sum(bytes: &[u8]) -> u16 {
    let mut sum = 0_u16;
    for pair in bytes.chunks(2) {
        let word = u16::from_be_bytes([pair[0], byte(pair, 1)]);
        let (wrapped, carry) = sum.overflowing_add(word);
        sum = wrapped + u16::from(carry);
    }
    sum
}

/// Adds to a big-endian number of two or four bytes.
fn add(place: &mut [u8], more: usize) {
    let old = place.iter().fold(0_usize, |number, &byte| number << 8 | usize::from(byte));
    let new = old.wrapping_add(more).to_be_bytes();
    place.copy_from_slice(&new[new.len() - place.len()..]);
}

fn low(number: usize) -> u16 {
    u16::try_from(number).unwrap_or(u16::MAX)
}

fn byte(bytes: &[u8], at: usize) -> u8 {
    bytes.get(at).copied().unwrap_or(0)
}
