//! The model's datapath: requests from devices, and the caches they go through.

use super::super::walk::{self, Device, Interrupts, Translation};
use super::{CachedPage, CachedTable, ENABLED, LONG_ENTRIES, State, X2APIC};
use std::ops::Range;

const HOST_BITS: u32 = 46;

impl State {
    /// Drops what is cached of `domain` for any of the `pages`; of the tables only `with_tables`.
    pub(super) fn forget(&mut self, domain: u16, pages: Range<u64>, with_tables: bool) {
        let is_hit = |of: u16, first: u64, order: u32| {
            of == domain && first < pages.end && first + (1 << order) > pages.start
        };
        self.pages.retain(|page| !is_hit(page.domain, page.first, page.order()));
        self.tables.retain(|table| !with_tables || !is_hit(table.domain, table.first, table.order));
        self.pin_walked();
    }

    /// As if the unit had no caches left.
    pub(crate) fn forget_everything(&mut self) {
        self.devices.clear();
        self.interrupts.clear();
        self.pages.clear();
        self.tables.clear();
        self.pin_walked();
    }

    fn pin_walked(&self) {
        self.memory.pin(0, self.tables.iter().map(|table| table.frame).collect());
    }

    pub(super) fn dma(&mut self, requester: u16, iova: u64, is_write: bool) -> Option<u64> {
        if self.control & ENABLED == 0 || self.exclusion & 1 == 1 {
            return Some(iova);
        }
        let device = self.device(requester);
        let translation = device.table.and_then(|table| self.translation(device.domain, table, iova >> 12));
        match translation.filter(|found| if is_write { found.writes } else { found.reads }) {
            Some(found) => Some(found.phys | iova & ((4096 << found.order) - 1)),
            None => {
                if !device.is_muted {
                    let domain = device.table.map_or(0, |_| device.domain);
                    let flags = u64::from(is_write) << 53 | u64::from(domain) << 32;
                    self.record([2 << 60 | flags | u64::from(requester), iova]);
                }
                None
            }
        }
    }

    /// An access that the device says it has translated itself: no entry allows it (I = 0, checked by the walk).
    pub(super) fn translated(&mut self, requester: u16, phys: u64) -> Option<u64> {
        if !self.device(requester).is_muted {
            self.record([8 << 60 | u64::from(requester), phys]);
        }
        None
    }

    fn device(&mut self, requester: u16) -> Device {
        let deepest = 4 + (self.kind.features >> 10 & 3);
        let (memory, table) = (&self.memory, self.device_table);
        let read = || walk::device(memory, table, requester, deepest, HOST_BITS);
        *self.devices.entry(requester).or_insert_with(read)
    }

    fn translation(&mut self, domain: u16, table: (u64, u32), page: u64) -> Option<Translation> {
        let holds = |cached: &&CachedPage| {
            cached.domain == domain && cached.first == page >> cached.order() << cached.order()
        };
        if let Some(cached) = self.pages.iter().find(holds) {
            return cached.translation;
        }
        let mut walked = Vec::new();
        let found = walk::translate(&self.memory, table, HOST_BITS, page << 12, |level, frame| {
            let order = 9 * level;
            walked.push(CachedTable { domain, first: page >> order << order, order, frame });
        });
        self.tables.extend(walked);
        self.pin_walked();
        if found.is_some() || self.kind.caches_not_present {
            let order = found.map_or(0, |found| found.order);
            self.pages.push(CachedPage { domain, first: page >> order << order, translation: found });
        }
        found
    }

    pub(super) fn message(&mut self, requester: u16, data: u32) -> Option<(u8, u32)> {
        if self.control & ENABLED == 0 {
            return Some((data as u8, u32::MAX));
        }
        let device = self.device(requester);
        let is_fixed = data >> 8 & 7 <= 1;
        let entry = match device.interrupts {
            Interrupts::Pass => return Some((data as u8, u32::MAX)),
            Interrupts::Remap(table) if is_fixed && data & 0x7ff < 256 => {
                self.interrupt_entry(requester, table, data as u16 & 0x7ff)
            }
            Interrupts::Remap(_) | Interrupts::Refuse => 0,
        };
        if entry & 1 == 0 {
            assert_eq!(entry, 0, "an entry that is not present says nothing else");
            if !device.are_interrupts_muted {
                self.record([2 << 60 | 1 << 51 | u64::from(requester), 0xfee0_0000]);
            }
            return None;
        }
        assert_eq!(entry & 0xfe, 0, "fixed, physical, remapped");
        Some(self.target(entry))
    }

    /// Vector and destination; what the format reserves must be zero.
    fn target(&self, entry: u128) -> (u8, u32) {
        if self.control & LONG_ENTRIES == 0 {
            assert_eq!(entry >> 24, 0);
            return ((entry >> 16) as u8, entry as u32 >> 8 & 0xff);
        }
        let destination = entry as u32 >> 8 | ((entry >> 120) as u32) << 24;
        assert_eq!((entry >> 32) as u32, 0);
        assert_eq!(entry >> 72 & 0xffff_ffff_ffff, 0);
        assert!(self.control & X2APIC != 0 || destination < 0x100, "8-bit destinations");
        ((entry >> 64) as u8, destination)
    }

    fn interrupt_entry(&mut self, requester: u16, table: u64, index: u16) -> u128 {
        let (memory, is_long) = (&self.memory, self.control & LONG_ENTRIES != 0);
        *self.interrupts.entry((requester, index)).or_insert_with(|| {
            let index = u64::from(index);
            if is_long {
                let at = table + index * 16;
                return u128::from(memory.unit_view(at + 8)) << 64 | u128::from(memory.unit_view(at));
            }
            u128::from(memory.unit_view(table + index / 2 * 8) >> (index % 2 * 32) & 0xffff_ffff)
        })
    }
}
