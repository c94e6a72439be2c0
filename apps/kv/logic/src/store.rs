//! The contents: keys, values, when they end, and how much memory that takes.
//!
//! **Invariants: [`Store::used_bytes`] never exceeds the budget**: what does not fit is refused and changes nothing; **an
//! entry that has ended is never seen**, whether or not its memory was taken back yet; hashes are keyed with a secret seed, so
//! that nobody can choose keys that collide.
//!
//! Time is what the caller says, in milliseconds; `u64::MAX` is never.

use alloc::vec::Vec;

use siphasher::sip::SipHasher13;

use crate::change::Change;
use crate::table::{CHUNK_BYTES, Slot, Table};

/// The end of what does not end.
pub const NEVER: u64 = u64::MAX;
/// What an allocation costs besides its bytes, with common allocators.
const HEAP_BYTES: usize = 16;
/// Places that a sweep looks at.
const SWEEP_PLACES: u32 = 16;

/// There is no memory for that within the budget; nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no memory left within the budget")]
pub struct Full;

/// What a store is made with.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Most bytes that table, keys and values take.
    pub budget_bytes: usize,
    /// Secret, random: keys the hash.
    pub seed: [u8; 16],
    /// Whether changes are written down for a log.
    pub is_logged: bool,
}

/// An entry as a reader sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Item<'a> {
    /// Its value.
    pub value: &'a [u8],
    /// memcached's flags.
    pub flags: u32,
    /// When it ends.
    pub expires_ms: u64,
    /// Another one after each change of the value.
    pub version: u64,
}

/// What was counted since the start.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// Keys that were looked for and found.
    pub hits: u64,
    /// Keys that were looked for and not found.
    pub misses: u64,
    /// Entries whose time ended.
    pub expired: u64,
}

/// The contents.
#[derive(Debug)]
pub struct Store {
    table: Table,
    hasher: SipHasher13,
    budget_bytes: usize,
    data_bytes: usize,
    version: u64,
    /// Where the next sweep begins.
    cursor: u32,
    journal: Option<Vec<u8>>,
    counts: Counts,
}

impl Store {
    /// An empty store.
    #[must_use]
    pub fn new(options: &Options) -> Store {
        let hasher = SipHasher13::new_with_key(&options.seed);
        Store {
            table: Table::new(),
            hasher,
            budget_bytes: options.budget_bytes,
            data_bytes: 0,
            // Versions of before a restart should not come again.
            version: hasher.hash(b"version") >> 1,
            cursor: 0,
            journal: options.is_logged.then(Vec::new),
            counts: Counts::default(),
        }
    }

    /// Bytes of table, keys and values, allocator's overhead included.
    #[must_use]
    pub fn used_bytes(&self) -> usize {
        self.table.bytes() + self.data_bytes
    }

    /// Most bytes it may use.
    #[must_use]
    pub fn budget_bytes(&self) -> usize {
        self.budget_bytes
    }

    /// Entries, those included that have ended and were not swept yet.
    #[must_use]
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What was counted.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Whether changes are written down.
    #[must_use]
    pub fn is_logged(&self) -> bool {
        self.journal.is_some()
    }

    /// The changes since they were last taken, one after the other ([`Change::decode`]).
    #[must_use]
    pub fn changes(&self) -> &[u8] {
        self.journal.as_deref().unwrap_or_default()
    }

    /// Moves the changes to the end of `out`.
    pub fn take_changes(&mut self, out: &mut Vec<u8>) {
        if let Some(journal) = &mut self.journal {
            out.append(journal);
        }
    }

