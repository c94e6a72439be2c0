//! Commands, 128 bits (48882 §2.4.1 completion, §2.4.2 device entry, §2.4.3 pages, §2.4.5 interrupt table, §2.4.8 all).
//!
//! **Invariant: an invalidation of pages is of the paging-structure entries too** (PDE = 1).

use crate::address::{DomainId, PhysAddr, RequesterId};
use bitfield_struct::bitfield;

/// Operation codes.
const COMPLETION_WAIT: u8 = 1;
const DEVICE_ENTRY: u8 = 2;
const PAGES: u8 = 3;
const INTERRUPT_TABLE: u8 = 5;
const ALL: u8 = 8;

/// COMPLETION_WAIT, low half.
#[bitfield(u64)]
struct WaitLow {
    stores: bool,
    interrupts: bool,
    flushes: bool,
    /// Address of the word, in 8 bytes.
    #[bits(49)]
    word: u64,
    #[bits(8)]
    __: u8,
    #[bits(4)]
    code: u8,
}
const _: () = assert!(WaitLow::WORD_OFFSET == 3 && WaitLow::CODE_OFFSET == 60);

/// INVALIDATE_DEVTAB_ENTRY and INVALIDATE_INTERRUPT_TABLE, low half.
#[bitfield(u64)]
struct DeviceLow {
    requester: u16,
    #[bits(44)]
    __: u64,
    #[bits(4)]
    code: u8,
}

/// INVALIDATE_IOMMU_PAGES, low half.
#[bitfield(u64)]
struct PagesLow {
    /// PASID and reserved.
    __: u32,
    domain: u16,
    #[bits(12)]
    __: u16,
    #[bits(4)]
    code: u8,
}
const _: () = assert!(PagesLow::DOMAIN_OFFSET == 32);

/// INVALIDATE_IOMMU_PAGES, high half.
#[bitfield(u64)]
struct PagesHigh {
    /// S: the address says how many pages.
    is_range: bool,
    /// PDE: entries that lead to tables too.
    with_tables: bool,
    /// GN: guest tables.
    is_guest: bool,
    #[bits(9)]
    __: u16,
    /// Page number; of a range its lowest clear bit says how large it is.
    #[bits(52)]
    page: u64,
}
const _: () = assert!(PagesHigh::WITH_TABLES_OFFSET == 1 && PagesHigh::PAGE_OFFSET == 12);

/// Page number that, as a range, means all of them.
const ALL_PAGES: u64 = 0x7_ffff_ffff_ffff;

/// Orders that a range can have besides all.
pub(in crate::amdvi) const LARGEST_ORDER: u32 = 51;

/// What a unit can be asked to forget.
#[derive(Clone, Copy, Debug)]
pub(in crate::amdvi) enum Request {
    /// Everything (where EFR.IASup).
    All,
    /// The device table entry of one requester.
    DeviceEntry { requester: RequesterId },
    /// Every translation of one domain.
    Domain { domain: DomainId },
    /// Translations of 2^`order` pages from page number `page` (a multiple of 2^`order`) of one domain; `order` is
    /// at most [`LARGEST_ORDER`].
    Pages { domain: DomainId, page: u64, order: u32 },
    /// The interrupt entries of one requester.
    InterruptTable { requester: RequesterId },
}

impl Request {
    /// The command, low half first.
    pub(super) fn command(self) -> [u64; 2] {
        match self {
            Request::All => [DeviceLow::new().with_code(ALL).into_bits(), 0],
            Request::DeviceEntry { requester } => device(DEVICE_ENTRY, requester),
            Request::InterruptTable { requester } => device(INTERRUPT_TABLE, requester),
            Request::Domain { domain } => pages(domain, ALL_PAGES, true),
            Request::Pages { domain, page, order: 0 } => pages(domain, page, false),
            // The bits below the size are ones up to the one that says the size, which stays clear.
            Request::Pages { domain, page, order } => pages(domain, page | ((1 << (order - 1)) - 1), true),
        }
    }
}

fn device(code: u8, requester: RequesterId) -> [u64; 2] {
    [DeviceLow::new().with_code(code).with_requester(requester.0).into_bits(), 0]
}

fn pages(domain: DomainId, page: u64, is_range: bool) -> [u64; 2] {
    let low = PagesLow::new().with_code(PAGES).with_domain(domain.0);
    let high = PagesHigh::new().with_page(page).with_is_range(is_range).with_with_tables(true);
    [low.into_bits(), high.into_bits()]
}

/// The command that makes the unit store `sequence` at `word` once everything before it is done.
pub(super) fn completion_wait(word: PhysAddr, sequence: u64) -> [u64; 2] {
    let low = WaitLow::new().with_code(COMPLETION_WAIT).with_stores(true).with_word(word.0 >> 3);
    [low.into_bits(), sequence]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Golden values packed by hand from §2.4.
    #[test]
    fn packs_as_the_specification_says() {
        let (domain, requester) = (DomainId(0xabcd), RequesterId(0x1234));
        for (request, expected) in [
            (Request::All, [0x8000_0000_0000_0000, 0]),
            (Request::DeviceEntry { requester }, [0x2000_0000_0000_1234, 0]),
            (Request::InterruptTable { requester }, [0x5000_0000_0000_1234, 0]),
            (Request::Domain { domain }, [0x3000_abcd_0000_0000, 0x7fff_ffff_ffff_f003]),
            (Request::Pages { domain, page: 0x10_0001, order: 0 }, [0x3000_abcd_0000_0000, 0x1_0000_1002]),
            (Request::Pages { domain, page: 0x10_0002, order: 1 }, [0x3000_abcd_0000_0000, 0x1_0000_2003]),
            (Request::Pages { domain, page: 0x10_0000, order: 2 }, [0x3000_abcd_0000_0000, 0x1_0000_1003]),
            (Request::Pages { domain, page: 0x10_0000, order: 9 }, [0x3000_abcd_0000_0000, 0x1_000f_f003]),
            (Request::Pages { domain, page: 0, order: 51 }, [0x3000_abcd_0000_0000, 0x3fff_ffff_ffff_f003]),
        ] {
            assert_eq!(request.command(), expected, "{request:x?}");
        }
        assert_eq!(
            completion_wait(PhysAddr(0x9_8765_4008), 0xdead_beef_1234_5678),
            [0x1000_0009_8765_4009, 0xdead_beef_1234_5678]
        );
    }
}
