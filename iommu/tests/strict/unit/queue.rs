//! The model's invalidation queue: descriptors of either width, carried out to the letter and no further.

use super::super::walk::{Context, Stage};
use super::caches::Scope;
use super::{Event, PAGE_SELECTIVE, QIE, State};

impl State {
    pub(super) fn advance_queue(&mut self) {
        let is_dead = self.sabotage.is_stuck || self.fault_status & 0x70 != 0;
        if self.status & QIE == 0 || is_dead || self.head == self.tail {
            return;
        }
        if let Some((bits, nth)) = self.sabotage.queue_error.take() {
            if nth == 1 {
                if bits & 1 << 4 != 0 {
                    // It stays at the descriptor that it cannot take.
                    self.sabotage.queue_error = Some((bits, 1));
                }
                self.raise(bits);
                return;
            }
            self.sabotage.queue_error = Some((bits, nth - 1));
        }
        let at = self.queue + self.head;
        let descriptor = [self.memory.cpu_view(at), self.memory.cpu_view(at + 8)];
        let mut width = 16;
        if self.is_queue_wide {
            let upper = [self.memory.cpu_view(at + 16), self.memory.cpu_view(at + 24)];
            assert_eq!(upper, [0; 2], "upper half of a descriptor");
            width = 32;
        }
        assert_eq!(self.tail % width, 0);
        self.head = (self.head + width) % 4096;
        self.events.push(Event::Descriptor(descriptor));
        self.execute(descriptor);
        self.repeat_requests();
    }

    fn execute(&mut self, descriptor: [u64; 2]) {
        let [low, high] = descriptor;
        match low & 0xf {
            1 => self.forget_contexts(descriptor),
            2 => self.forget_translations(descriptor),
            4 => self.forget_interrupts(descriptor),
            5 => {
                assert_eq!((low & 0xffff_fff0, high & 3), (0x20, 0), "a status write and nothing else");
                self.memory.write_by_unit(high, &[low >> 32]);
            }
            6 => self.forget_first_stage(descriptor),
            7 => self.forget_pasids(descriptor),
            _ => panic!("descriptor {descriptor:x?}"),
        }
    }

    fn forget_contexts(&mut self, [low, high]: [u64; 2]) {
        match low >> 4 & 3 {
            1 => self.caches.contexts.clear(),
            3 => {
                assert_eq!((low & !0x0000_ffff_ffff_003f, high), (0, 0), "no function mask");
                let (domain, requester) = ((low >> 16) as u16, (low >> 32) as u16);
                // In scalable mode the entry says nothing about domains.
                let is_meant = |context: &Context| match context {
                    Context::Legacy(target) => target.domain == domain,
                    Context::Scalable { .. } => true,
                };
                let cached = self.caches.contexts.get(&requester);
                if cached.is_some_and(|context| context.as_ref().is_ok_and(is_meant)) {
                    self.caches.contexts.remove(&requester);
                }
            }
            other => panic!("granularity {other}"),
        }
        self.pin();
    }

    /// Global and domain-selective: of every stage. Page-selective: of second-stage tables only.
    fn forget_translations(&mut self, [low, high]: [u64; 2]) {
        assert_eq!(low & 0xffff_ffff_0000_ff00, 0, "reserved bits");
        let domain = Some((low >> 16) as u16);
        let scope = match low >> 4 & 3 {
            1 => Scope::ALL,
            2 => Scope { domain, ..Scope::ALL },
            3 => {
                assert_ne!(self.cap & PAGE_SELECTIVE, 0, "page-selective");
                Scope { domain, stage: Some(Stage::Second), pages: Some(self.block(high)) }
            }
            other => panic!("granularity {other}"),
        };
        self.forget(scope);
        self.drain(scope, low >> 7 & 1 == 1, low >> 6 & 1 == 1);
    }

    /// PASID-based: of first-stage tables only, and always drained.
    fn forget_first_stage(&mut self, [low, high]: [u64; 2]) {
        assert!(self.root.is_scalable, "PASID-based IOTLB invalidation in legacy mode");
        assert_eq!(low & 0xffff_ffff_0000_ffc0, 0, "reserved bits, and PASID 0");
        let first = Scope { domain: Some((low >> 16) as u16), stage: Some(Stage::First), pages: None };
        let scope = match low >> 4 & 3 {
            2 => first,
            3 => Scope { pages: Some(self.block(high)), ..first },
            other => panic!("granularity {other}"),
        };
        self.forget(scope);
        self.drain(scope, true, true);
    }

    fn forget_pasids(&mut self, [low, high]: [u64; 2]) {
        assert!(self.root.is_scalable, "PASID-cache invalidation in legacy mode");
        assert_eq!((low & 0xffff_ffff_0000_ffc0, high), (0, 0), "reserved bits, and PASID 0");
        let domain = (low >> 16) as u16;
        match low >> 4 & 3 {
            // What was cached as not present is in no domain.
            0 | 1 => self
                .caches
                .pasids
                .retain(|_, pasid| pasid.map_or(true, |pasid| pasid.target.domain != domain)),
            3 => self.caches.pasids.clear(),
            other => panic!("granularity {other}"),
        }
        self.pin();
    }

    fn forget_interrupts(&mut self, [low, high]: [u64; 2]) {
        assert_eq!(high, 0);
        if low >> 4 & 1 == 0 {
            self.interrupts.clear();
        } else {
            assert_eq!(low >> 27 & 0x1f, 0);
            self.interrupts.remove(&((low >> 32) as u16));
        }
    }

    /// First page and log2 of how many: aligned, within the unit's mask, tables included.
    fn block(&self, high: u64) -> (u64, u32) {
        let (order, page) = ((high & 0x3f) as u32, high >> 12);
        assert!(u64::from(order) <= self.cap >> 48 & 0x3f, "address mask beyond CAP.MAMV");
        assert_eq!((page % (1 << order), high & 0xfc0), (0, 0));
        (page, order)
    }
}
