//! Two owners of one pool, in memory of this process.

use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use weir_channel::cells::SharedWords;
use weir_channel::{Bell, End, Group, Mapped, Neighbour};
use weir_hal::{DmaMemory, Iova};
use weir_pool::{BUF_BYTES, Pool};

/// Buffers of the pool.
pub(crate) const BUFFERS: usize = 8;
/// Entries of each ring.
pub(crate) const ENTRIES: u32 = 8;
/// How each side calls the other.
pub(crate) const OTHER: Neighbour = Neighbour::MIN;

/// Memory that both map: here simply twice the same.
pub(crate) struct Shared {
    base: NonNull<u8>,
    bytes: usize,
    memory: Arc<Box<[AtomicU64]>>,
}

impl Shared {
    pub(crate) fn new(bytes: usize) -> Shared {
        let words: Box<[AtomicU64]> = (0..bytes.div_ceil(8)).map(|_| AtomicU64::new(0)).collect();
        let base = NonNull::from(&*words).cast();
        Shared { base, bytes: words.len() * 8, memory: Arc::new(words) }
    }

    /// One side's mapping.
    pub(crate) fn mapping(&self) -> DmaMemory {
        // SAFETY: the words live as long as the keeper; like another process's mapping, nobody else holds references
        // into it: rings use atomics, and of each buffer one side at a time has a `Buf`.
        unsafe { DmaMemory::new(self.base, Iova(0), self.bytes, self.memory.clone()) }
    }

    /// What a hostile neighbour can do: write any word.
    pub(crate) fn write(&self, index: usize, value: u64) {
        self.memory[index % self.memory.len()].store(value, Ordering::Relaxed);
    }
}

/// Counts how often it was rung.
#[derive(Clone, Default)]
pub(crate) struct Count(pub(crate) Arc<AtomicU64>);

impl Bell for Count {
    fn ring(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// One side.
pub(crate) struct Side {
    pub(crate) pool: Pool,
    pub(crate) end: End<Mapped, Count>,
    pub(crate) group: Group,
    /// How often it rang the other.
    pub(crate) rang: Count,
}

/// The memory, and the side where the pool is at home, and the other.
pub(crate) fn sides() -> (Shared, Shared, Side, Side) {
    let pool = Shared::new(BUFFERS * usize::from(BUF_BYTES) + SharedWords::bytes(2));
    let rings = Shared::new(2 * Mapped::bytes(ENTRIES));
    let (home, guest) = (side(&pool, &rings, 0), side(&pool, &rings, 1));
    (pool, rings, home, guest)
}

fn side(pool: &Shared, rings: &Shared, user: usize) -> Side {
    let mut memory = pool.mapping();
    let buffers = memory.split_to(BUFFERS * usize::from(BUF_BYTES)).expect("room");
    let words = SharedWords::take_from(&mut memory, 2).expect("room");
    let mut memory = rings.mapping();
    let mut ring = || Mapped::take_from(&mut memory, ENTRIES).expect("room");
    let (first, second) = (ring(), ring());
    let (out, back) = if user == 0 { (first, second) } else { (second, first) };
    let mut pool = Pool::new(buffers).expect("room").shared();
    if user == 1 {
        assert_eq!(pool.surrender(OTHER), BUFFERS);
    }
    let rang = Count::default();
    let end = End::new(out, back, OTHER, rang.clone());
    Side { pool, end, group: Group::new(words, user, 2), rang }
}
