//! Kernel mappings beside the direct map: registers of devices the kernel drives, firmware tables, and stacks
//! with guard pages. Made at boot only, never removed, so no TLB ever holds a stale one; but for one page per CPU,
//! which only that CPU uses: a window to registers that came later.

use weir_abi::layout::PAGE_BYTES;

use super::address::{PhysAddr, VMAP_BASE};
use super::paging::{Access, PageTables};
use super::ram;
use crate::arch::local::local;
use crate::cpus::MAX_CPUS;
use crate::sync::Lock;

struct Area {
    tables: PageTables,
    next: u64,
    /// The first CPU's window; those of the others follow.
    windows: Option<u64>,
}

static AREA: Lock<Option<Area>> = Lock::new(None);

/// Takes over the kernel's page tables.
pub(crate) fn set_up(tables: PageTables) {
    *AREA.lock() = Some(Area { tables, next: VMAP_BASE, windows: None });
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

/// Makes every CPU's window; until it is used it shows the register page at `address`.
pub(crate) fn make_windows(address: u64) {
    let mut guard = AREA.lock();
    let area = guard.as_mut().expect("vmap is set up");
    let first = area.next;
    area.next += (MAX_CPUS as u64 + 1) * PAGE_BYTES;
    for cpu in 0..MAX_CPUS as u64 {
        let (at, page) = (first + cpu * PAGE_BYTES, PhysAddr(address & !(PAGE_BYTES - 1)));
        area.tables.map(at, page, PAGE_BYTES, Access::KERNEL_REGISTERS).expect("memory at boot");
    }
    area.windows = Some(first);
}

/// Shows the registers at `address` in this CPU's window while `access` uses them. Needs no memory.
///
/// # Panics
/// Where there are no windows.
pub(crate) fn with_registers<T>(address: PhysAddr, access: impl FnOnce(*mut u8) -> T) -> T {
    let offset = address.0 % PAGE_BYTES;
    let window = {
        let mut guard = AREA.lock();
        let area = guard.as_mut().expect("vmap is set up");
        let first = area.windows.expect("windows are made where functions can come later");
        let window = first + u64::from(local().index) * PAGE_BYTES;
        area.tables.point(window, PhysAddr(address.0 - offset), Access::KERNEL_REGISTERS);
        window
    };
    // Only this CPU ever translates it, and the kernel is not interrupted.
    x86_64::instructions::tlb::flush(x86_64::VirtAddr::new(window));
    access(core::ptr::with_exposed_provenance_mut((window + offset) as usize))
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
