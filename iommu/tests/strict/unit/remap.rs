//! The model's datapath: requests from devices, and the caches they go through.

use super::super::walk::{self, Context, Refusal, Stage, Table, Target, Translation};
use super::caches::{CachedPage, CachedTable, InFlight, Tag};
use super::{IRE, State, TE};

impl State {
    pub(super) fn dma(&mut self, requester: u16, iova: u64, is_write: bool) -> Option<u64> {
        if self.status & TE == 0 {
            return Some(iova);
        }
        match self.try_dma(requester, iova, is_write) {
            Ok(phys) => {
                self.last_request.insert(requester, (iova, is_write));
                Some(phys)
            }
            Err((reason, is_muted)) => self.fault(requester, iova, is_write, reason, is_muted),
        }
    }

    /// Devices do not stop while the queue is worked off: what was dropped may come back through what was not yet.
    pub(super) fn repeat_requests(&mut self) {
        if self.status & TE != 0 {
            for (requester, (iova, is_write)) in self.last_request.clone() {
                let _ = self.try_dma(requester, iova, is_write);
            }
        }
    }

    fn try_dma(&mut self, requester: u16, iova: u64, is_write: bool) -> Result<u64, Refusal> {
        let target = self.target(requester)?;
        let refused = |reason| (reason, target.is_muted);
        if target.stage == Stage::First && (iova as i64) << 16 >> 16 != iova as i64 {
            return Err(refused(0x80));
        }
        let translation = self.translation(target, iova);
        let allows =
            |translation: &Translation| if is_write { translation.writes } else { translation.reads };
        let is_mapped = translation.is_some();
        let translation = translation.filter(allows).ok_or_else(|| {
            refused(match (target.stage, self.root.is_scalable) {
                (Stage::First, _) if is_mapped => 0x85,
                (Stage::First, _) => 0x71,
                (Stage::Second, true) => 0x79,
                (Stage::Second, false) => {
                    if is_write {
                        5
                    } else {
                        6
                    }
                }
            })
        })?;
        let tag = Tag { domain: target.domain, stage: target.stage };
        self.send(InFlight { requester, tag, page: iova >> 12, is_write });
        Ok(translation.phys | iova & ((1 << (12 + translation.order)) - 1))
    }

    /// Where the walk for a requester starts, by way of the context and PASID caches.
    fn target(&mut self, requester: u16) -> Result<Target, Refusal> {
        match self.context(requester)? {
            Context::Legacy(target) => Ok(target),
            Context::Scalable { directory, is_muted } => {
                let target = self.pasid(requester, directory);
                let mute = |mutes: bool| mutes && is_muted;
                target
                    .map(|target| Target { is_muted: mute(target.is_muted), ..target })
                    .map_err(|(reason, mutes)| (reason, mute(mutes)))
            }
        }
    }

    /// An access that the device says it has translated itself (4.2): every entry refuses it, in legacy mode by its
    /// translation type, in scalable mode by DTE.
    pub(super) fn translated(&mut self, requester: u16, phys: u64) -> Option<u64> {
        let (reason, is_muted) = match self.context(requester) {
            Ok(Context::Legacy(target)) => (0xd, target.is_muted),
            Ok(Context::Scalable { is_muted, .. }) => (0x44, is_muted),
            Err(refused) => refused,
        };
        self.fault(requester, phys, true, reason, is_muted)
    }

    fn context(&mut self, requester: u16) -> Result<Context, Refusal> {
        if let Some(context) = self.caches.contexts.get(&requester) {
            return *context;
        }
        let context = walk::context(&self.memory, self.features(), self.root, requester);
        if context.is_ok() || self.has_caching_mode() {
            self.caches.contexts.insert(requester, context);
            self.pin();
        }
        context
    }

    fn pasid(&mut self, requester: u16, directory: u64) -> Result<Target, Refusal> {
        if let Some(pasid) = self.caches.pasids.get(&requester) {
            return pasid.map(|pasid| pasid.target);
        }
        let pasid = walk::pasid(&self.memory, self.features(), directory);
        if pasid.is_ok() || self.has_caching_mode() {
            self.caches.pasids.insert(requester, pasid);
            self.pin();
        }
        pasid.map(|pasid| pasid.target)
    }

