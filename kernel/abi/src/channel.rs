//! What the supervisor tells an application of its channels, in a page that the application maps for reading.
//!
//! The supervisor writes [`News::bells`] and [`PoolNews::there`] first, then [`PoolNews::generation`], then rings the
//! application's bell; a reader that sees a new generation sees at least what was written before.

use core::sync::atomic::AtomicU64;

/// Most ends of channels that an application has.
pub const MAX_ENDS: usize = 32;
/// Most pools that an application uses.
pub const MAX_POOLS: usize = MAX_ENDS;
/// Most users of a pool.
pub const MAX_USERS: usize = 32;
/// Fewest and most buffers of a pool.
pub const BUFFERS: core::ops::RangeInclusive<u32> = 2..=1 << 15;
/// Bytes of a buffer.
pub const BUFFER_BYTES: u64 = 2048;
/// Bytes after a pool's buffers: a line of 128 bytes for each user.
pub const USERS_BYTES: u64 = 4096;
const _: () = assert!(MAX_USERS as u64 * 128 <= USERS_BYTES);

/// Bytes of the `Memory` of a pool of `buffers`.
#[must_use]
pub const fn pool_bytes(buffers: u32) -> u64 {
    (buffers as u64 * BUFFER_BYTES).next_multiple_of(USERS_BYTES) + USERS_BYTES
}

/// Bytes of the `Memory` of a channel's two rings, of `entries` each: for each three lines of 128 bytes, then the entries.
#[must_use]
pub const fn rings_bytes(entries: u32) -> u64 {
    let ring = (3 * 128 + entries as u64 * 8).next_multiple_of(128);
    (2 * ring).next_multiple_of(crate::layout::PAGE_BYTES)
}

/// The page.
#[repr(C, align(4096))]
#[derive(Default)]
pub struct News {
    /// Pools, by number.
    pub pools: [PoolNews; MAX_POOLS],
    /// The application's handles to the bells of its ends' neighbours; 0 where nobody is there.
    pub bells: [AtomicU64; MAX_ENDS],
}

/// What there is to know of a pool.
#[repr(C)]
#[derive(Default)]
pub struct PoolNews {
    /// Counts up whenever a user ends or comes; 0 until the first.
    pub generation: AtomicU64,
    /// A bit for each user that lives.
    pub there: AtomicU64,
}

const _: () = assert!(size_of::<News>() == 4096);
