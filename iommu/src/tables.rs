//! The frames a unit reads, and when it sees what was written to them.
//!
//! **Invariant A: every address passed to the environment's memory lies in a frame this crate allocated and has
//! not freed**: addresses come from `alloc` here, or from entries this crate wrote into such a frame, and are
//! indexed inside the frame only. All `unsafe` of the crate is in this file and rests on A.
//! **Invariant B: where the unit does not snoop caches, `write128` and `alloc` leave memory up to date;
//! a `write64` does so only after `flush`.**

use crate::address::{FRAME_BYTES, PhysAddr};
use crate::environment::TableMemory;
use crate::error::{Error, Result};

/// Table memory as seen by units that do, or do not, snoop the CPU's caches.
pub(crate) struct Tables<M> {
    memory: M,
    /// Every unit that reads these tables has ECAP.C = 1.
    is_coherent: bool,
}

impl<M: TableMemory> Tables<M> {
    pub(crate) fn new(memory: M, is_coherent: bool) -> Self {
        Tables { memory, is_coherent }
    }

    /// Contiguous zeroed frames whose zeros the unit sees.
    pub(crate) fn alloc(&self, frames: usize) -> Result<PhysAddr> {
        let at = self.memory.alloc(frames).ok_or(Error::OutOfFrames)?;
        self.flush(at, frames as u64 * FRAME_BYTES);
        Ok(at)
    }

    /// Gives back frames no unit reads any more.
    pub(crate) fn free(&self, at: PhysAddr, frames: usize) {
        // SAFETY: invariant A; callers free what is unlinked and invalidated (see `Chain`).
        unsafe { self.memory.free(at, frames) }
    }

    pub(crate) fn read64(&self, at: PhysAddr) -> u64 {
        // SAFETY: invariant A.
        unsafe { self.memory.read64(at) }
    }

    pub(crate) fn write64(&self, at: PhysAddr, value: u64) {
        // SAFETY: invariant A.
        unsafe { self.memory.write64(at, value) }
    }

    /// Reads a 16-byte entry that only this crate writes.
    pub(crate) fn read128(&self, at: PhysAddr) -> u128 {
        u128::from(self.read64(at.offset(8))) << 64 | u128::from(self.read64(at))
    }

    /// Writes a 16-byte entry so that the unit sees all or nothing of it, and sees it now.
    pub(crate) fn write128(&self, at: PhysAddr, value: u128) {
        // SAFETY: invariant A.
        unsafe { self.memory.write128(at, value) }
        self.flush(at, 16);
    }

    /// Makes earlier writes visible to units that do not snoop.
    pub(crate) fn flush(&self, at: PhysAddr, bytes: u64) {
        if !self.is_coherent {
            // SAFETY: invariant A.
            unsafe { self.memory.flush(at, bytes) }
        }
    }
}

/// A list of frames linked through their own first word: needs no memory of its own, so it cannot fail.
///
/// The link of a frame that a unit may still walk reads as a not-present entry: frames are 4 KiB-aligned, so bits
/// 0 and 1 are clear (read and write in VT-d 5.10 §9.8 "Second-Stage Paging Entries", PR in AMD 48882 §2.2.3). The
/// rest of a frame is zero.
#[derive(Default)]
pub(crate) struct Chain {
    head: Option<PhysAddr>,
    frames: usize,
}

impl Chain {
    /// Frames in the list.
    pub(crate) fn frames(&self) -> usize {
        self.frames
    }

    pub(crate) fn push<M: TableMemory>(&mut self, tables: &Tables<M>, frame: PhysAddr) {
        tables.write64(frame, self.head.map_or(0, |next| next.0));
        self.head = Some(frame);
        self.frames += 1;
    }

    /// Takes one frame out, all zero again for CPU and unit.
    pub(crate) fn pop<M: TableMemory>(&mut self, tables: &Tables<M>) -> Option<PhysAddr> {
        let frame = self.head?;
        self.head = Some(PhysAddr(tables.read64(frame))).filter(|next| next.0 != 0);
        self.frames -= 1;
        tables.write64(frame, 0);
        tables.flush(frame, 8);
        Some(frame)
    }

    /// Gives every frame back to the environment.
    pub(crate) fn free_all<M: TableMemory>(&mut self, tables: &Tables<M>) {
        while let Some(frame) = self.pop(tables) {
            tables.free(frame, 1);
        }
    }
}
