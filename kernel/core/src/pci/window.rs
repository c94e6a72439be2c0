//! Where a bridge's memory windows are, and finding room in them.
//!
//! **Invariant: what is placed lies inside a window, in pages that nothing else decodes.**
//!
//! Windows are the firmware's; nothing here moves one.

use core::ops::Range;

use super::bar::BarKind;
use super::config::Config;
use super::registers::{WindowWord, offset};
use crate::frames::PhysAddr;

/// Granularity of windows.
const MIB: u64 = 1 << 20;
/// Addresses that 32 bits reach.
const LOW_END: u64 = 1 << 32;

/// What a bridge passes down; a closed window is empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Windows {
    /// Below 4 GiB.
    pub memory: Range<u64>,
    /// Where reads have no side effects.
    pub prefetchable: Range<u64>,
}

impl Windows {
    /// Those of the bridge that `config` belongs to.
    pub(super) fn read(config: Config) -> Windows {
        let memory = WindowWord::from_bits(config.read(offset::MEMORY_WINDOW));
        let prefetchable = WindowWord::from_bits(config.read(offset::PREFETCHABLE_WINDOW));
        let upper = |at| if prefetchable.is_64_bit() { u64::from(config.read(at)) << 32 } else { 0 };
        let (base, limit) = (upper(offset::PREFETCHABLE_WINDOW + 4), upper(offset::PREFETCHABLE_WINDOW + 8));
        Windows { memory: range(memory, 0, 0), prefetchable: range(prefetchable, base, limit) }
    }

    /// Room for `bytes` bytes of some kind, a power of two, that `taken` leaves free: that gives the end, on a page
    /// boundary, of something that lies in a range.
    pub(super) fn place(
        &self,
        kind: BarKind,
        bytes: u64,
        taken: impl Fn(&Range<PhysAddr>) -> Option<PhysAddr>,
    ) -> Option<u64> {
        let BarKind::Memory { is_prefetchable, is_64_bit } = kind else { return None };
        let best = self.prefetchable.clone();
        let is_reached = is_64_bit || best.end <= LOW_END;
        let first = if is_prefetchable && is_reached { best } else { 0..0 };
        // Prefetchable memory may also lie where the others are; not the other way round.
        [first, self.memory.clone()].iter().find_map(|window| place_in(window, bytes, &taken))
    }
}

fn range(window: WindowWord, upper_base: u64, upper_limit: u64) -> Range<u64> {
    let start = upper_base + u64::from(window.first()) * MIB;
    let last = upper_limit + u64::from(window.last()) * MIB;
    // A window at 0 is one that nobody has set up.
    if start == 0 || last < start { 0..0 } else { start..last.saturating_add(MIB) }
}

fn place_in(
    window: &Range<u64>,
    bytes: u64,
    taken: impl Fn(&Range<PhysAddr>) -> Option<PhysAddr>,
) -> Option<u64> {
    let mut at = window.start.checked_next_multiple_of(bytes)?;
    loop {
        let end = at.checked_add(bytes).filter(|end| *end <= window.end)?;
        let Some(above) = taken(&(PhysAddr(at)..PhysAddr(end))) else { return Some(at) };
        at = above.0.checked_next_multiple_of(bytes)?;
    }
}
