//! Spreading received frames over queues (82576 §7.1.2.8 "Receive-Side Scaling").
//!
//! **Invariant: both directions of a flow are hashed alike**, so that one queue, and one core, has both. The key makes it so:
//! sixteen bits, repeated, give a Toeplitz hash in which source and destination can be exchanged.

use weir_gigabit::regs::{MRQC, RXCSUM};
use weir_gigabit::{Error, Registers};
use weir_hal::Mmio;

use crate::regs::{MRQC_SPREADS, RETA, RETA_REGISTERS, RSSRK, RSSRK_REGISTERS, RXCSUM_HASHES};

/// The repeated part, as the register holds it twice.
const KEY: u32 = 0x5a6d_5a6d;

/// Spreads over queues 0 to `queues` - 1.
pub(crate) fn spread<M: Mmio>(regs: &Registers<M>, queues: u16) -> Result<(), Error> {
    (0..RSSRK_REGISTERS).try_for_each(|number| regs.write(RSSRK + 4 * number, KEY))?;
    let queue = |entry: u64| u8::try_from(entry % u64::from(queues.max(1))).unwrap_or(0);
    for number in 0..RETA_REGISTERS {
        let entries = [0, 1, 2, 3].map(|place| queue(4 * number + place));
        regs.write(RETA + 4 * number, u32::from_le_bytes(entries))?;
    }
    // The descriptor has room for the hash or for a packet checksum; spreading needs the hash.
    regs.write(RXCSUM, RXCSUM_HASHES)?;
    regs.write(MRQC, MRQC_SPREADS)
}
