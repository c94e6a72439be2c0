//! A guest that sends back what it receives, changed in a known way, or frames of its own.

use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use smoltcp::wire::{EthernetAddress, EthernetFrame, EthernetProtocol, EthernetRepr};

use super::{LIMIT, Peer, pattern, port_of};

/// Our address, a locally administered one.
pub(super) const OWN_MAC: EthernetAddress = EthernetAddress([0x02, 0xfe, 0, 0, 0, 1]);
/// The address that QEMU gives the first network device.
pub const GUEST_MAC: EthernetAddress = EthernetAddress([0x52, 0x54, 0, 0x12, 0x34, 0x56]);
/// A type for experiments (IEEE 802 "Local Experimental EtherType 1").
const EXPERIMENT: EthernetProtocol = EthernetProtocol::Unknown(0x88b5);
/// Bytes before the payload.
const HEADER_BYTES: usize = 14;
/// Bytes before a datagram's payload.
const HEADERS_BYTES: usize = 42;
/// The shortest frame, without the checksum that the device adds.
pub const FRAME_MIN_BYTES: usize = 60;
/// The longest that every device takes.
pub const FRAME_MAX_BYTES: usize = 1514;
/// The longest with 9,000 bytes of payload.
pub const FRAME_LONG_BYTES: usize = 9014;
/// More than any frame.
const BUFFER_BYTES: usize = 1 << 14;

impl Peer {
    /// Sends `count` frames of the sizes that `size` gives ([`FRAME_MIN_BYTES`] to [`FRAME_LONG_BYTES`]) and checks
    /// that each comes back, in order, with its addresses swapped and nothing else changed.
    ///
    /// # Errors
    /// One is lost or changed.
    pub fn swap(&mut self, count: usize, size: impl Fn(usize) -> usize) -> Result<()> {
        self.bounce(count, |number| {
            let bytes = size(number);
            (frame(number, bytes, OWN_MAC, GUEST_MAC), frame(number, bytes, GUEST_MAC, OWN_MAC))
        })
    }

    /// Sends `count` frames, the first of the two that `frames` gives for each number, and checks that what comes back
    /// is, in order, the second.
    ///
    /// # Errors
    /// One is lost or changed.
    pub fn bounce(&mut self, count: usize, frames: impl Fn(usize) -> (Vec<u8>, Vec<u8>)) -> Result<()> {
        let (mut next, mut back) = (0, 0);
        while back < count {
            while next < count && next - back < self.window {
                self.send(&frames(next).0)?;
                next += 1;
            }
            let Some(bytes) = self.next_frame(LIMIT)? else {
                bail!("{back} of {next} frames came back, and no more");
            };
            let expected = frames(back).1;
            ensure!(bytes == expected, "frame {back} of {} bytes came back changed", expected.len());
            back += 1;
        }
        Ok(())
    }

    /// A datagram for the guest, in a frame of `bytes` bytes (42 and more).
    ///
    /// # Panics
    /// The frame is shorter than its headers.
    #[must_use]
    pub fn datagram(&self, number: usize, bytes: usize) -> Vec<u8> {
        let payload = bytes.checked_sub(HEADERS_BYTES).expect("room for the headers");
        self.ends.udp(GUEST_MAC, port_of(number), &pattern(number, payload))
    }

    /// The next frame that the guest sends, or `None` after `limit`.
    ///
    /// # Errors
    /// The guest's network is gone.
    pub fn next_frame(&self, limit: Duration) -> Result<Option<Vec<u8>>> {
        let deadline = Instant::now() + limit;
        let mut buffer = [0; BUFFER_BYTES];
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            self.socket.set_read_timeout(Some(left))?;
            match self.socket.recv(&mut buffer) {
                Ok(bytes) => return Ok(Some(buffer[..bytes].to_vec())),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

fn frame(number: usize, bytes: usize, src_addr: EthernetAddress, dst_addr: EthernetAddress) -> Vec<u8> {
    let mut frame = EthernetFrame::new_unchecked(vec![0; bytes]);
    EthernetRepr { src_addr, dst_addr, ethertype: EXPERIMENT }.emit(&mut frame);
    frame.payload_mut().copy_from_slice(&pattern(number, bytes - HEADER_BYTES));
    frame.into_inner()
}
