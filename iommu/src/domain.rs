//! A domain: what one owner's devices may reach.
//!
//! **Invariant: a change that some unit has not confirmed stays recorded in `unconfirmed`**, whatever became of
//! the [`Unflushed`] that told the caller, and page-table frames it unlinked stay out of use until then.
//!
//! A domain may be attached to requesters behind several units: it has one page table in a format all of them can
//! walk, and one id valid on all of them. What a unit must hear of a change goes through
//! [`Unflushed::flush`], which calls back once per unit the domain is attached to.

mod ids;

use crate::address::{DomainId, Iova, IovaRange, PhysAddr, UnitIndex};
use crate::capabilities::Capabilities;
use crate::environment::TableMemory;
use crate::error::{Error, Result};
use crate::second_stage::{Format, SecondStage, Span};
use crate::tables::Chain;
pub use ids::DomainIds;

/// What devices may do with a mapping. The direction is the device's view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permissions {
    /// The device reads.
    ReadOnly,
    /// The device writes.
    WriteOnly,
    /// Both.
    ReadWrite,
}

impl Permissions {
    /// Whether devices may read.
    #[must_use]
    pub const fn allows_read(self) -> bool {
        !matches!(self, Permissions::WriteOnly)
    }

    /// Whether devices may write.
    #[must_use]
    pub const fn allows_write(self) -> bool {
        !matches!(self, Permissions::ReadOnly)
    }

    /// Those of a leaf; `None` where devices may do neither.
    pub(crate) const fn from_bits(readable: bool, writable: bool) -> Option<Self> {
        match (readable, writable) {
            (true, true) => Some(Permissions::ReadWrite),
            (true, false) => Some(Permissions::ReadOnly),
            (false, true) => Some(Permissions::WriteOnly),
            (false, false) => None,
        }
    }
}

/// One leaf of a domain's tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leaf {
    /// Where devices see it.
    pub iova: Iova,
    /// Where it leads.
    pub phys: PhysAddr,
    /// What it spans.
    pub bytes: u64,
    /// What devices may do there.
    pub permissions: Permissions,
}

/// What a unit must be told about a changed domain; see [`vtd::Unit::invalidate`](crate::vtd::Unit::invalidate) and [`amdvi::Unit::invalidate`](crate::amdvi::Unit::invalidate).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Invalidation {
    pub(crate) domain: DomainId,
    pub(crate) range: IovaRange,
    /// Translations were taken away; otherwise some were only added.
    pub(crate) is_removal: bool,
}

/// The memory the devices of one owner reach, at which addresses, with which permissions.
pub struct Domain<M> {
    id: DomainId,
    table: SecondStage<M>,
    /// Requesters attached, per unit.
    attached: [u32; UnitIndex::MAX],
    unconfirmed: Option<Invalidation>,
    /// Page-table frames unlinked by a change in `unconfirmed`.
    dead: Chain,
}

impl<M: TableMemory> Domain<M> {
    /// Creates an empty domain for addresses below 2^`iova_bits`, usable behind every unit that has
    /// `capabilities`: pass the intersection of all units' of the machine.
    ///
    /// # Errors
    /// `Unsupported` (no table depth reaches `iova_bits`), `OutOfDomainIds`, `OutOfFrames`.
    pub fn new(memory: M, ids: &mut DomainIds, capabilities: Capabilities, iova_bits: u8) -> Result<Self> {
        let format = Format::choose(capabilities, iova_bits)?;
        let id = ids.take(capabilities.domain_id_bits)?;
        let table = SecondStage::new(memory, format, capabilities.is_coherent);
        let table = table.inspect_err(|_| ids.put_back(id))?;
        Ok(Domain { id, table, attached: [0; UnitIndex::MAX], unconfirmed: None, dead: Chain::default() })
    }

    /// The tag of this domain in every unit.
    #[must_use]
    pub fn id(&self) -> DomainId {
        self.id
    }

