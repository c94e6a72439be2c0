//! Statistics (82574 §10.2.7, 82576 §8.18 "statistics registers"). The registers count since they were last read.

use weir_hal::Mmio;

use crate::{Error, Registers};

/// Registers by offset; bytes are counted in 64 bits, low half first.
const GOOD_RECEIVED: u64 = 0x4074;
const GOOD_SENT: u64 = 0x4080;
const BYTES_RECEIVED: [u64; 2] = [0x4088, 0x408c];
const BYTES_SENT: [u64; 2] = [0x4090, 0x4094];
const MISSED: u64 = 0x4010;
const NO_BUFFER: u64 = 0x40a0;
const CRC_ERRORS: u64 = 0x4000;
const LENGTH_ERRORS: u64 = 0x4040;

/// What the device counted since it was started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Good frames received.
    pub rx_frames: u64,
    /// Their bytes, checksums included.
    pub rx_bytes: u64,
    /// Good frames sent.
    pub tx_frames: u64,
    /// Their bytes, checksums included.
    pub tx_bytes: u64,
    /// Frames lost because the device's own memory was full.
    pub missed: u64,
    /// Times a frame had to wait for a receive descriptor.
    pub no_buffer: u64,
    /// Frames with a wrong checksum.
    pub crc_errors: u64,
    /// Frames whose length field is wrong.
    pub length_errors: u64,
}

impl Statistics {
    /// Adds what was counted since the last time. A device may count what it likes: sums wrap.
    pub(crate) fn collect<M: Mmio>(&mut self, regs: &Registers<M>) -> Result<(), Error> {
        let count = |offset| Ok::<_, Error>(u64::from(regs.read::<u32>(offset)?));
        let wide = |[low, high]: [u64; 2]| Ok::<_, Error>(count(low)? | count(high)? << 32);
        let more = [
            (&mut self.rx_frames, count(GOOD_RECEIVED)?),
            (&mut self.rx_bytes, wide(BYTES_RECEIVED)?),
            (&mut self.tx_frames, count(GOOD_SENT)?),
            (&mut self.tx_bytes, wide(BYTES_SENT)?),
            (&mut self.missed, count(MISSED)?),
            (&mut self.no_buffer, count(NO_BUFFER)?),
            (&mut self.crc_errors, count(CRC_ERRORS)?),
            (&mut self.length_errors, count(LENGTH_ERRORS)?),
        ];
        for (sum, more) in more {
            *sum = sum.wrapping_add(more);
        }
        Ok(())
    }
}
