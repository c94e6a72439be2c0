//! The header in front of every frame (virtio 1.2 §5.1.6 "Device Operation", `struct virtio_net_hdr`).

use weir_nic::TxOffload;
use weir_pool::Buf;
use zerocopy::little_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::Violation;

/// Bytes of the header without hash report.
pub(super) const HEADER_BYTES: u16 = 12;
const _: () = assert!(size_of::<Header>() == HEADER_BYTES as usize);

/// `VIRTIO_NET_HDR_F_NEEDS_CSUM`, `_DATA_VALID`.
const NEEDS_CHECKSUM: u8 = 1;
const DATA_VALID: u8 = 2;
/// `VIRTIO_NET_HDR_GSO_TCPV4`, `_TCPV6`.
const GSO_TCP4: u8 = 1;
const GSO_TCP6: u8 = 4;
/// Most buffers of a frame: 64 KiB in buffers half used. More is a lie.
const MOST_BUFFERS: u16 = 64;

/// `struct virtio_net_hdr`. All zeros: a frame to be sent as it is.
#[derive(Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(super) struct Header {
    flags: u8,
    gso_type: u8,
    hdr_len: U16,
    gso_size: U16,
    csum_start: U16,
    csum_offset: U16,
    num_buffers: U16,
}

impl Header {
    /// What the device is to do with a frame whose first `len` bytes lie in one buffer; `None` where the frame is too
    /// short for it.
    pub(super) fn of(offload: TxOffload, len: u16) -> Option<Header> {
        let mut header = Header::default();
        if let Some(checksum) = offload.checksum {
            let end = u32::from(checksum.start) + u32::from(checksum.offset) + 2;
            header.flags = NEEDS_CHECKSUM;
            header.csum_start = checksum.start.into();
            header.csum_offset = checksum.offset.into();
            (end <= len.into()).then_some(())?;
        }
        if let Some(segments) = offload.segments {
            header.gso_type = if segments.is_ipv6 { GSO_TCP6 } else { GSO_TCP4 };
            header.hdr_len = segments.header_bytes.into();
            header.gso_size = segments.data_bytes.into();
            let is_possible = segments.header_bytes <= len && segments.data_bytes > 0;
            (is_possible && offload.checksum.is_some()).then_some(())?;
        }
        Some(header)
    }

    pub(super) fn bytes(self) -> [u8; HEADER_BYTES as usize] {
        zerocopy::transmute!(self)
    }

    pub(super) fn from_bytes(bytes: [u8; HEADER_BYTES as usize]) -> Header {
        zerocopy::transmute!(bytes)
    }

    /// How many buffers the frame lies in, where buffers are merged (§5.1.6.3.2).
    pub(super) fn buffers(&self) -> Result<u16, Violation> {
        let count = self.num_buffers.get();
        if count == 0 || count > MOST_BUFFERS {
            return Err(Violation::MergedBuffers { count });
        }
        Ok(count)
    }

    /// Brings `buf`, the whole frame, into the state in which it would be on a wire: a checksum that its sender left
    /// out is filled in (§5.1.6.4.1 "Driver Requirements: Processing of Incoming Packets").
    pub(super) fn finish(&self, buf: &mut Buf) -> Result<(), Violation> {
        if self.flags & NEEDS_CHECKSUM != 0 {
            let (start, offset) = (self.csum_start.get(), self.csum_offset.get());
            fill_checksum(buf.frame_mut(), start.into(), offset.into())
                .ok_or(Violation::Checksum { start, offset })?;
            buf.set_checksum_good();
        } else if self.flags & DATA_VALID != 0 {
            buf.set_checksum_good();
        }
        Ok(())
    }
}

/// Sums `frame` from `start` on and writes the result `offset` bytes behind it; `None` where that is not in the frame.
fn fill_checksum(frame: &mut [u8], start: usize, offset: usize) -> Option<()> {
    let summed = frame.get_mut(start..)?;
    let checksum = internet_checksum(summed);
    summed.get_mut(offset..)?.first_chunk_mut::<2>().map(|place| *place = checksum.to_be_bytes())
}

/// RFC 1071. A sum of 0 is written as ones, which is the same number and, in UDP, does not mean "none".
fn internet_checksum(bytes: &[u8]) -> u16 {
    let (pairs, rest) = bytes.as_chunks::<2>();
    let mut sum: u64 = pairs.iter().map(|&pair| u64::from(u16::from_be_bytes(pair))).sum();
    sum += rest.first().map_or(0, |&last| u64::from(last) << 8);
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    #[expect(clippy::cast_possible_truncation, reason = "folded to 16 bits")]
    let checksum = !(sum as u16);
    if checksum == 0 { 0xffff } else { checksum }
}
