//! What the environment gives to this crate: registers, table memory, time.
//!
//! **Invariant: nothing else connects this crate to the outside**, so a kernel, a unit test and QEMU's model
//! differ only in who implements these traits.

use crate::address::PhysAddr;

/// The register file of one remapping unit.
///
/// An access has exactly the width named. A write takes effect after every earlier [`TableMemory`] write of the
/// same thread (uncached stores on x86 do so by themselves).
pub trait Registers {
    /// Bytes that are mapped; no access reaches beyond.
    fn bytes(&self) -> usize;
    /// Reads 32 bits at the byte `offset`.
    fn read32(&self, offset: usize) -> u32;
    /// Reads 64 bits at the byte `offset`.
    fn read64(&self, offset: usize) -> u64;
    /// Writes 32 bits at the byte `offset`.
    fn write32(&mut self, offset: usize, value: u32);
    /// Writes 64 bits at the byte `offset`.
    fn write64(&mut self, offset: usize, value: u64);
}

/// Memory for the tables a unit reads: root, context, device, page and interrupt tables, queues. Most are one frame; AMD's
/// device table is 512 (2 MiB), VT-d's interrupt table 16.
///
/// Handed over by value; where several owners share one memory, implement it for a reference or a handle.
///
/// # Implementation safety
/// Frames returned by `alloc` belong to the caller alone until `free`: nobody else reads, writes, maps or hands
/// them out. The unit may read and (status words, event records) write them.
///
/// # Safety
/// For callers of the `unsafe` methods: `at` lies in a frame that `alloc` of the same memory returned and that
/// was not freed, and the access does not leave that allocation.
pub unsafe trait TableMemory {
    /// Returns `frames` (1 or more) contiguous zeroed frames of 4 KiB, aligned to 4 KiB, never at address 0.
    fn alloc(&self, frames: usize) -> Option<PhysAddr>;
    /// Takes back what `alloc(frames)` returned.
    ///
    /// # Safety
    /// See the trait; no unit may still read the frames.
    unsafe fn free(&self, at: PhysAddr, frames: usize);
    /// Reads 64 bits, afresh each time (the unit writes status words), `at` aligned to 8.
    ///
    /// # Safety
    /// See the trait.
    unsafe fn read64(&self, at: PhysAddr) -> u64;
    /// Writes 64 bits with one store that no later store overtakes, `at` aligned to 8.
    ///
    /// # Safety
    /// See the trait.
    unsafe fn write64(&self, at: PhysAddr, value: u64);
    /// Writes 128 bits that a unit sees all or nothing (`lock cmpxchg16b`), `at` aligned to 16
    /// (VT-d 5.10 §6.2.2.1 "Context-Entry Programming Considerations").
    ///
    /// # Safety
    /// See the trait.
    unsafe fn write128(&self, at: PhysAddr, value: u128);
    /// Writes back every cache line of the `bytes` at `at` to memory and waits for it (`clflush…; mfence`).
    /// Called only for units that do not snoop the caches (VT-d: ECAP.C = 0; AMD: not coherent in IVRS).
    ///
    /// # Safety
    /// See the trait.
    unsafe fn flush(&self, at: PhysAddr, bytes: u64);
}

/// Time, for bounded waits.
pub trait Clock {
    /// Microseconds since some fixed moment; never goes back.
    fn now_us(&self) -> u64;
    /// Tells the CPU that we are spinning.
    fn spin(&self);
}
