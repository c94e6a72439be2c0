use super::fake::{Fake, Machine, at};
use crate::frames::PhysAddr;
use crate::pci::{Inventory, PciError};

fn inventory(functions: impl IntoIterator<Item = Fake>) -> Inventory {
    Machine::new((0..).zip(functions).map(|(device, fake)| (at(0, device, 0), fake))).enumerate()
}

fn pages(start: u64, end: u64) -> Result<core::ops::Range<PhysAddr>, PciError> {
    Ok(PhysAddr(start)..PhysAddr(end))
}

fn plain() -> Fake {
    Fake::endpoint(1234, 1, 0)
}

#[test]
fn registers_are_mappable_and_the_interrupt_table_is_not() {
    let nvme = inventory([Fake::nvme(0xfd00_0000)]);
    assert_eq!(nvme.mappable(0, 0, 0, 0x2000, &[]), pages(0xfd00_0000, 0xfd00_2000));
    assert_eq!(nvme.mappable(0, 0, 0x1000, 0x1000, &[]), pages(0xfd00_1000, 0xfd00_2000));
    for (offset, bytes) in [(0, 0x4000), (0x2000, 0x1000), (0x3000, 0x1000), (0x1000, 0x2000)] {
        assert_eq!(nvme.mappable(0, 0, offset, bytes, &[]), Err(PciError::HoldsInterruptTable));
    }
    let virtio = inventory([Fake::virtio(0xfe00_0000)]);
    assert_eq!(virtio.mappable(0, 1, 0, 0x1000, &[]), Err(PciError::HoldsInterruptTable));
    assert_eq!(virtio.mappable(0, 4, 0, 0x4000, &[]), pages(0xfe00_4000, 0xfe00_8000));
}

#[test]
fn a_table_that_crosses_a_page_takes_both() {
    let inventory = inventory([plain().memory(0, 0x4000, 0xfe00_0000).msix(257, 0x1000, 0x3000)]);
    assert_eq!(inventory.mappable(0, 0, 0, 0x1000, &[]), pages(0xfe00_0000, 0xfe00_1000));
    for offset in [0x1000, 0x2000, 0x3000] {
        assert_eq!(inventory.mappable(0, 0, offset, 0x1000, &[]), Err(PciError::HoldsInterruptTable));
    }
}

#[test]
fn only_whole_pages_of_memory_that_is_there() {
    let inventory = inventory([Fake::e1000e(0xfe00_0000), plain().memory(0, 0x1000, 0)]);
    let wrong =
        [(0, 0), (0, 1), (1, 0x1000), (0x800, 0x1000), (0, 0x2_1000), (0x2_0000, 0x1000), (0x1_f000, 0x2000)];
    for (offset, bytes) in wrong {
        assert_eq!(inventory.mappable(0, 0, offset, bytes, &[]), Err(PciError::OutOfRange));
    }
    for (offset, bytes) in [(!0xfff, 0x1000), (0x1000, !0xfff), (!0xfff, !0xfff)] {
        assert_eq!(inventory.mappable(0, 0, offset, bytes, &[]), Err(PciError::OutOfRange));
    }
    for (index, bar) in [(0, 2), (0, 4), (0, 6), (0, 255), (1, 0), (2, 0), (usize::MAX, 0)] {
        assert_eq!(inventory.mappable(index, bar, 0, 0x1000, &[]), Err(PciError::NotPresent));
    }
}

#[test]
fn a_small_bar_gets_its_page_only_alone() {
    let small = |address| plain().memory(0, 0x100, address);
    let alone = inventory([small(0xfe00_0100), small(0xfe00_1000)]);
    assert_eq!(alone.mappable(0, 0, 0, 0x1000, &[]), pages(0xfe00_0000, 0xfe00_1000));
    assert_eq!(alone.mappable(1, 0, 0, 0x1000, &[]), pages(0xfe00_1000, 0xfe00_2000));
    let neighbours = inventory([small(0xfe00_0000), small(0xfe00_0f00)]);
    let same_function = inventory([small(0xfe00_0000).memory(1, 0x10, 0xfe00_0ff0)]);
    let bridge = inventory([small(0xfe00_0000), Fake::bridge(1, 1).memory(0, 0x800, 0xfe00_0800)]);
    for shared in [neighbours, same_function, bridge] {
        assert_eq!(shared.mappable(0, 0, 0, 0x1000, &[]), Err(PciError::SharesPage));
    }
}

#[test]
fn a_bar_over_something_else_is_refused_where_it_is() {
    let machine =
        || inventory([plain().memory(0, 0x4000, 0xfe00_0000), plain().memory(0, 0x1000, 0xfe00_2000)]);
    assert_eq!(machine().mappable(0, 0, 0, 0x2000, &[]), pages(0xfe00_0000, 0xfe00_2000));
    assert_eq!(machine().mappable(0, 0, 0, 0x4000, &[]), Err(PciError::SharesPage));
    assert_eq!(machine().mappable(1, 0, 0, 0x1000, &[]), Err(PciError::SharesPage));
    // Its device may claim that a BAR lies over memory or over the IOMMU's registers.
    let kernel = [PhysAddr(0)..PhysAddr(0x8000_0000), PhysAddr(0xfe00_1fff)..PhysAddr(0xfe00_2000)];
    assert_eq!(machine().mappable(0, 0, 0, 0x1000, &kernel), pages(0xfe00_0000, 0xfe00_1000));
    assert_eq!(machine().mappable(0, 0, 0, 0x2000, &kernel), Err(PciError::SharesPage));
    let memory = inventory([plain().memory(0, 0x1000, 0x1000)]);
    assert_eq!(memory.mappable(0, 0, 0, 0x1000, &kernel), Err(PciError::SharesPage));
}

#[test]
fn a_malformed_function_is_not_mapped_but_keeps_others_out() {
    let malformed = plain().memory(0, 0x100, 0xfe00_0000).msix(1, 7, 0);
    let inventory = inventory([malformed, plain().memory(0, 0x100, 0xfe00_0800)]);
    assert_eq!(inventory.mappable(0, 0, 0, 0x1000, &[]), Err(PciError::Malformed));
    assert_eq!(inventory.mappable(1, 0, 0, 0x1000, &[]), Err(PciError::SharesPage));
}
