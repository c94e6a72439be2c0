//! A guest that sends every frame back with its Ethernet addresses swapped.

use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use smoltcp::wire::{EthernetAddress, EthernetFrame, EthernetProtocol, EthernetRepr};

use super::{LIMIT, Peer, WINDOW, pattern};

/// Our address, a locally administered one.
pub(super) const OWN_MAC: EthernetAddress = EthernetAddress([0x02, 0xfe, 0, 0, 0, 1]);
/// The address that QEMU gives the first network device.
pub(super) const GUEST_MAC: EthernetAddress = EthernetAddress([0x52, 0x54, 0, 0x12, 0x34, 0x56]);
/// A type for experiments (IEEE 802 "Local Experimental EtherType 1").
const EXPERIMENT: EthernetProtocol = EthernetProtocol::Unknown(0x88b5);
/// Bytes before the payload.
const HEADER_BYTES: usize = 14;
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
        let (mut next, mut back) = (0, 0);
        while back < count {
            while next < count && next - back < WINDOW {
                self.send(&frame(next, size(next), OWN_MAC, GUEST_MAC))?;
                next += 1;
            }
            let Some(bytes) = self.frame_of(EXPERIMENT, LIMIT)? else {
                bail!("{back} of {next} frames came back, and no more");
            };
            let expected = frame(back, size(back), GUEST_MAC, OWN_MAC);
            ensure!(bytes == expected, "frame {back} of {} bytes came back changed", size(back));
            back += 1;
        }
        Ok(())
    }

    /// The next frame of the type `kind`; others are not ours.
    pub(super) fn frame_of(&self, kind: EthernetProtocol, limit: Duration) -> Result<Option<Vec<u8>>> {
        let deadline = Instant::now() + limit;
        let mut buffer = [0; BUFFER_BYTES];
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            self.socket.set_read_timeout(Some(left))?;
            match self.socket.recv(&mut buffer) {
                Ok(bytes) => {
                    let frame = buffer.get(..bytes).unwrap_or_default();
                    if EthernetFrame::new_checked(frame)?.ethertype() == kind {
                        return Ok(Some(frame.to_vec()));
                    }
                }
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return Ok(None),
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
