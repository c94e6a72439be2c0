//! A hash table whose entries never move: linear hashing (Litwin, "Linear hashing: a new tool for file and table
//! addressing", 1980) with chains.
//!
//! **Invariants: an entry keeps its place as long as it lives; an insertion allocates at most one chunk and moves no entry**,
//! so that there is no pause and no second copy of the table while it grows. Place `i` is both an entry and the head of
//! chain `i`: there are as many chains as places that were ever used, each next one made by splitting an older one.

use alloc::boxed::Box;
use alloc::vec::Vec;

use crate::store::Full;

/// No place.
const NONE: u32 = u32::MAX;
/// Places of a chunk, as a power of two.
const CHUNK_SHIFT: u32 = 10;
const CHUNK: usize = 1 << CHUNK_SHIFT;
/// Bytes of a chunk.
pub(crate) const CHUNK_BYTES: usize = CHUNK * size_of::<Slot>();

/// A place: an entry, if it is live, and the head of a chain.
#[derive(Debug)]
pub(crate) struct Slot {
    /// First place of the chain of this number.
    head: u32,
    /// Next place of the chain that this entry is in; of the list of free places otherwise.
    next: u32,
    hash: u32,
    key_len: u32,
    /// memcached's.
    pub(crate) flags: u32,
    is_live: bool,
    /// When it ends; `u64::MAX`: never.
    pub(crate) expires_ms: u64,
    /// Changes with the value.
    pub(crate) version: u64,
    /// The key, then the value.
    data: Vec<u8>,
}

// One cache line.
const _: () = assert!(size_of::<Slot>() == 64);

impl Slot {
    const EMPTY: Slot = Slot {
        head: NONE,
        next: NONE,
        hash: 0,
        key_len: 0,
        flags: 0,
        is_live: false,
        expires_ms: u64::MAX,
        version: 0,
        data: Vec::new(),
    };

    pub(crate) fn is_live(&self) -> bool {
        self.is_live
    }

    pub(crate) fn key(&self) -> &[u8] {
        &self.data[..self.key_len as usize]
    }

    pub(crate) fn value(&self) -> &[u8] {
        &self.data[self.key_len as usize..]
    }

    pub(crate) fn data(&self) -> &Vec<u8> {
        &self.data
    }

    /// The key and value; the key must stay.
    pub(crate) fn data_mut(&mut self) -> &mut Vec<u8> {
        &mut self.data
    }
}

/// The table.
#[derive(Debug)]
pub(crate) struct Table {
    chunks: Vec<Box<[Slot]>>,
    /// Places that were ever used, and so chains.
    used: u32,
    /// First free place below `used`.
    free: u32,
    live: usize,
}

impl Table {
    pub(crate) const fn new() -> Table {
        Table { chunks: Vec::new(), used: 0, free: NONE, live: 0 }
    }

    /// Entries.
    pub(crate) fn len(&self) -> usize {
        self.live
    }

    /// Places, for who looks at all of them.
    pub(crate) fn places(&self) -> u32 {
        self.used
    }

    /// Bytes of its chunks.
    pub(crate) fn bytes(&self) -> usize {
        self.chunks.len() * CHUNK_BYTES
    }

    /// How many entries can be inserted before the next chunk is allocated.
    pub(crate) fn room(&self) -> usize {
        self.chunks.len() * CHUNK - self.live
    }

    pub(crate) fn slot(&self, place: u32) -> &Slot {
        &self.chunks[(place >> CHUNK_SHIFT) as usize][place as usize % CHUNK]
    }

    pub(crate) fn slot_mut(&mut self, place: u32) -> &mut Slot {
        &mut self.chunks[(place >> CHUNK_SHIFT) as usize][place as usize % CHUNK]
    }

    /// The place of the entry with this key.
    pub(crate) fn find(&self, hash: u32, key: &[u8]) -> Option<u32> {
        if self.used == 0 {
            return None;
        }
        let mut place = self.slot(chain(hash, self.used)).head;
        while place != NONE {
            let slot = self.slot(place);
            if slot.hash == hash && slot.key() == key {
                return Some(place);
            }
            place = slot.next;
        }
        None
    }

    /// Inserts an entry whose key, the first `key_len` bytes of `data`, is not there yet.
    ///
    /// # Errors
    /// No memory, or no more places; nothing has changed.
    pub(crate) fn insert(&mut self, hash: u32, data: Vec<u8>, key_len: u32) -> Result<u32, Full> {
        let place = self.take_place()?;
        let slot = self.slot_mut(place);
        (slot.hash, slot.data, slot.key_len, slot.is_live) = (hash, data, key_len, true);
        self.link(place);
        self.live += 1;
        Ok(place)
    }

    /// Takes the entry out of `place` and gives its bytes.
    pub(crate) fn remove(&mut self, place: u32) -> Vec<u8> {
        self.unlink(place);
        let free = self.free;
        let slot = self.slot_mut(place);
        let (head, data) = (slot.head, core::mem::take(&mut slot.data));
        *slot = Slot { head, next: free, ..Slot::EMPTY };
        self.free = place;
        self.live -= 1;
        data
    }

