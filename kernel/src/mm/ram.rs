//! RAM: the one allocator of frames, and taking memory into use at boot.

use weir_kernel::frames::{Frame, FrameAllocator, FrameState};

use super::address::{Direct, PhysAddr, PhysRange};
use super::tlb;
use crate::boot::pvh::BootInfo;
use crate::sync::Lock;

static FRAMES: Lock<Option<FrameAllocator<'static>>> = Lock::new(None);

/// Memory below 1 MiB stays out of use: firmware data, and the page where other CPUs start.
const LOW: u64 = 1 << 20;
/// What the boot tables map.
const REACHABLE: u64 = 1 << 32;

/// What must not be handed out.
struct Reserved([PhysRange; 4]);

impl Reserved {
    /// Calls `with` for each part of `range` that is free of reservations.
    fn subtract(&self, range: PhysRange, with: &mut impl FnMut(PhysRange)) {
        let Some(hit) = self.0.iter().find(|r| r.start < range.end && range.start < r.end) else {
            return with(range);
        };
        if range.start < hit.start {
            self.subtract(PhysRange { start: range.start, end: hit.start }, with);
        }
        if hit.end < range.end {
            self.subtract(PhysRange { start: hit.end, end: range.end }, with);
        }
    }
}

/// Sets the allocator up with the memory the boot tables reach. Returns where its books are.
pub(crate) fn set_up(boot: &BootInfo, image: PhysRange) -> PhysRange {
    let top = boot.ram.iter().map(|r| r.end).max().expect("the firmware lists RAM");
    let states_bytes = (top / 4096 * size_of::<FrameState>() as u64).next_multiple_of(4096);
    let mut reserved =
        Reserved([PhysRange::new(0, LOW), image, page_aligned(boot.bundle), PhysRange::new(0, 0)]);
    let mut books = None;
    for range in &boot.ram {
        reserved.subtract(below(*range, REACHABLE), &mut |free| {
            let start = free.start.next_multiple_of(4096);
            if start.saturating_add(states_bytes) <= free.end {
                books = Some(PhysRange::new(start, states_bytes));
            }
        });
    }
    let books = books.expect("memory for the frame allocator's books");
    reserved.0[3] = books;
    let count = (top / 4096) as usize;
    let states = PhysAddr(books.start).direct().cast::<FrameState>();
    for index in 0..count {
        // SAFETY: `books` is free RAM of the right size, reached through the boot tables.
        unsafe { states.add(index).write(FrameState::UNUSABLE) };
    }
    // SAFETY: just initialized; reserved for ever.
    let states = unsafe { core::slice::from_raw_parts_mut(states, count) };
    *FRAMES.lock() = Some(FrameAllocator::new(states));
    add(boot, &reserved, |range| below(range, REACHABLE));
    books
}

/// Adds the memory that only the kernel's own direct map reaches, once that is loaded.
pub(crate) fn add_high(boot: &BootInfo, image: PhysRange, books: PhysRange) {
    let reserved = Reserved([PhysRange::new(0, REACHABLE), image, page_aligned(boot.bundle), books]);
    add(boot, &reserved, |range| range);
}

fn add(boot: &BootInfo, reserved: &Reserved, part: impl Fn(PhysRange) -> PhysRange) {
    for range in &boot.ram {
        reserved.subtract(part(*range), &mut |free| {
            let range = PhysAddr(free.start)..PhysAddr(free.end);
            let result = FRAMES.lock().as_mut().expect("set up").add(range);
            // Overlapping firmware ranges: the second mention is ignored.
            if let Err(error) = result {
                log::warn!("memory {:#x}-{:#x} left out: {error}", free.start, free.end);
            }
        });
    }
}

fn below(range: PhysRange, limit: u64) -> PhysRange {
    PhysRange { start: range.start.min(limit), end: range.end.min(limit) }
}

fn page_aligned(range: PhysRange) -> PhysRange {
    PhysRange { start: range.start & !4095, end: range.end.next_multiple_of(4096) }
}

/// A block of 2^`order` frames, contents unknown.
pub(crate) fn allocate(order: u8) -> Option<PhysAddr> {
    FRAMES.lock().as_mut()?.allocate(order).map(Frame::address)
}

/// A block of 2^`order` frames, zeroed.
pub(crate) fn allocate_zeroed(order: u8) -> Option<PhysAddr> {
    /// Zeroed at a time, so that a large block does not hold up others' TLB shootdowns.
    const CHUNK: u64 = 2 << 20;
    let block = allocate(order)?;
    let bytes = 4096u64 << order;
    for offset in (0..bytes).step_by(CHUNK as usize) {
        let at = PhysAddr(block.0 + offset).direct();
        // SAFETY: the block is ours alone and lies in the direct map.
        unsafe { core::ptr::write_bytes(at, 0, CHUNK.min(bytes - offset) as usize) };
        tlb::serve();
    }
    Some(block)
}

/// Gives a block back.
///
/// # Panics
/// Where no such block is allocated: the kernel's own books are wrong.
pub(crate) fn free(block: PhysAddr, order: u8) {
    let result = FRAMES.lock().as_mut().expect("set up").free(Frame::containing(block), order);
    result.expect("freeing a block that was allocated");
}

/// Frames free now, and in all.
pub(crate) fn counts() -> (u64, u64) {
    FRAMES.lock().as_ref().map_or((0, 0), |f| (f.free_frames(), f.total_frames()))
}
