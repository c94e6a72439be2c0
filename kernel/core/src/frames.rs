//! Physical memory: which frames are free (a buddy allocator).
//!
//! **Invariant: every usable frame is in exactly one block, free or allocated, and a block's first frame is a
//! multiple of its size.** Two free buddies never exist side by side: they are merged at once.
//!
//! Keeps its books in a slice of its own and never touches the memory it hands out; it neither zeroes nor maps.
//! Glossary: *order* — a block of order `n` has 2ⁿ frames; *buddy* — the equal neighbour a block was split from.

#![forbid(unsafe_code)]

#[cfg(test)]
mod tests;

use core::ops::Range;

/// Bytes of a frame.
pub const FRAME_BYTES: u64 = weir_abi::layout::PAGE_BYTES;
/// Order of the largest block: 1 GiB.
pub const MAX_ORDER: u8 = 18;

const ORDERS: usize = MAX_ORDER as usize + 1;

/// A physical address, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PhysAddr(pub u64);

/// A frame's number: its physical address divided by [`FRAME_BYTES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Frame(pub u64);

impl Frame {
    /// The frame that holds `address`.
    #[must_use]
    pub const fn containing(address: PhysAddr) -> Frame {
        Frame(address.0 / FRAME_BYTES)
    }

    /// Where it starts.
    ///
    /// # Panics
    ///
    /// In debug builds, for a number above 2⁵²: such a frame has no address.
    #[must_use]
    pub const fn address(self) -> PhysAddr {
        PhysAddr(self.0 * FRAME_BYTES)
    }
}

/// What the allocator knows of one frame; the caller provides a slice with one per frame.
#[derive(Clone, Copy, Debug, Default)]
pub struct FrameState(State);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// Not memory that was given to the allocator.
    #[default]
    Unusable,
    /// In a block, but not its first frame.
    Inside,
    /// First frame of a free block, and its neighbours in the list of its order.
    Free { order: u8, previous: u32, next: u32 },
    /// First frame of an allocated block.
    Allocated { order: u8 },
}

impl FrameState {
    /// The state before the frame is given to an allocator.
    pub const UNUSABLE: FrameState = FrameState(State::Unusable);
}

const _: () = assert!(size_of::<FrameState>() == 12);

/// End of a list.
const NONE: u32 = u32::MAX;

/// Why the allocator refused; it then has changed nothing. All of these are the caller's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// The frame lies beyond the slice of states.
    #[error("frame {frame:#x} is not covered")]
    NotCovered {
        /// Its number.
        frame: u64,
    },
    /// The frame was added before.
    #[error("frame {frame:#x} was added before")]
    AddedTwice {
        /// Its number.
        frame: u64,
    },
    /// No allocated block starts there: it is free already, in the middle of a block, or not usable memory.
    #[error("no allocated block starts at frame {frame:#x}")]
    NotAllocated {
        /// Its number.
        frame: u64,
    },
    /// The block was allocated with another order.
    #[error("block at frame {frame:#x} has order {allocated}, not {given}")]
    WrongOrder {
        /// Its number.
        frame: u64,
        /// The order it has.
        allocated: u8,
        /// The order it was to be freed with.
        given: u8,
    },
}

/// A buddy allocator over the frames `0..states.len()`.
pub struct FrameAllocator<'a> {
    states: &'a mut [FrameState],
    /// First free block of each order.
    heads: [u32; ORDERS],
    free_frames: u64,
    total_frames: u64,
}

