//! Spreading received frames over queues (82576 §7.1.2.8 "Receive-Side Scaling").
//!
//! **Invariant: unless the owner says otherwise, both directions of a flow are hashed alike**, so that one queue, and one core,
//! has both. The key makes it so: sixteen bits, repeated, give a Toeplitz hash in which source and destination can be exchanged.

use weir_gigabit::regs::{MRQC, RXCSUM, RxChecksum};
use weir_gigabit::{Error, Registers};
use weir_hal::{Error as HostError, Mmio};
use weir_nic::{HashTypes, RSS_KEY_BYTES, Rss};

use crate::regs::{MRQC_SPREADS, RETA, RETA_ENTRIES, RSSRK};

/// A key whose first sixteen bits are repeated.
const KEY: [u8; RSS_KEY_BYTES] = {
    let mut key = [0x6d; RSS_KEY_BYTES];
    let mut at = 1;
    while at < RSS_KEY_BYTES {
        key[at] = 0x5a;
        at += 2;
    }
    key
};
/// What a kind of frame is called in `MRQC` (82576 §8.10 "Multiple Receive Queues Command").
const KINDS: [(HashTypes, u32); 6] = [
    (HashTypes::TCP4, 1 << 16),
    (HashTypes::IPV4, 1 << 17),
    (HashTypes::IPV6, 1 << 20),
    (HashTypes::TCP6, 1 << 21),
    (HashTypes::UDP4, 1 << 22),
    (HashTypes::UDP6, 1 << 23),
];

/// Spreads over queues 0 to `queues` - 1.
pub(crate) fn spread<M: Mmio>(regs: &Registers<M>, queues: u16) -> Result<(), Error> {
    let queue = |entry: usize| u16::try_from(entry).unwrap_or(0) % queues.max(1);
    let table: [u16; RETA_ENTRIES] = core::array::from_fn(queue);
    set(regs, &Rss { key: &KEY, table: &table, hashed: HashTypes::all() })
}

/// Spreads as the owner says.
pub(crate) fn set<M: Mmio>(regs: &Registers<M>, rss: &Rss<'_>) -> Result<(), Error> {
    let Rss { key, table, hashed } = rss;
    if !table.len().is_power_of_two() || table.len() > RETA_ENTRIES {
        return Err(HostError::OutOfRange.into());
    }
    let (words, _) = key.as_chunks::<4>();
    for (offset, word) in (RSSRK..).step_by(4).zip(words) {
        regs.write(offset, u32::from_le_bytes(*word))?;
    }
    let mut entries = table.iter().cycle().map(|queue| u8::try_from(*queue));
    for offset in (RETA..).step_by(4).take(RETA_ENTRIES / 4) {
        let mut word = [0; 4];
        for (byte, queue) in word.iter_mut().zip(&mut entries) {
            *byte = queue.map_err(|_| HostError::OutOfRange)?;
        }
        regs.write(offset, u32::from_le_bytes(word))?;
    }
    regs.write(RXCSUM, regs.read::<RxChecksum>(RXCSUM)?.with_gives_hash(true))?;
    let kinds = KINDS.iter().filter(|(kind, _)| hashed.contains(*kind));
    regs.write(MRQC, kinds.fold(MRQC_SPREADS, |bits, (_, bit)| bits | bit))
}
