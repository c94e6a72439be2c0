//! The heap: `talc` over memory objects.
//!
//! **Invariant: the heap's frames are mapped once, here, and their handles are closed.** It grows by
//! [`CHUNK_BYTES`] until the process's quota says no, and gives whole free chunks back. Not for the data path.

use core::alloc::{GlobalAlloc, Layout};
use core::ptr::null_mut;
use core::sync::atomic::{AtomicBool, Ordering};

use talc::TalcLock;
use talc::source::GlobalAllocSource;

use crate::memory::{Pages, unmap};
use crate::thread;

/// Bytes by which the heap grows, at least.
const CHUNK_BYTES: usize = 1 << 20;

#[cfg_attr(not(test), global_allocator)]
#[cfg_attr(test, expect(dead_code, reason = "tests run on the host, with the host's heap"))]
static HEAP: TalcLock<YieldLock, GlobalAllocSource<Frames>> =
    TalcLock::new(GlobalAllocSource::with_block_size(Frames, CHUNK_BYTES));

/// Where the heap's chunks come from.
#[derive(Debug)]
struct Frames;

// SAFETY: `alloc` gives pages that are mapped, unused elsewhere and aligned to 4096 (the heap asks for less);
// `dealloc` unmaps what `alloc` gave, by the start of its mapping.
unsafe impl GlobalAlloc for Frames {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        Pages::new(layout.size() as u64).map_or(null_mut(), |pages| pages.leak() as *mut u8)
    }

    unsafe fn dealloc(&self, chunk: *mut u8, _: Layout) {
        // SAFETY: the heap gives back a chunk that nothing is allocated in. It cannot fail: the chunk is mapped.
        let _ = unsafe { unmap(chunk as u64) };
    }
}

/// A lock that lets another thread run while it waits: there may be more threads than cores.
struct YieldLock(AtomicBool);

// SAFETY: `try_lock` succeeds only for whoever changes `false` to `true`, and only `unlock` changes it back.
unsafe impl lock_api::RawMutex for YieldLock {
    const INIT: YieldLock = YieldLock(AtomicBool::new(false));
    type GuardMarker = lock_api::GuardNoSend;

    fn lock(&self) {
        while !self.try_lock() {
            thread::yield_now();
        }
    }

    fn try_lock(&self) -> bool {
        !self.0.swap(true, Ordering::Acquire)
    }

    unsafe fn unlock(&self) {
        self.0.store(false, Ordering::Release);
    }
}