impl<'a> FrameAllocator<'a> {
    /// Makes an allocator without memory; whatever `states` held is overwritten. Cost: one write per frame.
    ///
    /// States beyond the first 2³²−1 (16 TiB) are not used.
    #[must_use]
    pub fn new(states: &'a mut [FrameState]) -> FrameAllocator<'a> {
        let covered = states.len().min(NONE as usize);
        let states = &mut states[..covered];
        states.fill(FrameState::UNUSABLE);
        FrameAllocator { states, heads: [NONE; ORDERS], free_frames: 0, total_frames: 0 }
    }

    /// Gives the allocator the whole frames within `range`, free; frames cut by an end are left out.
    ///
    /// Cost: the number of frames.
    ///
    /// # Errors
    ///
    /// [`FrameError::NotCovered`], [`FrameError::AddedTwice`].
    pub fn add(&mut self, range: Range<PhysAddr>) -> Result<(), FrameError> {
        let first = range.start.0.div_ceil(FRAME_BYTES);
        let end = range.end.0 / FRAME_BYTES;
        if first >= end {
            return Ok(());
        }
        let (first, end) = (self.index(Frame(first))?, self.index(Frame(end - 1))? + 1);
        if let Some(frame) = (first..end).find(|frame| *self.state(*frame) != State::Unusable) {
            return Err(FrameError::AddedTwice { frame: frame.into() });
        }
        for frame in first..end {
            *self.state(frame) = State::Inside;
        }
        self.total_frames += u64::from(end - first);
        let mut next = first;
        while next < end {
            let order = largest_order(next, end - next);
            self.release(next, order);
            next += frames(order);
        }
        Ok(())
    }

    /// Takes a block of 2^`order` frames, aligned to its size. Cost: O([`MAX_ORDER`]).
    ///
    /// `None` where no free block is large enough, or `order` is above [`MAX_ORDER`].
    pub fn allocate(&mut self, order: u8) -> Option<Frame> {
        let mut block_order = (order..=MAX_ORDER).find(|o| self.heads[usize::from(*o)] != NONE)?;
        let block = self.heads[usize::from(block_order)];
        self.unlink(block);
        while block_order > order {
            block_order -= 1;
            self.link(block + frames(block_order), block_order);
        }
        *self.state(block) = State::Allocated { order };
        self.free_frames -= u64::from(frames(order));
        Some(Frame(block.into()))
    }

    /// Gives back a block that [`FrameAllocator::allocate`] returned. Cost: O([`MAX_ORDER`]).
    ///
    /// # Errors
    ///
    /// [`FrameError::NotCovered`], [`FrameError::NotAllocated`] (a second free among others),
    /// [`FrameError::WrongOrder`].
    pub fn free(&mut self, frame: Frame, order: u8) -> Result<(), FrameError> {
        let block = self.index(frame)?;
        match *self.state(block) {
            State::Allocated { order: allocated } if allocated == order => {}
            State::Allocated { order: allocated } => {
                return Err(FrameError::WrongOrder { frame: frame.0, allocated, given: order });
            }
            _ => return Err(FrameError::NotAllocated { frame: frame.0 }),
        }
        self.release(block, order);
        Ok(())
    }

    /// Frames that are free.
    #[must_use]
    pub fn free_frames(&self) -> u64 {
        self.free_frames
    }

    /// Frames that were added, free or not.
    #[must_use]
    pub fn total_frames(&self) -> u64 {
        self.total_frames
    }

    /// Makes a block free, merged with its buddies as far as they are free.
    fn release(&mut self, mut block: u32, mut order: u8) {
        self.free_frames += u64::from(frames(order));
        *self.state(block) = State::Inside;
        while let Some(buddy) = self.free_buddy(block, order) {
            self.unlink(buddy);
            block = block.min(buddy);
            order += 1;
        }
        self.link(block, order);
    }

    fn free_buddy(&mut self, block: u32, order: u8) -> Option<u32> {
        let buddy = block ^ frames(order);
        let state = self.states.get(buddy as usize)?.0;
        let is_free = matches!(state, State::Free { order: its, .. } if its == order);
        (order < MAX_ORDER && is_free).then_some(buddy)
    }

    /// Puts a block at the head of its order's list.
    fn link(&mut self, block: u32, order: u8) {
        let next = core::mem::replace(&mut self.heads[usize::from(order)], block);
        *self.state(block) = State::Free { order, previous: NONE, next };
        if next != NONE
            && let State::Free { previous, .. } = self.state(next)
        {
            *previous = block;
        }
    }

    /// Takes a block out of its order's list.
    fn unlink(&mut self, block: u32) {
        let taken = core::mem::replace(self.state(block), State::Inside);
        let State::Free { order, previous: before, next: after } = taken else {
            unreachable!("only free blocks are in a list")
        };
        if before == NONE {
            self.heads[usize::from(order)] = after;
        } else if let State::Free { next, .. } = self.state(before) {
            *next = after;
        }
        if after != NONE
            && let State::Free { previous, .. } = self.state(after)
        {
            *previous = before;
        }
    }

    fn index(&self, frame: Frame) -> Result<u32, FrameError> {
        let index = u32::try_from(frame.0).ok().filter(|index| (*index as usize) < self.states.len());
        index.ok_or(FrameError::NotCovered { frame: frame.0 })
    }

    fn state(&mut self, frame: u32) -> &mut State {
        &mut self.states[frame as usize].0
    }
}

/// Frames in a block of `order`.
const fn frames(order: u8) -> u32 {
    1 << order
}

/// Order of the largest block that can start at `first` and has at most `count` frames; `count` is not 0.
fn largest_order(first: u32, count: u32) -> u8 {
    let by_alignment = first.trailing_zeros();
    let by_count = count.ilog2();
    #[expect(clippy::cast_possible_truncation, reason = "at most MAX_ORDER")]
    {
        by_alignment.min(by_count).min(MAX_ORDER.into()) as u8
    }
}
