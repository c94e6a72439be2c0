//! `Memory` objects: frames that can be mapped.

use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering};

use weir_abi::Error;
use weir_abi::layout::PAGE_BYTES;
use weir_kernel::refs::Ref;

use super::address::{Direct, PhysAddr, PhysRange};
use super::ram;
use crate::object::process::Process;

/// A run of frames as the allocator gave it.
#[derive(Clone, Copy)]
struct Block {
    start: PhysAddr,
    order: u8,
}

impl Block {
    fn bytes(self) -> u64 {
        PAGE_BYTES << self.order
    }
}

/// Frames, zeroed when they were taken, given back when the last handle and mapping are gone.
pub(crate) struct Memory {
    /// Distinguishes it from every other, earlier ones included.
    pub(crate) number: u64,
    blocks: Vec<Block>,
    bytes: u64,
    source: Source,
}

/// Who pays for the frames.
enum Source {
    /// This process's quota, given back with the frames.
    Charged(Ref<Process>),
    /// The boot loader's; never freed.
    Boot(PhysAddr),
}

fn next_number() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// Largest block taken at once: what the largest page covers.
const LARGEST_ORDER: u8 = 18;

impl Memory {
    /// Takes `bytes` (a positive multiple of 4 KiB) from the allocator, charged to `payer`; as one run if
    /// `is_contiguous`, which then must be a power of two.
    pub(crate) fn allocate(payer: &Ref<Process>, bytes: u64, is_contiguous: bool) -> Result<Memory, Error> {
        let frames = bytes / PAGE_BYTES;
        payer.charge_frames(frames)?;
        let mut memory = Memory {
            number: next_number(),
            blocks: Vec::new(),
            bytes,
            source: Source::Charged(payer.clone()),
        };
        let mut left = frames;
        while left > 0 {
            let fitting = (left.ilog2() as u8).min(LARGEST_ORDER);
            let smallest = if is_contiguous { fitting } else { 0 };
            let block = take_block(fitting, smallest).ok_or(Error::NoMemory)?;
            let pushed = memory.blocks.try_reserve(1).map(|()| memory.blocks.push(block));
            if pushed.is_err() {
                ram::free(block.start, block.order);
                return Err(Error::NoMemory);
            }
            left -= 1 << block.order;
        }
        Ok(memory)
    }

    /// The boot bundle, where the loader put it.
    pub(crate) fn boot(range: PhysRange) -> Memory {
        let bytes = range.bytes().next_multiple_of(PAGE_BYTES);
        Memory {
            number: next_number(),
            blocks: Vec::new(),
            bytes,
            source: Source::Boot(PhysAddr(range.start)),
        }
    }

    /// Size in bytes.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The physical runs behind `[offset, offset + bytes)`, in order.
    pub(crate) fn runs(&self, offset: u64, bytes: u64) -> impl Iterator<Item = PhysRange> + '_ {
        let boot = match self.source {
            Source::Boot(start) => Some(PhysRange::new(start.0, self.bytes)),
            Source::Charged(_) => None,
        };
        let blocks = self.blocks.iter().map(|b| PhysRange::new(b.start.0, b.bytes()));
        let mut skip = offset;
        let mut left = bytes;
        boot.into_iter().chain(blocks).filter_map(move |run| {
            let skipped = skip.min(run.bytes());
            skip -= skipped;
            let start = run.start + skipped;
            let length = left.min(run.end - start);
            left -= length;
            (length > 0).then(|| PhysRange::new(start, length))
        })
    }
}

impl Memory {
    /// Copies `data` to `offset`, as far as it fits: for memory that nobody has mapped writable yet.
    pub(crate) fn fill(&self, offset: u64, data: &[u8]) {
        let mut rest = data;
        for run in self.runs(offset, data.len() as u64) {
            let (now, later) = rest.split_at(run.bytes() as usize);
            // SAFETY: the frames are this object's and lie in the direct map.
            unsafe { core::ptr::copy_nonoverlapping(now.as_ptr(), PhysAddr(run.start).direct(), now.len()) };
            rest = later;
        }
    }
}

/// The largest free block of order `fitting` or less, but not below `smallest`.
fn take_block(fitting: u8, smallest: u8) -> Option<Block> {
    (smallest..=fitting)
        .rev()
        .find_map(|order| ram::allocate_zeroed(order).map(|start| Block { start, order }))
}

impl Drop for Memory {
    fn drop(&mut self) {
        for block in &self.blocks {
            ram::free(block.start, block.order);
        }
        if let Source::Charged(payer) = &self.source {
            payer.uncharge_frames(self.bytes / PAGE_BYTES);
        }
    }
}
