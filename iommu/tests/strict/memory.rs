//! Memory as the CPU sees it and as the unit sees it.
//!
//! Two views of each frame. A CPU write reaches the unit's view at once only if the unit snoops reads of such tables (a
//! handle allocates tables of one sort); otherwise with the flush of its line; and, where the unit has a write buffer, only with the next write-buffer flush after that.
//! The unit's view of a fresh frame is garbage that looks present, so that a forgotten flush is seen.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use weir_iommu::address::PhysAddr;
use weir_iommu::environment::TableMemory;

const WORDS: usize = 512;
/// What a unit sees in a frame nobody wrote back: present, pointing nowhere.
const GARBAGE: u64 = 0xbad_0000_0003;

#[derive(Default)]
struct Frame {
    cpu: Vec<u64>,
    unit: Vec<u64>,
    is_coherent: bool,
    may_be_linked_empty: bool,
}

#[derive(Default)]
struct State {
    frames: BTreeMap<u64, Frame>,
    allocations: BTreeMap<u64, usize>,
    next: u64,
    /// Frames that may still be handed out.
    budget: usize,
    has_write_buffer: bool,
    /// Words on their way from the CPU's view to the unit's: where, and what was there when they left.
    buffered: Vec<(u64, u64)>,
    /// Frames each unit may hold in its paging-structure cache.
    pinned: BTreeMap<usize, BTreeSet<u64>>,
}

/// A handle; clones share the memory.
#[derive(Clone)]
pub(crate) struct Memory {
    state: Rc<RefCell<State>>,
    /// Of the frames this handle allocates.
    is_coherent: bool,
    /// They may be linked while the unit sees none of their content but zeros, as CPUs do with page tables.
    may_be_linked_empty: bool,
}

impl Memory {
    pub(crate) fn new(is_coherent: bool, has_write_buffer: bool) -> Self {
        let state = State { next: 0x10_0000, budget: usize::MAX, has_write_buffer, ..State::default() };
        Memory { state: Rc::new(RefCell::new(state)), is_coherent, may_be_linked_empty: false }
    }

    /// A handle for another sort of tables in the same memory.
    pub(crate) fn for_tables(&self, is_coherent: bool, may_be_linked_empty: bool) -> Self {
        Memory { state: self.state.clone(), is_coherent, may_be_linked_empty }
    }

    pub(crate) fn set_budget(&self, frames: usize) {
        self.state.borrow_mut().budget = frames;
    }

    pub(crate) fn frames_in_use(&self) -> usize {
        self.state.borrow().allocations.values().sum()
    }

    /// What the unit reads.
    pub(crate) fn unit_view(&self, at: u64) -> u64 {
        let state = self.state.borrow();
        let frame = state
            .frames
            .get(&(at & !0xfff))
            .unwrap_or_else(|| panic!("unit reads {at:#x}, which is no table"));
        frame.unit[(at & 0xfff) as usize / 8]
    }

    /// What the CPU reads; also what the unit reads of the queue, which it always snoops.
    pub(crate) fn cpu_view(&self, at: u64) -> u64 {
        let state = self.state.borrow();
        state.frames[&(at & !0xfff)].cpu[(at & 0xfff) as usize / 8]
    }

    /// A write by the unit.
    pub(crate) fn write_by_unit(&self, at: u64, words: &[u64]) {
        let mut state = self.state.borrow_mut();
        let frame = state.frames.get_mut(&(at & !0xfff)).expect("what the unit writes is in a table frame");
        assert_eq!(at % 8, 0);
        frame.cpu[(at & 0xfff) as usize / 8..][..words.len()].copy_from_slice(words);
    }

    /// Panics unless the unit sees what the CPU wrote to each of the `frames`: it may read them from now on.
    pub(crate) fn assert_seen(&self, at: u64, frames: u64) {
        let state = self.state.borrow();
        for frame in (0..frames).map(|n| at + n * 4096) {
            let is_seen = state.frames.get(&frame).is_none_or(|frame| frame.cpu == frame.unit);
            assert!(is_seen, "a register leads to a table {frame:#x} the unit does not see yet");
        }
    }

    pub(crate) fn drain_write_buffer(&self) {
        let mut state = self.state.borrow_mut();
        for (at, value) in std::mem::take(&mut state.buffered) {
            state.show_to_unit(at, value);
        }
    }

    /// Says which frames `unit` may hold.
    pub(crate) fn pin(&self, unit: usize, walked: BTreeSet<u64>) {
        self.state.borrow_mut().pinned.insert(unit, walked);
    }
}

