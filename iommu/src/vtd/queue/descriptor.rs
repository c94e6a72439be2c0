//! Invalidation descriptors (VT-d 5.10 §6.5.2.1 context, .2 PASID cache, .3 IOTLB, .4 PASID-based IOTLB, .8 interrupt
//! entry, .9 wait): their lower 128 bits. The upper 128 bits of wide descriptors are reserved in all of them.
//!
//! **Invariant: only granularities that need no capability beyond queued invalidation**, but for `Pages` and
//! `FirstStagePages`, which the unit asks for only within CAP.PSI and CAP.MAMV, and for what is named after PASIDs or
//! first-stage tables, which it asks for only in scalable mode.

use crate::address::{DomainId, PhysAddr, RequesterId};
use bitfield_struct::bitfield;

/// Request types (§6.5.2 Table 26).
const CONTEXT: u8 = 1;
const IOTLB: u8 = 2;
const INTERRUPT_ENTRY: u8 = 4;
const WAIT: u8 = 5;
const PASID_IOTLB: u8 = 6;
const PASID_CACHE: u8 = 7;

/// PASID under which units cache requests without PASID: RID_PASID of every context entry (§9.4).
const RID_PASID: u32 = 0;

/// Context-cache invalidate descriptor, low half (§6.5.2.1).
#[bitfield(u64)]
struct ContextLow {
    #[bits(4)]
    kind: u8,
    /// 1 global, 2 domain, 3 device.
    #[bits(2)]
    granularity: u8,
    #[bits(10)]
    __: u16,
    domain: u16,
    requester: u16,
    /// Function mask: 0 = this function only.
    #[bits(2)]
    function_mask: u8,
    #[bits(14)]
    __: u16,
}
const _: () = assert!(ContextLow::DOMAIN_OFFSET == 16 && ContextLow::REQUESTER_OFFSET == 32);

/// IOTLB invalidate descriptor, low half (§6.5.2.3).
#[bitfield(u64)]
struct IotlbLow {
    #[bits(4)]
    kind: u8,
    /// 1 global, 2 domain, 3 pages.
    #[bits(2)]
    granularity: u8,
    drain_writes: bool,
    drain_reads: bool,
    __: u8,
    domain: u16,
    __: u32,
}
const _: () = assert!(IotlbLow::DRAIN_WRITES_OFFSET == 6 && IotlbLow::DOMAIN_OFFSET == 16);

/// PASID-cache invalidate descriptor (§6.5.2.2) and PASID-based IOTLB invalidate descriptor (§6.5.2.4), low half.
#[bitfield(u64)]
struct PasidLow {
    #[bits(4)]
    kind: u8,
    /// PASID cache: 0 domain, 1 PASID, 3 global. IOTLB: 2 PASID, 3 pages.
    #[bits(2)]
    granularity: u8,
    #[bits(10)]
    __: u16,
    domain: u16,
    #[bits(20)]
    pasid: u32,
    #[bits(12)]
    __: u16,
}
const _: () = assert!(PasidLow::DOMAIN_OFFSET == 16 && PasidLow::PASID_OFFSET == 32);

/// IOTLB invalidate descriptors of both kinds, high half. The hint bit stays 0: tables may have changed as well as pages.
#[bitfield(u64)]
struct IotlbHigh {
    /// log2 of the pages, whose number the address is a multiple of.
    #[bits(6)]
    address_mask: u8,
    hint: bool,
    #[bits(5)]
    __: u8,
    #[bits(52)]
    page: u64,
}
const _: () = assert!(IotlbHigh::HINT_OFFSET == 6 && IotlbHigh::PAGE_OFFSET == 12);

/// Interrupt entry cache invalidate descriptor, low half (§6.5.2.8).
#[bitfield(u64)]
struct InterruptEntryLow {
    #[bits(4)]
    kind: u8,
    /// One index rather than all.
    by_index: bool,
    #[bits(22)]
    __: u32,
    /// log2 of the entries.
    #[bits(5)]
    index_mask: u8,
    index: u16,
    __: u16,
}
const _: () = assert!(InterruptEntryLow::INDEX_MASK_OFFSET == 27 && InterruptEntryLow::INDEX_OFFSET == 32);

/// Invalidation wait descriptor, low half (§6.5.2.9).
#[bitfield(u64)]
struct WaitLow {
    #[bits(4)]
    kind: u8,
    interrupt: bool,
    write_status: bool,
    fence: bool,
    #[bits(25)]
    __: u32,
    status: u32,
}
const _: () = assert!(WaitLow::WRITE_STATUS_OFFSET == 5 && WaitLow::STATUS_OFFSET == 32);

/// Which transactions already accepted must have reached memory before an IOTLB invalidation completes
/// (§6.5.4 "DMA Draining"); what the unit can.
#[derive(Clone, Copy, Debug)]
pub(in crate::vtd) struct Drain {
    pub(in crate::vtd) reads: bool,
    pub(in crate::vtd) writes: bool,
}

/// What a unit can be asked to forget.
#[derive(Clone, Copy, Debug)]
pub(in crate::vtd) enum Request {
    /// Every context entry.
    AllContexts,
    /// The context entry of one requester, cached under this domain.
    Context { domain: DomainId, requester: RequesterId },
    /// Every translation.
    AllTranslations(Drain),
    /// Every translation of one domain.
    Domain { domain: DomainId, drain: Drain },
    /// Translations of 2^`order` pages from page number `page` (a multiple of 2^`order`) of one domain, and its
    /// paging-structure entries.
    Pages { domain: DomainId, page: u64, order: u8, drain: Drain },
    /// Every PASID entry.
    AllPasids,
    /// Every PASID entry of one domain.
    DomainPasids { domain: DomainId },
    /// Every first-stage translation of one domain, and its paging-structure entries; always drained (§6.5.4).
    FirstStage { domain: DomainId },
    /// The same for 2^`order` pages from page number `page` (a multiple of 2^`order`).
    FirstStagePages { domain: DomainId, page: u64, order: u8 },
    /// Every interrupt remapping entry.
    AllInterrupts,
    /// One interrupt remapping entry.
    Interrupt { index: u16 },
}

