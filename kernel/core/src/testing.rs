//! What the tests share: how property tests run, and a heap that can be full.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use proptest::test_runner::Config;

/// The usual number of cases; a few under Miri, which is a thousand times slower and has no file system.
pub(crate) fn cases() -> Config {
    let cases = if cfg!(miri) { 4 } else { 256 };
    Config { cases, failure_persistence: None, ..Config::default() }
}

/// Runs `body` with no memory left for this thread; what it holds already it can still free.
pub(crate) fn with_full_heap<R>(body: impl FnOnce() -> R) -> R {
    IS_FULL.set(true);
    let result = body();
    IS_FULL.set(false);
    result
}

thread_local! {
    static IS_FULL: Cell<bool> = const { Cell::new(false) };
}

struct Heap;

#[global_allocator]
static HEAP: Heap = Heap;

// SAFETY: the system allocator does the work; returning null is allowed at any time.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if IS_FULL.get() {
            return core::ptr::null_mut();
        }
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the memory came from `System`, and the caller's promises are passed on.
        unsafe { System.dealloc(memory, layout) }
    }
}
