//! Kernel mappings beside the direct map: registers of devices the kernel drives, firmware tables, and stacks
//! with guard pages. Made at boot only, never removed, so no TLB ever holds a stale one.

use weir_abi::layout::PAGE_BYTES;

use super::address::{PhysAddr, VMAP_BASE};
use super::paging::{Access, PageTables};
use super::ram;
use crate::sync::Lock;

struct Area {
    tables: PageTables,
    next: u64,
}

static AREA: Lock<Option<Area>> = Lock::new(None);

/// Takes over the kernel's page tables.
pub(crate) fn set_up(tables: PageTables) {
    *AREA.lock() = Some(Area { tables, next: VMAP_BASE });
}

/// Maps device registers, uncached.
pub(crate) fn map_registers(address: u64, bytes: u64) -> *mut u8 {
    map(address, bytes, Access::KERNEL_REGISTERS)
}

/// Maps firmware tables, read-only.
pub(crate) fn map_firmware(address: u64, bytes: u64) -> *mut u8 {
    map(address, bytes, Access::KERNEL_CONSTANTS)
}

fn map(address: u64, bytes: u64, access: Access) -> *mut u8 {
    let offset = address % PAGE_BYTES;
    let bytes = (offset + bytes).next_multiple_of(PAGE_BYTES);
    let mut guard = AREA.lock();
    let area = guard.as_mut().expect("vmap is set up");
    // One unmapped page between neighbours.
    let at = area.next;
    area.next += bytes + PAGE_BYTES;
    area.tables.map(at, PhysAddr(address - offset), bytes, access).expect("memory at boot");
    core::ptr::with_exposed_provenance_mut((at + offset) as usize)
}

/// A kernel stack of `bytes`, with an unmapped page below; returns its top.
pub(crate) fn new_stack(bytes: u64) -> u64 {
    let mut guard = AREA.lock();
    let area = guard.as_mut().expect("vmap is set up");
    let bottom = area.next + PAGE_BYTES;
    area.next = bottom + bytes;
    for offset in (0..bytes).step_by(PAGE_BYTES as usize) {
        let frame = ram::allocate_zeroed(0).expect("memory at boot");
        area.tables.map(bottom + offset, frame, PAGE_BYTES, Access::KERNEL_DATA).expect("memory at boot");
    }
    area.next
}
