//! What the unit remembers. Nothing leaves by itself.

use super::super::walk::{Context, Pasid, Refusal, Stage, Table, Translation};
use super::State;
use std::collections::{BTreeMap, BTreeSet};

#[derive(Default)]
pub(crate) struct Caches {
    /// By requester.
    pub(super) contexts: BTreeMap<u16, Result<Context, Refusal>>,
    /// By requester; the PASID is always 0.
    pub(super) pasids: BTreeMap<u16, Result<Pasid, Refusal>>,
    pub(super) pages: Vec<CachedPage>,
    pub(super) structures: BTreeSet<CachedTable>,
    /// Oldest first.
    pub(super) in_flight: Vec<InFlight>,
}

/// What translations are tagged with; the PASID is always 0.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Tag {
    pub(super) domain: u16,
    pub(super) stage: Stage,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct CachedPage {
    pub(super) tag: Tag,
    pub(super) first: u64,
    pub(super) translation: Option<Translation>,
}

impl CachedPage {
    pub(super) fn order(&self) -> u32 {
        self.translation.map_or(0, |translation| translation.order)
    }
}

/// A table a walk went through, where later walks may start: for 2^`order` pages from `first` on.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct CachedTable {
    pub(super) tag: Tag,
    pub(super) first: u64,
    pub(super) table: Table,
}

impl CachedTable {
    pub(super) fn order(&self) -> u32 {
        9 * self.table.level
    }
}

/// A request that was translated, but may reach memory only later.
#[derive(Clone, Copy, Debug)]
pub(crate) struct InFlight {
    pub(crate) requester: u16,
    pub(super) tag: Tag,
    pub(crate) page: u64,
    pub(super) is_write: bool,
}

/// Which translations an invalidation is about; `None` is all.
#[derive(Clone, Copy)]
pub(super) struct Scope {
    pub(super) domain: Option<u16>,
    pub(super) stage: Option<Stage>,
    /// First page, and log2 of how many.
    pub(super) pages: Option<(u64, u32)>,
}

impl Scope {
    pub(super) const ALL: Self = Scope { domain: None, stage: None, pages: None };

    fn covers(&self, tag: Tag, first: u64, order: u32) -> bool {
        let overlaps =
            |(start, log2): (u64, u32)| first < start + (1 << log2) && first + (1 << order) > start;
        self.domain.is_none_or(|domain| domain == tag.domain)
            && self.stage.is_none_or(|stage| stage == tag.stage)
            && self.pages.is_none_or(overlaps)
    }
}

impl State {
    /// Drops translations and the tables they were found through.
    pub(super) fn forget(&mut self, scope: Scope) {
        let caches = &mut self.caches;
        caches.pages.retain(|page| !scope.covers(page.tag, page.first, page.order()));
        caches.structures.retain(|table| !scope.covers(table.tag, table.first, table.order()));
        self.pin();
    }

    /// Puts a request under way; there is room for some, then the oldest reaches memory.
    pub(super) fn send(&mut self, flight: InFlight) {
        const ROOM: usize = 64;
        let in_flight = &mut self.caches.in_flight;
        if in_flight.len() == ROOM {
            in_flight.remove(0);
        }
        in_flight.push(flight);
    }

    /// Has requests under way reach memory.
    pub(super) fn drain(&mut self, scope: Scope, reads: bool, writes: bool) {
        let is_drained =
            |flight: &InFlight| if flight.is_write { writes } else { reads } && scope.covers(flight.tag, flight.page, 0);
        self.caches.in_flight.retain(|flight| !is_drained(flight));
    }

    /// As if the unit had no caches left.
    pub(crate) fn forget_everything(&mut self) {
        self.caches.contexts.clear();
        self.caches.pasids.clear();
        self.forget(Scope::ALL);
    }

    /// Says which frames the unit may walk from what it remembers.
    pub(super) fn pin(&self) {
        let caches = &self.caches;
        let contexts = caches.contexts.values().flatten().map(|context| match context {
            Context::Legacy(target) => target.root,
            Context::Scalable { directory, .. } => *directory,
        });
        let pasids = caches.pasids.values().flatten();
        let pasids = pasids.flat_map(|pasid| [pasid.directory, pasid.table, pasid.target.root]);
        let structures = caches.structures.iter().map(|cached| cached.table.frame);
        self.memory.pin(self.id, contexts.chain(pasids).chain(structures).collect());
    }
}