    fn translation(&mut self, target: Target, iova: u64) -> Option<Translation> {
        let (tag, page) = (Tag { domain: target.domain, stage: target.stage }, iova >> 12);
        let starts = |first: u64, order: u32| first == page >> order << order;
        let holds = |cached: &&CachedPage| cached.tag == tag && starts(cached.first, cached.order());
        if let Some(cached) = self.caches.pages.iter().find(holds) {
            return cached.translation;
        }
        let translation = self.walk(target, tag, iova);
        if translation.is_some() || self.has_caching_mode() {
            let order = translation.map_or(0, |translation| translation.order);
            self.caches.pages.push(CachedPage { tag, first: page >> order << order, translation });
        }
        translation
    }

    /// Walks from the deepest table that some walk has found before.
    fn walk(&mut self, target: Target, tag: Tag, iova: u64) -> Option<Translation> {
        let (features, page) = (self.features(), iova >> 12);
        let width = features.input_bits.min(12 + 9 * target.levels);
        if target.stage == Stage::Second && iova >> width != 0 {
            return None;
        }
        let holds = |cached: &&CachedTable| {
            cached.tag == tag && cached.first == page >> cached.order() << cached.order()
        };
        let known = self.caches.structures.iter().filter(holds).min_by_key(|cached| cached.table.level);
        let top = Table { level: target.levels, frame: target.root, reads: true, writes: true };
        let start = known.map_or(top, |cached| cached.table);
        let mut walked = Vec::new();
        let translation = walk::translate(&self.memory, features, (target.stage, start), iova, |table| {
            let order = 9 * table.level;
            walked.push(CachedTable { tag, first: page >> order << order, table });
        });
        self.caches.structures.extend(walked);
        self.pin();
        translation
    }

    pub(super) fn message(&mut self, requester: u16, address: u64) -> Option<(u8, u32)> {
        assert_eq!(address >> 20, 0xfee);
        if self.status & IRE == 0 {
            return None;
        }
        if address >> 4 & 1 == 0 {
            return self.fault(requester, 0, true, 0x25, false).map(|_| unreachable!());
        }
        assert_eq!(address & 0xb, 0, "no subhandle");
        let index = (address >> 5 & 0x7fff | (address >> 2 & 1) << 15) as u16;
        let entry = self.interrupt_entry(index);
        let fault = |reason| (reason, u64::from(index) << 48);
        let checked = if entry & 1 == 0 {
            Err(fault(0x22))
        } else if (entry >> 64) as u16 != requester {
            Err(fault(0x26))
        } else {
            assert_eq!((entry >> 80) & 0xf, 0b0100, "full source validation");
            assert_eq!(entry >> 84 | entry & 0xff00_ffee, 0, "fixed, physical, remapped, nothing reserved");
            Ok(((entry >> 16) as u8, (entry >> 32) as u32))
        };
        match checked {
            Ok(interrupt) => Some(interrupt),
            Err((reason, info)) => self.fault(requester, info, true, reason, false).map(|_| unreachable!()),
        }
    }

    fn interrupt_entry(&mut self, index: u16) -> u128 {
        if let Some(entry) = self.interrupts.get(&index) {
            return *entry;
        }
        assert!(u64::from(index) < 2 << (self.irta & 0xf), "index beyond the table");
        let at = (self.irta & !0xfff) + u64::from(index) * 16;
        let entry = u128::from(self.memory.unit_view(at + 8)) << 64 | u128::from(self.memory.unit_view(at));
        if entry & 1 != 0 || self.has_caching_mode() {
            self.interrupts.insert(index, entry);
        }
        entry
    }

    fn fault(
        &mut self,
        requester: u16,
        info: u64,
        is_write: bool,
        reason: u8,
        is_muted: bool,
    ) -> Option<u64> {
        if is_muted {
            return None;
        }
        let free = self.next_record;
        if self.records[free] >> 127 == 1 {
            self.raise(1);
            return None;
        }
        let high = 1u64 << 63 | u64::from(!is_write) << 62 | u64::from(reason) << 32 | u64::from(requester);
        self.records[free] = u128::from(high) << 64 | u128::from(info & !0xfff);
        if self.fault_status & 2 == 0 {
            self.fault_status &= !0xff00;
            self.raise(2 | (free as u32) << 8);
        }
        self.next_record = (free + 1) % self.records.len();
        None
    }
}
