//! A domain for a device that belongs to nobody and does not bear being refused: whatever address it asks for, it
//! reaches one page, which nobody else uses.
//!
//! **Invariant: every walk from the root ends in the sink**: there is one table per level, all of whose 512 entries are
//! equal; they lead to the table of the next level, those of the last one to the sink. Nothing else is reachable,
//! because no entry leads elsewhere. The tables never change, so there is nothing to invalidate but by detaching.
//!
//! Not covered: addresses that no table of the unit reaches (beyond its width, not canonical) still fault.

use super::first_stage::{self, Entry};
use super::{DomainIds, Membership, Permissions, Walk};
use crate::address::{DomainId, FRAME_BYTES, PhysAddr};
use crate::capabilities::{Capabilities, Mode};
use crate::environment::TableMemory;
use crate::error::{Error, Result};
use crate::second_stage::Format;
use crate::tables::Tables;

/// Frames of the deepest domain: the sink, and a table for each of five levels.
const MOST: usize = 6;

/// What a device without an owner reaches: one page of its own.
pub struct ScratchDomain<M> {
    pub(super) membership: Membership,
    tables: Tables<M>,
    /// By level: the sink, then the tables up to the root.
    frames: [PhysAddr; MOST],
}

impl<M: TableMemory> ScratchDomain<M> {
    /// Creates a domain for all addresses that units with `capabilities` translate in `mode`. Its page is zero.
    ///
    /// # Errors
    /// `Unsupported` (the mode is not offered), `OutOfDomainIds`, `OutOfFrames`; nothing was changed.
    pub fn new(memory: M, ids: &mut DomainIds, capabilities: Capabilities, mode: Mode) -> Result<Self> {
        let shape = Shape::choose(capabilities, mode)?;
        let tables = Tables::new(memory, capabilities.walks_coherently(mode));
        let id = ids.take(capabilities.domain_id_bits)?;
        let frames = build(&tables, shape).inspect_err(|_| ids.put_back(id))?;
        let levels = shape.levels();
        let walk = Walk { mode, root: frames[usize::from(levels)], levels, capabilities };
        Ok(ScratchDomain { membership: Membership::new(id, walk), tables, frames })
    }

    /// The tag of this domain in every unit.
    #[must_use]
    pub fn id(&self) -> DomainId {
        self.membership.id()
    }

    /// The page that every access reaches.
    #[must_use]
    pub fn sink(&self) -> PhysAddr {
        self.frames[0]
    }

    /// Fills the sink with zeros: whoever is attached next finds nothing in it.
    pub fn clear(&mut self) {
        fill(&self.tables, self.frames[0], 0);
    }

    /// Whether any requester is attached.
    #[must_use]
    pub fn is_attached(&self) -> bool {
        self.membership.is_attached()
    }

    /// Gives back the page, the tables and the id: every detach was confirmed.
    ///
    /// # Errors
    /// The domain itself, while a requester is attached.
    #[expect(clippy::result_large_err, reason = "once in the life of a device; a box would need a heap")]
    pub fn destroy(self, ids: &mut DomainIds) -> Result<(), Self> {
        if self.is_attached() {
            return Err(self);
        }
        let levels = usize::from(self.membership.walk().levels);
        free(&self.tables, &self.frames[..=levels]);
        ids.put_back(self.membership.id());
        Ok(())
    }
}

/// What the entries are like.
#[derive(Clone, Copy)]
enum Shape {
    First,
    Second(Format),
}

impl Shape {
    /// The widest that every unit of `capabilities` walks.
    fn choose(capabilities: Capabilities, mode: Mode) -> Result<Shape> {
        if mode == Mode::VtdFirstStage {
            return if capabilities.offers(mode) { Ok(Shape::First) } else { Err(Error::Unsupported) };
        }
        let widths = [57, 48, 39].map(|bits| capabilities.iova_bits.min(bits));
        let formats = widths.map(|bits| Format::choose(capabilities, mode, bits));
        formats.into_iter().find_map(Result::ok).map(Shape::Second).ok_or(Error::Unsupported)
    }

    fn levels(self) -> u8 {
        match self {
            Shape::First => first_stage::LEVELS,
            Shape::Second(format) => format.levels(),
        }
    }

    /// The entry of a table at `level` that leads to `below`: the sink below level 1, else a table.
    fn entry(self, level: u8, below: PhysAddr) -> u64 {
        match (self, level) {
            (Shape::First, 1) => Entry::to_page(below).into_bits(),
            (Shape::First, _) => Entry::to_table(below).into_bits(),
            (Shape::Second(format), 1) => format.page(below, 1, Permissions::ReadWrite),
            (Shape::Second(format), _) => format.link(below, level),
        }
    }
}

/// Makes the sink and the tables, from the bottom; on failure nothing stays.
fn build<M: TableMemory>(tables: &Tables<M>, shape: Shape) -> Result<[PhysAddr; MOST]> {
    let mut frames = [PhysAddr(0); MOST];
    for level in 0..=shape.levels() {
        let at = usize::from(level);
        frames[at] = tables.alloc(1).inspect_err(|_| free(tables, &frames[..at]))?;
        if level > 0 {
            fill(tables, frames[at], shape.entry(level, frames[at - 1]));
        }
    }
    Ok(frames)
}

fn free<M: TableMemory>(tables: &Tables<M>, frames: &[PhysAddr]) {
    frames.iter().for_each(|frame| tables.free(*frame, 1));
}

/// Makes every word of a frame `word`.
fn fill<M: TableMemory>(tables: &Tables<M>, frame: PhysAddr, word: u64) {
    (0..FRAME_BYTES).step_by(8).for_each(|offset| tables.write64(frame.offset(offset), word));
    tables.flush(frame, FRAME_BYTES);
}
