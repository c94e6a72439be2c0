//! A domain: what one owner's devices may reach.
//!
//! **Invariant: a change that some unit has not confirmed stays recorded**, whatever became of the [`Unflushed`] that
//! told the caller, and page-table frames it unlinked stay out of use until then.
//!
//! A domain may be attached to requesters behind several units: it has one page table in a format all of them can
//! walk, and one id valid on all of them. What a unit must hear of a change goes through
//! [`Unflushed::flush`], which calls back once per unit the domain is attached to.
//!
//! A [`Domain`] has a page table of its own; a [`SharedDomain`] has the CPU's; a [`ScratchDomain`] leads
//! everywhere to one page.

mod first_stage;
mod ids;
mod membership;
mod scratch;
mod shared;

use crate::address::{DomainId, Iova, PhysAddr, UnitIndex};
use crate::capabilities::{Capabilities, Mode};
use crate::environment::TableMemory;
use crate::error::Result;
use crate::second_stage::{Format, SecondStage, Span};
use crate::tables::Chain;
pub use ids::DomainIds;
pub use membership::{AnyDomain, Invalidation};
pub(crate) use membership::{Membership, Walk};
pub use scratch::ScratchDomain;
pub use shared::SharedDomain;

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

/// The memory the devices of one owner reach, at which addresses, with which permissions.
pub struct Domain<M> {
    membership: Membership,
    table: SecondStage<M>,
    /// Page-table frames unlinked by a change that is not confirmed.
    dead: Chain,
}

impl<M: TableMemory> Domain<M> {
    /// Creates an empty domain for addresses below 2^`iova_bits`, usable behind every unit that has
    /// `capabilities` and is in `mode`: pass the intersection of all units' of the machine.
    ///
    /// # Errors
    /// `Unsupported` (no table depth reaches `iova_bits`; `mode` is not offered, or is [`Mode::VtdFirstStage`], whose
    /// domains are [`SharedDomain`]s), `OutOfDomainIds`, `OutOfFrames`.
    pub fn new(
        memory: M,
        ids: &mut DomainIds,
        capabilities: Capabilities,
        mode: Mode,
        iova_bits: u8,
    ) -> Result<Self> {
        let format = Format::choose(capabilities, mode, iova_bits)?;
        let id = ids.take(capabilities.domain_id_bits)?;
        let table = SecondStage::new(memory, format).inspect_err(|_| ids.put_back(id))?;
        let walk = Walk { mode, root: table.root(), levels: format.levels(), capabilities };
        Ok(Domain { membership: Membership::new(id, walk), table, dead: Chain::default() })
    }

    /// The tag of this domain in every unit.
    #[must_use]
    pub fn id(&self) -> DomainId {
        self.membership.id()
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
        self.membership.has_unconfirmed().then_some(Unflushed::of(self))
    }

    /// Page-table frames waiting for a confirmation.
    #[must_use]
    pub fn quarantined_frames(&self) -> usize {
        self.dead.frames()
    }

    /// Whether any requester is attached.
    #[must_use]
    pub fn is_attached(&self) -> bool {
        self.membership.is_attached()
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
        ids.put_back(self.membership.id());
        Ok(())
    }

    fn changed(&mut self, iova: Iova, bytes: u64, is_removal: bool) -> Unflushed<'_, M> {
        self.membership.record(iova, bytes, is_removal);
        Unflushed::of(self)
    }
}

/// A change the units have not confirmed. Dropping it is safe for the page table (the change stays recorded and
/// goes with the next flush), but **frames that were unmapped must not be reused**.
#[must_use = "devices may use the old translations until the units have confirmed"]
pub struct Unflushed<'d, M> {
    membership: &'d mut Membership,
    /// What a confirmation sets free: nothing where the table is the CPU's.
    unlinked: Option<(&'d SecondStage<M>, &'d mut Chain)>,
}

impl<'d, M: TableMemory> Unflushed<'d, M> {
    fn of(domain: &'d mut Domain<M>) -> Self {
        Unflushed { membership: &mut domain.membership, unlinked: Some((&domain.table, &mut domain.dead)) }
    }

    fn of_shared(membership: &'d mut Membership) -> Self {
        Unflushed { membership, unlinked: None }
    }

    /// Has every unit concerned confirm the change: calls `invalidate` once for each unit the domain is attached
    /// to, which is expected to call that unit's `invalidate`. Covers every earlier
    /// change that was not flushed.
    ///
    /// # Errors
    /// The first that `invalidate` returned; every unit was asked all the same. The change stays unconfirmed:
    /// frames that were unmapped must stay out of use.
    pub fn flush(self, invalidate: impl FnMut(UnitIndex, &Invalidation) -> Result<()>) -> Result<()> {
        self.membership.confirm(invalidate)?;
        if let Some((table, dead)) = self.unlinked {
            table.free(dead);
        }
        Ok(())
    }
}
