//! The kernel page: what the kernel tells this process without being entered.

use weir_abi::layout::KERNEL_PAGE;
use weir_abi::page::{KernelPage, MAGIC};

/// The kernel page.
#[inline]
#[must_use]
pub fn kernel_page() -> &'static KernelPage {
    // SAFETY: the kernel maps it, readable, into every process for its whole life (`layout::KERNEL_PAGE`), and
    // what it changes there are atomics. `start` ends a program that finds another page there.
    unsafe { &*(KERNEL_PAGE as *const KernelPage) }
}

/// Whether the page is what this program was built for.
pub(crate) fn is_known() -> bool {
    let page = kernel_page();
    page.magic == MAGIC && page.abi_version == weir_abi::ABI_VERSION && page.tsc_hz != 0
}
