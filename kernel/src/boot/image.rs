//! Where the kernel's own image lies, from the linker script's symbols.

use crate::mm::address::{KERNEL_BASE, PhysRange};
use crate::mm::paging::Access;

unsafe extern "C" {
    static __text_start: u8;
    static __text_end: u8;
    static __rodata_start: u8;
    static __rodata_end: u8;
    static __data_start: u8;
    static __data_end: u8;
}

fn range(start: *const u8, end: *const u8) -> PhysRange {
    let physical = |at: *const u8| at.expose_provenance() as u64 - KERNEL_BASE;
    PhysRange { start: physical(start), end: physical(end).next_multiple_of(4096) }
}

/// The code.
pub(crate) fn text() -> PhysRange {
    range(&raw const __text_start, &raw const __text_end)
}

/// Code and constants.
pub(crate) fn constants() -> PhysRange {
    range(&raw const __text_start, &raw const __rodata_end)
}

/// The whole image.
pub(crate) fn all() -> PhysRange {
    range(&raw const __text_start, &raw const __data_end)
}

/// The image's parts with their permissions: W^X.
pub(crate) fn sections() -> [(PhysRange, Access); 3] {
    [
        (text(), Access::KERNEL_CODE),
        (range(&raw const __rodata_start, &raw const __rodata_end), Access::KERNEL_CONSTANTS),
        (range(&raw const __data_start, &raw const __data_end), Access::KERNEL_DATA),
    ]
}