    /// Looks for an entry.
    pub fn get(&mut self, key: &[u8], now_ms: u64) -> Option<Item<'_>> {
        let place = self.live(key, now_ms);
        let count = if place.is_some() { &mut self.counts.hits } else { &mut self.counts.misses };
        *count = count.wrapping_add(1);
        let slot = self.table.slot(place?);
        let &Slot { flags, expires_ms, version, .. } = slot;
        Some(Item { value: slot.value(), flags, expires_ms, version })
    }

    /// Makes an entry, or overwrites it.
    ///
    /// # Errors
    /// The budget; what was there stays.
    pub fn set(
        &mut self,
        key: &[u8],
        value: &[u8],
        flags: u32,
        expires_ms: u64,
        now_ms: u64,
    ) -> Result<(), Full> {
        let place = match self.live(key, now_ms) {
            Some(place) => self.overwrite(place, key, value).map(|()| place)?,
            None => self.insert(key, value)?,
        };
        let version = self.next_version();
        let slot = self.table.slot_mut(place);
        (slot.flags, slot.expires_ms, slot.version) = (flags, expires_ms, version);
        self.note(Change::Set { key, value, flags, expires_ms });
        Ok(())
    }

    /// Appends to a value, or makes it; gives its length.
    ///
    /// # Errors
    /// The budget; what was there stays.
    pub fn append(&mut self, key: &[u8], tail: &[u8], now_ms: u64) -> Result<usize, Full> {
        let Some(place) = self.live(key, now_ms) else {
            return self.set(key, tail, 0, NEVER, now_ms).map(|()| tail.len());
        };
        self.extend(place, tail)?;
        let version = self.next_version();
        self.table.slot_mut(place).version = version;
        self.note(Change::Append { key, tail });
        Ok(self.table.slot(place).value().len())
    }

    /// Removes an entry; whether there was one.
    pub fn remove(&mut self, key: &[u8], now_ms: u64) -> bool {
        let place = self.live(key, now_ms);
        if let Some(place) = place {
            self.take_out(place);
        }
        place.is_some()
    }

    /// Says when an entry ends; whether there is one.
    pub fn expire(&mut self, key: &[u8], expires_ms: u64, now_ms: u64) -> bool {
        let place = self.live(key, now_ms);
        if let Some(place) = place {
            self.table.slot_mut(place).expires_ms = expires_ms;
            self.note(Change::Expire { key, expires_ms });
        }
        place.is_some()
    }

    /// Removes all entries.
    pub fn clear(&mut self) {
        (self.table, self.data_bytes, self.cursor) = (Table::new(), 0, 0);
        self.note(Change::Clear);
    }

    /// Takes back memory of entries that have ended, looking at a few places.
    pub fn sweep(&mut self, now_ms: u64) {
        for _ in 0..SWEEP_PLACES.min(self.table.places()) {
            self.cursor = if self.cursor + 1 < self.table.places() { self.cursor + 1 } else { 0 };
            let slot = self.table.slot(self.cursor);
            if slot.is_live() && slot.expires_ms <= now_ms {
                self.counts.expired = self.counts.expired.wrapping_add(1);
                self.take_out(self.cursor);
            }
        }
    }

    /// Whether so many new entries, with so many bytes of keys and values, fit for sure.
    #[must_use]
    pub fn has_room(&self, entries: usize, bytes: usize) -> bool {
        let chunks = entries.saturating_sub(self.table.room()).div_ceil(CHUNK_BYTES / size_of::<Slot>());
        let more = bytes.saturating_add(entries.saturating_mul(HEAP_BYTES) + chunks * CHUNK_BYTES);
        self.used_bytes().saturating_add(more) <= self.budget_bytes
    }

    /// Does what a change says, whatever the time; writes nothing down.
    ///
    /// # Errors
    /// The budget is smaller than the one under which the change was made.
    pub fn apply(&mut self, change: &Change<'_>) -> Result<(), Full> {
        let journal = self.journal.take();
        // Before all time nothing has ended.
        let result = match *change {
            Change::Set { key, value, flags, expires_ms } => self.set(key, value, flags, expires_ms, 0),
            Change::Append { key, tail } => match self.live(key, 0) {
                Some(place) => self.extend(place, tail),
                None => Ok(()),
            },
            Change::Expire { key, expires_ms } => {
                self.expire(key, expires_ms, 0);
                Ok(())
            }
            Change::Remove { key } => {
                self.remove(key, 0);
                Ok(())
            }
            Change::Clear => {
                self.clear();
                Ok(())
            }
        };
        self.journal = journal;
        result
    }

    /// Appends the entries from place `from` on to `out`, as changes, until it has `enough_bytes` or more. Gives where to go
    /// on; `None`: that was all. Changes made between two calls must be applied between them.
    pub fn snapshot(&self, from: u32, enough_bytes: usize, out: &mut Vec<u8>) -> Option<u32> {
        for place in from..self.table.places() {
            if out.len() >= enough_bytes {
                return Some(place);
            }
            let slot = self.table.slot(place);
            if slot.is_live() {
                let &Slot { flags, expires_ms, .. } = slot;
                Change::Set { key: slot.key(), value: slot.value(), flags, expires_ms }.encode(out);
            }
        }
        None
    }

    /// The place of an entry that has not ended; takes back one that has.
    fn live(&mut self, key: &[u8], now_ms: u64) -> Option<u32> {
        let place = self.table.find(self.hash(key), key)?;
        if self.table.slot(place).expires_ms > now_ms {
            return Some(place);
        }
        self.counts.expired = self.counts.expired.wrapping_add(1);
        self.take_out(place);
        None
    }

    fn take_out(&mut self, place: u32) {
        let key_len = self.table.slot(place).key().len();
        let data = self.table.remove(place);
        self.data_bytes -= data.capacity() + HEAP_BYTES;
        self.note(Change::Remove { key: &data[..key_len] });
    }

    fn insert(&mut self, key: &[u8], value: &[u8]) -> Result<u32, Full> {
        let chunk_bytes = if self.table.room() == 0 { CHUNK_BYTES } else { 0 };
        let data = self.allocate(key, value, chunk_bytes)?;
        let bytes = data.capacity() + HEAP_BYTES;
        let key_len = u32::try_from(key.len()).map_err(|_| Full)?;
        let place = self.table.insert(self.hash(key), data, key_len)?;
        self.data_bytes += bytes;
        Ok(place)
    }

    fn overwrite(&mut self, place: u32, key: &[u8], value: &[u8]) -> Result<(), Full> {
        let len = key.len().saturating_add(value.len());
        let old = self.table.slot(place).data().capacity();
        if len <= old && len >= old / 2 {
            let data = self.table.slot_mut(place).data_mut();
            data.truncate(key.len());
            data.extend_from_slice(value);
            return Ok(());
        }
        let data = self.allocate(key, value, 0)?;
        self.data_bytes = self.data_bytes + data.capacity() - old;
        *self.table.slot_mut(place).data_mut() = data;
        Ok(())
    }

    /// Appends to a value; where it must move, it gets some room for the next time.
    fn extend(&mut self, place: u32, tail: &[u8]) -> Result<(), Full> {
        let data = self.table.slot(place).data();
        let (len, old) = (data.len().saturating_add(tail.len()), data.capacity());
        if len > old {
            let room = len.saturating_add(len / 4);
            // Both copies are there for a moment.
            if self.used_bytes().saturating_add(room) > self.budget_bytes {
                return Err(Full);
            }
            let data = self.table.slot_mut(place).data_mut();
            data.try_reserve_exact(room - data.len()).map_err(|_| Full)?;
            let new = data.capacity();
            self.data_bytes = self.data_bytes + new - old;
        }
        self.table.slot_mut(place).data_mut().extend_from_slice(tail);
        Ok(())
    }

    /// Key and value in one allocation, if it and `other_bytes` fit.
    fn allocate(&self, key: &[u8], value: &[u8], other_bytes: usize) -> Result<Vec<u8>, Full> {
        let len = key.len().saturating_add(value.len());
        let more = len.saturating_add(HEAP_BYTES + other_bytes);
        if self.used_bytes().saturating_add(more) > self.budget_bytes {
            return Err(Full);
        }
        let mut data = Vec::new();
        data.try_reserve_exact(len).map_err(|_| Full)?;
        data.extend_from_slice(key);
        data.extend_from_slice(value);
        Ok(data)
    }

    #[expect(clippy::cast_possible_truncation, reason = "any 32 bits of it will do")]
    fn hash(&self, key: &[u8]) -> u32 {
        self.hasher.hash(key) as u32
    }

    fn next_version(&mut self) -> u64 {
        self.version = self.version.wrapping_add(1);
        self.version
    }

    fn note(&mut self, change: Change<'_>) {
        if let Some(journal) = &mut self.journal {
            change.encode(journal);
        }
    }
}