impl State {
    fn word(&mut self, at: PhysAddr) -> &mut u64 {
        let frame =
            self.frames.get_mut(&(at.0 & !0xfff)).unwrap_or_else(|| panic!("{at:x?} is not allocated"));
        assert_eq!(at.0 % 8, 0);
        &mut frame.cpu[(at.0 & 0xfff) as usize / 8]
    }

    fn write(&mut self, at: u64, value: u64) {
        let is_coherent = self.is_coherent(at);
        if !is_coherent {
            // A line written twice may have been evicted in between.
            self.leave_cache(at);
        }
        *self.word(PhysAddr(at)) = value;
        if is_coherent {
            self.leave_cache(at);
        }
    }

    fn is_coherent(&self, at: u64) -> bool {
        self.frames.get(&(at & !0xfff)).is_some_and(|frame| frame.is_coherent)
    }

    fn leave_cache(&mut self, at: u64) {
        let value = *self.word(PhysAddr(at));
        if self.has_write_buffer {
            self.buffered.push((at, value));
        } else {
            self.show_to_unit(at, value);
        }
    }

    /// Invariant checked here: a table is in the unit's view as a whole before an entry that leads to it is.
    fn show_to_unit(&mut self, at: u64, value: u64) {
        let Some(frame) = self.frames.get_mut(&(at & !0xfff)) else { return };
        let word = (at & 0xfff) as usize / 8;
        let is_news = frame.unit[word] != value;
        frame.unit[word] = value;
        // Links have no 1 in their top four bits; AMD's command that stores a word has, and leads nowhere. Of a PASID
        // entry the words with other meanings are no addresses of frames.
        let is_link = is_news && value & 3 != 0 && value >> 60 != 1;
        if let Some(target) = self.frames.get(&(value & 0x000f_ffff_ffff_f000)).filter(|_| is_link) {
            let is_seen = |(cpu, unit): (&u64, &u64)| cpu == unit || target.may_be_linked_empty && *unit == 0;
            let is_ready = target.cpu.iter().zip(&target.unit).all(is_seen);
            assert!(is_ready, "entry {at:#x} leads to a table the unit does not see yet");
        }
    }
}

// SAFETY: frames are handed out once (the address only grows) and belong to the caller until `free`.
unsafe impl TableMemory for Memory {
    fn alloc(&self, frames: usize) -> Option<PhysAddr> {
        let mut state = self.state.borrow_mut();
        state.budget = state.budget.checked_sub(frames)?;
        let at = state.next;
        state.next += (frames as u64 + 1) * 4096;
        state.allocations.insert(at, frames);
        let (is_coherent, may_be_linked_empty) = (self.is_coherent, self.may_be_linked_empty);
        let sees = if is_coherent && !state.has_write_buffer { 0 } else { GARBAGE };
        for frame in (0..frames as u64).map(|n| at + n * 4096) {
            state.frames.insert(
                frame,
                Frame { cpu: vec![0; WORDS], unit: vec![sees; WORDS], is_coherent, may_be_linked_empty },
            );
            if is_coherent && state.has_write_buffer {
                state.buffered.extend((0..4096).step_by(8).map(|byte| (frame + byte, 0)));
            }
        }
        Some(PhysAddr(at))
    }

    unsafe fn free(&self, at: PhysAddr, frames: usize) {
        let mut state = self.state.borrow_mut();
        assert_eq!(state.allocations.remove(&at.0), Some(frames), "freed what was not allocated");
        for frame in (0..frames as u64).map(|n| at.0 + n * 4096) {
            let is_pinned = state.pinned.values().any(|frames| frames.contains(&frame));
            assert!(!is_pinned, "frame {frame:#x} freed while a unit may walk it");
            state.frames.remove(&frame);
        }
        state.budget = state.budget.saturating_add(frames);
    }

    unsafe fn read64(&self, at: PhysAddr) -> u64 {
        *self.state.borrow_mut().word(at)
    }

    unsafe fn write64(&self, at: PhysAddr, value: u64) {
        let mut state = self.state.borrow_mut();
        state.write(at.0, value);
    }

    unsafe fn write128(&self, at: PhysAddr, value: u128) {
        assert_eq!(at.0 % 16, 0);
        let mut state = self.state.borrow_mut();
        state.write(at.0 + 8, (value >> 64) as u64);
        state.write(at.0, value as u64);
    }

    unsafe fn flush(&self, at: PhysAddr, bytes: u64) {
        let mut state = self.state.borrow_mut();
        assert!(!state.is_coherent(at.0), "flushed for units that snoop");
        let lines = (at.0 & !63)..(at.0 + bytes).next_multiple_of(64);
        // Upper words first: an entry that becomes visible must already be complete.
        for word in lines.step_by(8).collect::<Vec<_>>().into_iter().rev() {
            state.leave_cache(word);
        }
    }
}
