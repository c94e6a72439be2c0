//! Who is in a domain, and what their units have not confirmed yet.
//!
//! **Invariant: a change that some unit has not confirmed stays recorded in `unconfirmed`**, whatever became of
//! the [`Unflushed`](super::Unflushed) that told the caller.

use crate::address::{DomainId, Iova, IovaRange, PhysAddr, UnitIndex};
use crate::capabilities::{Capabilities, Mode};
use crate::environment::TableMemory;
use crate::error::Result;

/// What a unit must be told about a changed domain; see [`vtd::Unit::invalidate`](crate::vtd::Unit::invalidate) and [`amdvi::Unit::invalidate`](crate::amdvi::Unit::invalidate).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Invalidation {
    pub(crate) domain: DomainId,
    pub(crate) range: IovaRange,
    /// Translations were taken away; otherwise some were only added.
    pub(crate) is_removal: bool,
}

/// Where and how units walk for a domain.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Walk {
    pub(crate) mode: Mode,
    pub(crate) root: PhysAddr,
    pub(crate) levels: u8,
    /// What the tables rely on.
    pub(crate) capabilities: Capabilities,
}

/// The part of a domain that units know.
pub struct Membership {
    id: DomainId,
    walk: Walk,
    /// Requesters attached, per unit.
    attached: [u32; UnitIndex::MAX],
    /// One past the last unit that a requester was ever attached behind: no later one is asked.
    units: usize,
    unconfirmed: Option<Invalidation>,
}

impl Membership {
    pub(crate) fn new(id: DomainId, walk: Walk) -> Self {
        Membership { id, walk, attached: [0; UnitIndex::MAX], units: 0, unconfirmed: None }
    }

    pub(crate) fn id(&self) -> DomainId {
        self.id
    }

    pub(crate) fn walk(&self) -> Walk {
        self.walk
    }

    pub(crate) fn is_attached(&self) -> bool {
        self.attached.iter().any(|&requesters| requesters != 0)
    }

    pub(crate) fn has_unconfirmed(&self) -> bool {
        self.unconfirmed.is_some()
    }

    pub(crate) fn count_attached(&mut self, unit: UnitIndex) {
        self.attached[unit.get()] += 1;
        self.units = self.units.max(unit.get() + 1);
    }

    pub(crate) fn count_detached(&mut self, unit: UnitIndex) {
        self.attached[unit.get()] -= 1;
    }

    /// Records a change of a checked range.
    pub(super) fn record(&mut self, iova: Iova, bytes: u64, is_removal: bool) {
        let range = IovaRange { start: iova.0, end: iova.0 + bytes };
        let now = Invalidation { domain: self.id, range, is_removal };
        self.unconfirmed = Some(self.unconfirmed.map_or(now, |earlier| Invalidation {
            domain: self.id,
            range: earlier.range.join(range),
            is_removal: earlier.is_removal | is_removal,
        }));
    }

    /// Asks every unit concerned to confirm what is recorded, also after one failed.
    pub(super) fn confirm(
        &mut self,
        mut invalidate: impl FnMut(UnitIndex, &Invalidation) -> Result<()>,
    ) -> Result<()> {
        let Some(change) = self.unconfirmed else { return Ok(()) };
        let mut outcome = Ok(());
        for at in (0..self.units).filter(|&at| self.attached[at] != 0) {
            let Some(unit) = UnitIndex::new(at) else { continue };
            let confirmed = invalidate(unit, &change);
            outcome = outcome.and(confirmed);
        }
        outcome.inspect(|()| self.unconfirmed = None)
    }
}

/// A domain of any kind, as units see it: [`Domain`](super::Domain), [`SharedDomain`](super::SharedDomain),
/// [`ScratchDomain`](super::ScratchDomain).
pub trait AnyDomain: sealed::Sealed {
    #[doc(hidden)]
    fn membership(&mut self) -> &mut Membership;
}

impl<M: TableMemory> AnyDomain for super::Domain<M> {
    fn membership(&mut self) -> &mut Membership {
        &mut self.membership
    }
}

impl<M: TableMemory> AnyDomain for super::SharedDomain<M> {
    fn membership(&mut self) -> &mut Membership {
        &mut self.membership
    }
}

impl<M: TableMemory> AnyDomain for super::ScratchDomain<M> {
    fn membership(&mut self) -> &mut Membership {
        &mut self.membership
    }
}

mod sealed {
    use super::TableMemory;

    pub trait Sealed {}
    impl<M: TableMemory> Sealed for super::super::Domain<M> {}
    impl<M: TableMemory> Sealed for super::super::SharedDomain<M> {}
    impl<M: TableMemory> Sealed for super::super::ScratchDomain<M> {}
}