impl Request {
    /// The descriptor, low half first.
    pub(super) fn descriptor(self) -> [u64; 2] {
        match self {
            Request::AllContexts => [context(1).into_bits(), 0],
            Request::Context { domain, requester } => {
                [context(3).with_domain(domain.0).with_requester(requester.0).into_bits(), 0]
            }
            Request::AllTranslations(drain) => [iotlb(1, drain).into_bits(), 0],
            Request::Domain { domain, drain } => [iotlb(2, drain).with_domain(domain.0).into_bits(), 0],
            Request::Pages { domain, page, order, drain } => {
                [iotlb(3, drain).with_domain(domain.0).into_bits(), block(page, order)]
            }
            Request::AllPasids => [PasidLow::new().with_kind(PASID_CACHE).with_granularity(3).into_bits(), 0],
            Request::DomainPasids { domain } => {
                [PasidLow::new().with_kind(PASID_CACHE).with_domain(domain.0).into_bits(), 0]
            }
            Request::FirstStage { domain } => [first_stage(2, domain).into_bits(), 0],
            Request::FirstStagePages { domain, page, order } => {
                [first_stage(3, domain).into_bits(), block(page, order)]
            }
            Request::AllInterrupts => [InterruptEntryLow::new().with_kind(INTERRUPT_ENTRY).into_bits(), 0],
            Request::Interrupt { index } => {
                let low = InterruptEntryLow::new().with_kind(INTERRUPT_ENTRY).with_by_index(true);
                [low.with_index(index).into_bits(), 0]
            }
        }
    }
}

fn context(granularity: u8) -> ContextLow {
    ContextLow::new().with_kind(CONTEXT).with_granularity(granularity)
}

fn iotlb(granularity: u8, drain: Drain) -> IotlbLow {
    let low = IotlbLow::new().with_kind(IOTLB).with_granularity(granularity);
    low.with_drain_writes(drain.writes).with_drain_reads(drain.reads)
}

fn first_stage(granularity: u8, domain: DomainId) -> PasidLow {
    let low = PasidLow::new().with_kind(PASID_IOTLB).with_granularity(granularity);
    low.with_domain(domain.0).with_pasid(RID_PASID)
}

fn block(page: u64, order: u8) -> u64 {
    IotlbHigh::new().with_address_mask(order).with_page(page).into_bits()
}

/// The descriptor that makes the unit write `sequence` to `status` once everything before it is done.
pub(super) fn wait_descriptor(status: PhysAddr, sequence: u32) -> [u64; 2] {
    [WaitLow::new().with_kind(WAIT).with_write_status(true).with_status(sequence).into_bits(), status.0]
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOTH: Drain = Drain { reads: true, writes: true };
    const NONE: Drain = Drain { reads: false, writes: false };

    /// Golden values packed by hand from §6.5.2.1 and §6.5.2.3.
    #[test]
    fn translation_requests() {
        let (domain, requester) = (DomainId(0xabcd), RequesterId(0x1234));
        for (request, expected) in [
            (Request::AllContexts, [0x11, 0]),
            (Request::Context { domain, requester }, [0x0000_1234_abcd_0031, 0]),
            (Request::AllTranslations(NONE), [0x12, 0]),
            (Request::AllTranslations(BOTH), [0xd2, 0]),
            (Request::Domain { domain, drain: BOTH }, [0xabcd_00e2, 0]),
            (Request::Domain { domain, drain: Drain { reads: false, writes: true } }, [0xabcd_0062, 0]),
            (Request::Pages { domain, page: 0x1_0000, order: 9, drain: NONE }, [0xabcd_0032, 0x1000_0009]),
            (
                Request::Pages { domain, page: 0xf_ffff_ffff_ffff, order: 0, drain: BOTH },
                [0xabcd_00f2, 0xffff_ffff_ffff_f000],
            ),
        ] {
            assert_eq!(request.descriptor(), expected, "{request:?}");
        }
    }

    /// Golden values packed by hand from §6.5.2.2 and §6.5.2.4.
    #[test]
    fn scalable_requests() {
        let domain = DomainId(0xabcd);
        for (request, expected) in [
            (Request::AllPasids, [0x37, 0]),
            (Request::DomainPasids { domain }, [0xabcd_0007, 0]),
            (Request::FirstStage { domain }, [0xabcd_0026, 0]),
            (Request::FirstStagePages { domain, page: 0x1_0000, order: 9 }, [0xabcd_0036, 0x1000_0009]),
            (Request::FirstStagePages { domain, page: 0x7ff_ffff, order: 0 }, [0xabcd_0036, 0x7f_ffff_f000]),
        ] {
            assert_eq!(request.descriptor(), expected, "{request:?}");
        }
    }

    /// Golden values packed by hand from §6.5.2.8 and §6.5.2.9.
    #[test]
    fn interrupt_and_wait_requests() {
        assert_eq!(Request::AllInterrupts.descriptor(), [0x04, 0]);
        assert_eq!(Request::Interrupt { index: 0xfedc }.descriptor(), [0x0000_fedc_0000_0014, 0]);
        assert_eq!(
            wait_descriptor(PhysAddr(0x1_2345_6000), 0xdead_beef),
            [0xdead_beef_0000_0025, 0x1_2345_6000]
        );
    }
}