    /// Maps `bytes` at `iova` to the frames from `phys` on, with the largest pages that fit both.
    ///
    /// Cost: a walk of the range, twice. [`Unflushed::flush`] costs nothing but on units with caching mode or
    /// write buffers.
    ///
    /// # Errors
    /// `BadRange`, `BadPhysical`, `InterruptRange`, `AlreadyMapped`, `OutOfFrames`; nothing was changed.
    pub fn map(
        &mut self,
        iova: Iova,
        phys: PhysAddr,
        bytes: u64,
        permissions: Permissions,
    ) -> Result<Unflushed<'_, M>> {
        self.table.format().check_mapping(iova, phys, bytes)?;
        self.table.map(Span { iova: iova.0, phys: phys.0, bytes }, permissions)?;
        Ok(self.changed(iova, bytes, false))
    }

    /// Unmaps `bytes` at `iova`, all of which must be mapped. Until [`Unflushed::flush`] has returned `Ok`,
    /// devices may go on reaching the frames.
    ///
    /// # Errors
    /// `BadRange`, `NotMapped`, `SplitsLargePage`; nothing was changed.
    pub fn unmap(&mut self, iova: Iova, bytes: u64) -> Result<Unflushed<'_, M>> {
        self.table.format().check_iova(iova, bytes)?;
        self.table.unmap(Span { iova: iova.0, phys: 0, bytes }, &mut self.dead)?;
        Ok(self.changed(iova, bytes, true))
    }

    /// The leaf that `from` lies in, else the first one above it: what the tables say, not what they should.
    #[must_use]
    pub fn next_leaf(&self, from: Iova) -> Option<Leaf> {
        self.table.next_leaf(from)
    }

    /// Everything not confirmed yet, for another try after a failed or forgotten flush.
    pub fn unflushed(&mut self) -> Option<Unflushed<'_, M>> {
        self.unconfirmed.is_some().then_some(Unflushed { domain: self })
    }

    /// Page-table frames waiting for a confirmation.
    #[must_use]
    pub fn quarantined_frames(&self) -> usize {
        self.dead.frames()
    }

    /// Whether any requester is attached.
    #[must_use]
    pub fn is_attached(&self) -> bool {
        self.attached.iter().any(|&requesters| requesters != 0)
    }

    /// Gives back the tables and the id. Memory that was mapped is free for reuse: every detach was confirmed.
    ///
    /// # Errors
    /// The domain itself, while a requester is attached.
    #[expect(clippy::result_large_err, reason = "once in the life of an owner; a box would need a heap")]
    pub fn destroy(mut self, ids: &mut DomainIds) -> Result<(), Self> {
        if self.is_attached() {
            return Err(self);
        }
        self.table.free(&mut self.dead);
        self.table.destroy();
        ids.put_back(self.id);
        Ok(())
    }

    pub(crate) fn format(&self) -> Format {
        self.table.format()
    }

    pub(crate) fn root(&self) -> PhysAddr {
        self.table.root()
    }

    pub(crate) fn count_attached(&mut self, unit: UnitIndex) {
        self.attached[unit.get()] += 1;
    }

    pub(crate) fn count_detached(&mut self, unit: UnitIndex) {
        self.attached[unit.get()] -= 1;
    }

    fn changed(&mut self, iova: Iova, bytes: u64, is_removal: bool) -> Unflushed<'_, M> {
        let range = IovaRange { start: iova.0, end: iova.0 + bytes };
        let now = Invalidation { domain: self.id, range, is_removal };
        self.unconfirmed = Some(self.unconfirmed.map_or(now, |earlier| Invalidation {
            domain: self.id,
            range: earlier.range.join(range),
            is_removal: earlier.is_removal | is_removal,
        }));
        Unflushed { domain: self }
    }
}

/// A change the units have not confirmed. Dropping it is safe for the page table (the change stays recorded and
/// goes with the next flush), but **frames that were unmapped must not be reused**.
#[must_use = "devices may use the old translations until the units have confirmed"]
pub struct Unflushed<'d, M> {
    domain: &'d mut Domain<M>,
}

impl<M: TableMemory> Unflushed<'_, M> {
    /// Has every unit concerned confirm the change: calls `invalidate` once for each unit the domain is attached
    /// to, which is expected to call that unit's `invalidate`. Covers every earlier
    /// change that was not flushed.
    ///
    /// # Errors
    /// The first that `invalidate` returned; every unit was asked all the same. The change stays unconfirmed:
    /// frames that were unmapped must stay out of use.
    pub fn flush(self, mut invalidate: impl FnMut(UnitIndex, &Invalidation) -> Result<()>) -> Result<()> {
        let Some(change) = self.domain.unconfirmed else { return Ok(()) };
        let mut outcome: Result<(), Error> = Ok(());
        for at in (0..UnitIndex::MAX).filter(|&at| self.domain.attached[at] != 0) {
            let Some(unit) = UnitIndex::new(at) else { continue };
            let confirmed = invalidate(unit, &change);
            outcome = outcome.and(confirmed);
        }
        outcome?;
        self.domain.unconfirmed = None;
        self.domain.table.free(&mut self.domain.dead);
        Ok(())
    }
}
