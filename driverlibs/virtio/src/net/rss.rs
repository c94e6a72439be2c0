//! Receive-side scaling (virtio 1.2 §5.1.6.5.7.1 "Command VIRTIO_NET_CTRL_MQ_RSS_CONFIG").

use alloc::vec::Vec;

use weir_hal::Error as HostError;
use weir_nic::{RSS_KEY_BYTES, Rss};

use crate::transport::read_whole;
use crate::{Error, Transport};

/// Offsets in the configuration (§5.1.4).
const MOST_KEY_BYTES: u64 = 17;
const MOST_TABLE_ENTRIES: u64 = 18;
const HASH_TYPES: u64 = 20;

/// `struct virtio_net_rss_config`, for a device with so many pairs of queues in use. The numbers of hash types are
/// those of the face.
pub(super) fn config(transport: &impl Transport, rss: &Rss<'_>, pairs: u16) -> Result<Vec<u8>, Error> {
    let (key, entries, types) = read_whole(transport, |transport| {
        let key: u8 = transport.read_config(MOST_KEY_BYTES)?;
        let entries: u16 = transport.read_config(MOST_TABLE_ENTRIES)?;
        let types: u32 = transport.read_config(HASH_TYPES)?;
        Ok((key, entries, types))
    })?;
    let table = rss.table;
    if !table.len().is_power_of_two() || table.iter().any(|&queue| queue >= pairs) {
        return Err(HostError::OutOfRange.into());
    }
    let mask = u16::try_from(table.len() - 1).map_err(|_| HostError::OutOfRange)?;
    if mask >= entries || usize::from(key) < RSS_KEY_BYTES || rss.hashed.bits() & !types != 0 {
        return Err(HostError::Unsupported.into());
    }
    let mut bytes = rss.hashed.bits().to_le_bytes().to_vec();
    let unclassified = 0_u16;
    let words = [mask, unclassified].into_iter().chain(table.iter().copied()).chain([pairs]);
    bytes.extend(words.flat_map(u16::to_le_bytes));
    #[expect(clippy::cast_possible_truncation, reason = "40")]
    bytes.push(RSS_KEY_BYTES as u8);
    bytes.extend_from_slice(rss.key);
    Ok(bytes)
}
