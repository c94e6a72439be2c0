//! The heap: `talc` over memory objects.
//!
//! **Invariant: the heap's frames are mapped once, here, and their handles are closed.** It grows by
//! [`CHUNK_BYTES`] until the process's quota says no, and gives whole free chunks back, but for what a program that must not
//! enter the kernel wants to keep at hand ([`reserve`]).

use core::alloc::{GlobalAlloc, Layout};
use core::ptr::null_mut;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

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
        let kept = if layout.size() == CHUNK_BYTES { Kept::take() } else { None };
        kept.unwrap_or_else(|| Frames::fresh(layout.size()))
    }

    unsafe fn dealloc(&self, chunk: *mut u8, layout: Layout) {
        if layout.size() == CHUNK_BYTES && Kept::put(chunk) {
            return;
        }
        // SAFETY: the heap gives back a chunk that nothing is allocated in. It cannot fail: the chunk is mapped.
        let _ = unsafe { unmap(chunk as u64) };
    }
}

impl Frames {
    /// A chunk of the kernel's; null where it gives none.
    fn fresh(bytes: usize) -> *mut u8 {
        Pages::new(bytes as u64).map_or(null_mut(), |pages| pages.leak() as *mut u8)
    }
}

/// Most chunks that are kept.
const KEPT_CHUNKS: usize = 64;

/// Free chunks that are not given back: a place each, the first [`WANTED`] of which are used; 0 where it is empty.
struct Kept;

static PLACES: [AtomicUsize; KEPT_CHUNKS] = [const { AtomicUsize::new(0) }; KEPT_CHUNKS];
static WANTED: AtomicUsize = AtomicUsize::new(0);

impl Kept {
    fn places() -> impl Iterator<Item = &'static AtomicUsize> {
        PLACES.iter().take(WANTED.load(Ordering::Relaxed))
    }

    fn take() -> Option<*mut u8> {
        let chunk = Kept::places().map(|place| place.swap(0, Ordering::Acquire)).find(|chunk| *chunk != 0);
        chunk.map(core::ptr::with_exposed_provenance_mut)
    }

    /// `false` where every place is taken.
    fn put(chunk: *mut u8) -> bool {
        let chunk = chunk.expose_provenance();
        Kept::places()
            .any(|place| place.compare_exchange(0, chunk, Ordering::Release, Ordering::Relaxed).is_ok())
    }
}

/// Has so many bytes at hand, at most 64 MiB, so that the heap grows by them without entering the kernel; what it gives back
/// later is kept, too, up to the 64 MiB. Where the quota allows less, there is less.
pub fn reserve(bytes: usize) {
    WANTED.store(KEPT_CHUNKS, Ordering::Relaxed);
    for _ in 0..bytes.div_ceil(CHUNK_BYTES).min(KEPT_CHUNKS) {
        let chunk = Frames::fresh(CHUNK_BYTES);
        if chunk.is_null() {
            return;
        }
        if !Kept::put(chunk) {
            // SAFETY: just made, and nobody has it. It cannot fail: the chunk is mapped.
            let _ = unsafe { unmap(chunk as u64) };
            return;
        }
    }
}

/// Looks at a lock that is taken before another thread gets the core: a few milliseconds, far longer than the heap needs, so that a
/// thread that has its core alone does not enter the kernel even where a virtual machine's other CPU stands still for a moment.
const SPINS: u32 = 1 << 18;

/// A lock that lets another thread run while it waits for long: there may be more threads than cores.
struct YieldLock(AtomicBool);

// SAFETY: `try_lock` succeeds only for whoever changes `false` to `true`, and only `unlock` changes it back.
unsafe impl lock_api::RawMutex for YieldLock {
    const INIT: YieldLock = YieldLock(AtomicBool::new(false));
    type GuardMarker = lock_api::GuardNoSend;

    fn lock(&self) {
        loop {
            for _ in 0..SPINS {
                if self.try_lock() {
                    return;
                }
                core::hint::spin_loop();
            }
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