    fn take_place(&mut self) -> Result<u32, Full> {
        if self.free != NONE {
            let place = self.free;
            self.free = self.slot(place).next;
            return Ok(place);
        }
        let place = self.used;
        if place == NONE {
            return Err(Full);
        }
        if place as usize == self.chunks.len() * CHUNK {
            self.grow()?;
        }
        self.used += 1;
        self.split(place);
        Ok(place)
    }

    fn grow(&mut self) -> Result<(), Full> {
        let mut chunk = Vec::new();
        chunk.try_reserve_exact(CHUNK).map_err(|_| Full)?;
        chunk.extend((0..CHUNK).map(|_| Slot::EMPTY));
        self.chunks.try_reserve(1).map_err(|_| Full)?;
        self.chunks.push(chunk.into_boxed_slice());
        Ok(())
    }

    /// Makes chain `new`, of those in the chain it splits from that now belong there.
    fn split(&mut self, new: u32) {
        if new == 0 {
            return;
        }
        let old = new & (mask(new + 1) >> 1);
        let mut place = core::mem::replace(&mut self.slot_mut(old).head, NONE);
        while place != NONE {
            let next = self.slot(place).next;
            self.link(place);
            place = next;
        }
    }

    fn link(&mut self, place: u32) {
        let chain = chain(self.slot(place).hash, self.used);
        let head = core::mem::replace(&mut self.slot_mut(chain).head, place);
        self.slot_mut(place).next = head;
    }

    fn unlink(&mut self, place: u32) {
        let (hash, next) = (self.slot(place).hash, self.slot(place).next);
        let chain = chain(hash, self.used);
        let mut before = self.slot(chain).head;
        if before == place {
            self.slot_mut(chain).head = next;
            return;
        }
        while self.slot(before).next != place {
            before = self.slot(before).next;
        }
        self.slot_mut(before).next = next;
    }
}

/// The lowest bits of a hash that say which of `chains` chains.
fn mask(chains: u32) -> u32 {
    u32::MAX.checked_shr((chains - 1).leading_zeros()).unwrap_or(0)
}

/// Which of `chains` chains: those not made yet are still part of the one they will be split from.
#[inline]
fn chain(hash: u32, chains: u32) -> u32 {
    let mask = mask(chains);
    let chain = hash & mask;
    if chain < chains { chain } else { chain & (mask >> 1) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chains_split_in_order() {
        let of = |chains| [0, 1, 2, 3, 4, 7].map(|hash| chain(hash, chains));
        assert_eq!(of(1), [0, 0, 0, 0, 0, 0]);
        assert_eq!(of(2), [0, 1, 0, 1, 0, 1]);
        assert_eq!(of(3), [0, 1, 2, 1, 0, 1]);
        assert_eq!(of(4), [0, 1, 2, 3, 0, 3]);
        assert_eq!(of(5), [0, 1, 2, 3, 4, 3]);
        assert_eq!(of(8), [0, 1, 2, 3, 4, 7]);
    }

    #[test]
    fn what_is_inserted_is_found_until_it_is_removed() {
        let mut table = Table::new();
        let hash = |n: u32| n.wrapping_mul(0x9e37_79b9) ^ (n >> 3);
        let key = |n: u32| n.to_le_bytes();
        for n in 0..5000 {
            table.insert(hash(n), key(n).to_vec(), 4).unwrap();
        }
        for n in (0..5000).step_by(3) {
            let place = table.find(hash(n), &key(n)).unwrap();
            assert_eq!(table.remove(place), key(n));
        }
        for n in 5000..6000 {
            table.insert(hash(n), key(n).to_vec(), 4).unwrap();
        }
        for n in 0..7000 {
            let is_there = (n < 5000 && n % 3 != 0) || (5000..6000).contains(&n);
            let found = table.find(hash(n), &key(n));
            assert_eq!(found.is_some(), is_there, "{n}");
            assert!(found.is_none_or(|place| table.slot(place).key() == key(n)));
        }
        assert_eq!((table.len(), table.places()), (4333, 5000), "free places are used again");
    }

    #[test]
    fn chains_stay_short() {
        let mut table = Table::new();
        for n in 0..100_000_u32 {
            let [a, b, c, d, ..] = siphasher::sip::SipHasher13::new().hash(&n.to_le_bytes()).to_le_bytes();
            table.insert(u32::from_le_bytes([a, b, c, d]), n.to_le_bytes().to_vec(), 4).unwrap();
        }
        let longest = (0..table.places()).map(|chain| {
            let mut place = table.slot(chain).head;
            core::iter::from_fn(|| (place != NONE).then(|| place = table.slot(place).next)).count()
        });
        assert!(longest.max().unwrap() < 16);
    }
}
