//! The kernel heap: one block taken at boot, so that processes cannot make it grow.
//!
//! At run time kernel objects are allocated fallibly ([`weir_kernel::refs::Ref::try_new`], `try_reserve`);
//! what allocates infallibly does so at boot only.

use talc::TalcLock;
use talc::source::Manual;

use super::address::Direct;
use super::ram;

#[global_allocator]
static HEAP: TalcLock<spin::mutex::SpinMutex<(), crate::sync::ServeShootdowns>, Manual> =
    TalcLock::new(Manual);

/// Takes 1/64 of memory, at least 4 MiB, at most 32 MiB.
///
/// # Panics
/// Where no such block is free: the machine is too small.
pub(crate) fn set_up() {
    let (_, total) = ram::counts();
    let order = (total / 64).clamp(1 << 10, 1 << 13).ilog2() as u8;
    let block = ram::allocate(order).expect("memory for the kernel heap (128 MiB of RAM suffice)");
    // SAFETY: the block is RAM of ours, never given back.
    unsafe { HEAP.lock().claim(block.direct(), 4096 << order) }.expect("the block is large enough");
}

/// Bytes of the heap: in all, and allocated.
pub(crate) fn bytes() -> (u64, u64) {
    let heap = HEAP.lock();
    let counters = heap.counters();
    (counters.claimed_bytes as u64, counters.allocated_bytes as u64)
}
