//! What changed in a store, as bytes: what a log keeps, and what makes the store again.
//!
//! **Invariant: the changes of a store, applied in their order to an empty one, give the same contents**; so do the entries
//! of a snapshot taken piece by piece ([`crate::Store::snapshot`]), with the changes made meanwhile in between.
//!
//! A change is a kind (1 byte), little-endian lengths and numbers, then key and value.

use alloc::vec::Vec;

/// One change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change<'a> {
    /// An entry was made or overwritten.
    Set {
        /// Its key.
        key: &'a [u8],
        /// Its value.
        value: &'a [u8],
        /// memcached's flags.
        flags: u32,
        /// When it ends; `u64::MAX`: never.
        expires_ms: u64,
    },
    /// Bytes were appended to a value.
    Append {
        /// Whose.
        key: &'a [u8],
        /// Which.
        tail: &'a [u8],
    },
    /// An entry ends at another time.
    Expire {
        /// Which.
        key: &'a [u8],
        /// When; `u64::MAX`: never.
        expires_ms: u64,
    },
    /// An entry was removed, or has expired.
    Remove {
        /// Which.
        key: &'a [u8],
    },
    /// All entries were removed.
    Clear,
}

/// Bytes that are no change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("these bytes are no change")]
pub struct NoChange;

const SET: u8 = 1;
const APPEND: u8 = 2;
const EXPIRE: u8 = 3;
const REMOVE: u8 = 4;
const CLEAR: u8 = 5;

/// A key or value: its length, then itself.
fn put(bytes: &[u8], out: &mut Vec<u8>) {
    // No key or value is that long: `Options::value_max_bytes` fits.
    out.extend_from_slice(&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes());
    out.extend_from_slice(bytes);
}

fn take<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let len = u32::from_le_bytes(take_array(bytes)?);
    let (part, rest) = bytes.split_at_checked(usize::try_from(len).ok()?)?;
    *bytes = rest;
    Some(part)
}

fn take_array<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (array, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*array)
}

impl<'a> Change<'a> {
    /// Appends its bytes to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match *self {
            Change::Set { key, value, flags, expires_ms } => {
                out.push(SET);
                out.extend_from_slice(&flags.to_le_bytes());
                out.extend_from_slice(&expires_ms.to_le_bytes());
                put(key, out);
                put(value, out);
            }
            Change::Append { key, tail } => {
                out.push(APPEND);
                put(key, out);
                put(tail, out);
            }
            Change::Expire { key, expires_ms } => {
                out.push(EXPIRE);
                out.extend_from_slice(&expires_ms.to_le_bytes());
                put(key, out);
            }
            Change::Remove { key } => {
                out.push(REMOVE);
                put(key, out);
            }
            Change::Clear => out.push(CLEAR),
        }
    }

    /// Takes a change off the front of `bytes`.
    ///
    /// # Errors
    /// They do not begin with one.
    pub fn decode(bytes: &mut &'a [u8]) -> Result<Change<'a>, NoChange> {
        Change::decoded(bytes).ok_or(NoChange)
    }

    fn decoded(bytes: &mut &'a [u8]) -> Option<Change<'a>> {
        let [kind] = take_array(bytes)?;
        Some(match kind {
            SET => {
                let flags = u32::from_le_bytes(take_array(bytes)?);
                let expires_ms = u64::from_le_bytes(take_array(bytes)?);
                Change::Set { key: take(bytes)?, value: take(bytes)?, flags, expires_ms }
            }
            APPEND => Change::Append { key: take(bytes)?, tail: take(bytes)? },
            EXPIRE => {
                let expires_ms = u64::from_le_bytes(take_array(bytes)?);
                Change::Expire { key: take(bytes)?, expires_ms }
            }
            REMOVE => Change::Remove { key: take(bytes)? },
            CLEAR => Change::Clear,
            _ => return None,
        })
    }
}
