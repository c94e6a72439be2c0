//! Contents that follow from where they are on the disk and from a seed.
//!
//! **Invariant: 8 bytes at byte offset `o` of the disk are the little-endian product of 9E37_79B9_7F4A_7C15h and
//! `(o / 8) xor (seed rotated left by 40)`**, whatever the size of blocks and requests: who reads the disk's image
//! elsewhere can tell them.

const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

fn word(index: u64, seed: u64) -> u64 {
    (index ^ seed.rotate_left(40)).wrapping_mul(FACTOR)
}

/// Fills `bytes`, which lie at `offset`, a multiple of 8.
pub(crate) fn fill(bytes: &mut [u8], offset: u64, seed: u64) {
    for (index, chunk) in (offset / 8..).zip(bytes.chunks_exact_mut(8)) {
        chunk.copy_from_slice(&word(index, seed).to_le_bytes());
    }
}

/// Whether `bytes`, which lie at `offset`, are what [`fill`] makes.
pub(crate) fn is_right(bytes: &[u8], offset: u64, seed: u64) -> bool {
    (offset / 8..).zip(bytes.chunks_exact(8)).all(|(index, chunk)| chunk == word(index, seed).to_le_bytes())
}
