//! The model's datapath: requests from devices, and the caches they go through.

use super::super::walk::{self, Context, Translation};
use super::{CachedPage, CachedTable, IRE, State, TE};
use std::ops::Range;

impl State {
    /// Drops what is cached of `domain` (`None`: of all) for any of the `pages` (`None`: all).
    pub(super) fn forget(&mut self, domain: Option<u16>, pages: Option<Range<u64>>) {
        let is_hit = |of: u16, first: u64, order: u32| {
            let overlaps = |pages: &Range<u64>| first < pages.end && first + (1 << order) > pages.start;
            domain.is_none_or(|domain| domain == of) && pages.as_ref().is_none_or(overlaps)
        };
        self.pages.retain(|page| !is_hit(page.domain, page.first, page.order()));
        self.structures.retain(|table| !is_hit(table.domain, table.first, table.order));
        self.pin_walked();
    }

    /// As if the unit had no caches left.
    pub(crate) fn forget_everything(&mut self) {
        self.contexts.clear();
        self.forget(None, None);
    }

    fn pin_walked(&self) {
        self.memory.pin(self.id, self.structures.iter().map(|table| table.frame).collect());
    }

    pub(super) fn dma(&mut self, requester: u16, iova: u64, is_write: bool) -> Option<u64> {
        if self.status & TE == 0 {
            return Some(iova);
        }
        let context = match self.context(requester) {
            Ok(context) => context,
            Err((reason, is_muted)) => return self.fault(requester, iova, is_write, reason, is_muted),
        };
        let translation = self.translation(context, iova >> 12);
        match translation.filter(|translation| if is_write { translation.writes } else { translation.reads })
        {
            Some(translation) => {
                let offset_bits = 12 + translation.order;
                Some(translation.phys | iova & ((1 << offset_bits) - 1))
            }
            None => self.fault(requester, iova, is_write, if is_write { 5 } else { 6 }, context.is_muted),
        }
    }

    /// An access that the device says it has translated itself (4.2): the translation type of every entry refuses it.
    pub(super) fn translated(&mut self, requester: u16, phys: u64) -> Option<u64> {
        let (reason, is_muted) = match self.context(requester) {
            Ok(context) => (0xd, context.is_muted),
            Err(refused) => refused,
        };
        self.fault(requester, phys, true, reason, is_muted)
    }

    fn context(&mut self, requester: u16) -> Result<Context, (u8, bool)> {
        if let Some(context) = self.contexts.get(&requester) {
            return *context;
        }
        let context = walk::context(&self.memory, self.features(), self.root, requester);
        if context.is_ok() || self.has_caching_mode() {
            self.contexts.insert(requester, context);
        }
        context
    }

    fn translation(&mut self, context: Context, page: u64) -> Option<Translation> {
        let holds = |cached: &&CachedPage| {
            cached.domain == context.domain && cached.first == page >> cached.order() << cached.order()
        };
        if let Some(cached) = self.pages.iter().find(holds) {
            return cached.translation;
        }
        let mut walked = Vec::new();
        let features = self.features();
        let translation = walk::translate(&self.memory, features, context, page << 12, |level, frame| {
            let order = 9 * level;
            walked.push(CachedTable { domain: context.domain, first: page >> order << order, order, frame });
        });
        self.structures.extend(walked);
        self.pin_walked();
        if translation.is_some() || self.has_caching_mode() {
            let order = translation.map_or(0, |translation| translation.order);
            let first = page >> order << order;
            self.pages.push(CachedPage { domain: context.domain, first, translation });
        }
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
            self.fault_status |= 1;
            return None;
        }
        let high = 1u64 << 63 | u64::from(!is_write) << 62 | u64::from(reason) << 32 | u64::from(requester);
        self.records[free] = u128::from(high) << 64 | u128::from(info & !0xfff);
        if self.fault_status & 2 == 0 {
            self.fault_status = self.fault_status & !0xff00 | 2 | (free as u32) << 8;
        }
        self.next_record = (free + 1) % self.records.len();
        None
    }
}
