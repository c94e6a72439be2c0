//! A domain whose page table is the CPU's own, for the DMA window alone (VT-d 5.10 §3.6 "First-Stage Translation").
//!
//! **Invariant: from the domain's root devices reach the tables of the window and nothing else**: of its 512 entries the
//! first leads to the CPU's table for the lowest 512 GiB, all others are empty.
//!
//! The CPU's entries are the single truth: this domain maps nothing. It makes the units take note of what the CPU
//! changed, with the same [`Unflushed`] as a [`Domain`](super::Domain) with a table of its own.

use super::first_stage::{self, Entry};
use super::{DomainIds, Membership, Unflushed, Walk};
use crate::address::{DomainId, FRAME_BYTES, Iova, PhysAddr};
use crate::capabilities::{Capabilities, Mode};
use crate::environment::TableMemory;
use crate::error::{Error, Result};
use crate::tables::Tables;

/// Width of the addresses that the first entry of the root translates.
const WINDOW_BITS: u8 = 39;

/// What one owner's devices reach: what its CPU threads reach in the DMA window.
pub struct SharedDomain<M> {
    pub(super) membership: Membership,
    tables: Tables<M>,
}

impl<M: TableMemory> SharedDomain<M> {
    /// Creates a domain in [`Mode::VtdFirstStage`] for addresses below 2^39, usable behind every unit that has
    /// `capabilities`.
    ///
    /// `lower` is the owner's table for these addresses: the one that the first entry of a four-level root leads to
    /// (a page-directory-pointer table). The caller promises of it, as long as the domain exists:
    /// - it stays where it is, and maps nothing below 2^39 but what the owner's devices may reach: no kernel memory
    ///   and no registers, and nothing in or to the interrupt address range;
    /// - every present entry has U/S and A, every writable leaf has D, so that no unit writes a table, and none has G,
    ///   so that no revision has a reason to keep it longer than others;
    /// - the rules of [`Sharing`](crate::Sharing) hold, for what is in it now as for what changes later;
    /// - tables and frames taken out of it stay out of use until the flush of [`removed`](Self::removed) returned `Ok`.
    ///
    /// # Errors
    /// `Unsupported` (the mode is not offered), `BadPhysical`, `OutOfDomainIds`, `OutOfFrames`; nothing was changed.
    pub fn new(memory: M, ids: &mut DomainIds, capabilities: Capabilities, lower: PhysAddr) -> Result<Self> {
        let sharing = capabilities.sharing().ok_or(Error::Unsupported)?;
        if lower.0 == 0 || !lower.0.is_multiple_of(FRAME_BYTES) || lower.0 >> capabilities.phys_bits != 0 {
            return Err(Error::BadPhysical { phys: lower });
        }
        let tables = Tables::new(memory, sharing.is_coherent);
        let id = ids.take(capabilities.domain_id_bits)?;
        let root = tables.alloc(1).inspect_err(|_| ids.put_back(id))?;
        tables.write64(root, Entry::to_table(lower).into_bits());
        tables.flush(root, 8);
        let walk = Walk { mode: Mode::VtdFirstStage, root, levels: first_stage::LEVELS, capabilities };
        Ok(SharedDomain { membership: Membership::new(id, walk), tables })
    }

    /// The tag of this domain in every unit.
    #[must_use]
    pub fn id(&self) -> DomainId {
        self.membership.id()
    }

    /// Where the root is: for checks that walk what units walk.
    #[must_use]
    pub fn root(&self) -> PhysAddr {
        self.membership.walk().root
    }

    /// Whether any requester is attached.
    #[must_use]
    pub fn is_attached(&self) -> bool {
        self.membership.is_attached()
    }

    /// The CPU's table maps `bytes` at `iova` now, where nothing was mapped before. The flush costs nothing but on
    /// units with caching mode or write buffers.
    ///
    /// # Errors
    /// `BadRange`; nothing was recorded.
    pub fn added(&mut self, iova: Iova, bytes: u64) -> Result<Unflushed<'_, M>> {
        self.changed(iova, bytes, false)
    }

    /// The CPU's table no longer maps `bytes` at `iova`, or with less rights. Until [`Unflushed::flush`] has returned
    /// `Ok`, devices may go on reaching the frames, and units may walk the tables that were taken out.
    ///
    /// # Errors
    /// `BadRange`; nothing was recorded.
    pub fn removed(&mut self, iova: Iova, bytes: u64) -> Result<Unflushed<'_, M>> {
        self.changed(iova, bytes, true)
    }

    /// Everything not confirmed yet, for another try after a failed or forgotten flush.
    pub fn unflushed(&mut self) -> Option<Unflushed<'_, M>> {
        self.membership.has_unconfirmed().then_some(Unflushed::of_shared(&mut self.membership))
    }

    /// Gives back the root and the id. The CPU's table is no longer walked: every detach was confirmed.
    ///
    /// # Errors
    /// The domain itself, while a requester is attached.
    #[expect(clippy::result_large_err, reason = "once in the life of an owner; a box would need a heap")]
    pub fn destroy(self, ids: &mut DomainIds) -> Result<(), Self> {
        if self.is_attached() {
            return Err(self);
        }
        self.tables.free(self.membership.walk().root, 1);
        ids.put_back(self.membership.id());
        Ok(())
    }

    fn changed(&mut self, iova: Iova, bytes: u64, is_removal: bool) -> Result<Unflushed<'_, M>> {
        let is_aligned = iova.0.is_multiple_of(FRAME_BYTES) && bytes.is_multiple_of(FRAME_BYTES);
        let is_inside = iova.0.checked_add(bytes).is_some_and(|end| end <= 1 << WINDOW_BITS);
        if bytes == 0 || !is_aligned || !is_inside {
            return Err(Error::BadRange { iova, bytes });
        }
        self.membership.record(iova, bytes, is_removal);
        Ok(Unflushed::of_shared(&mut self.membership))
    }
}
