//! Extended register state of threads (x87, SSE, AVX): the kernel itself never touches those registers.

use alloc::alloc::{Layout, alloc_zeroed, dealloc};
use core::ptr::NonNull;

use super::cpu::features;

/// A thread's XSAVE area (Intel SDM volume 1, chapter 13), standard format.
pub(crate) struct ExtendedState(NonNull<u8>);

// SAFETY: the area is plain memory owned by this value; it is saved and restored by one CPU at a time.
unsafe impl Send for ExtendedState {}
// SAFETY: as above.
unsafe impl Sync for ExtendedState {}

impl ExtendedState {
    /// A fresh state, or `None` where the kernel heap is exhausted.
    pub(crate) fn try_new() -> Option<ExtendedState> {
        // SAFETY: the layout's size is not zero.
        let area = NonNull::new(unsafe { alloc_zeroed(Self::layout()) })?;
        // An all-zero XSAVE header means "initial state" for every component, except that MXCSR is loaded
        // from the legacy region whenever SSE is asked for: its power-on value masks every exception.
        const FCW: (usize, u16) = (0, 0x37f);
        const MXCSR: (usize, u32) = (24, 0x1f80);
        // SAFETY: both offsets lie in the 512-byte legacy region.
        unsafe {
            area.add(FCW.0).cast::<u16>().write(FCW.1);
            area.add(MXCSR.0).cast::<u32>().write(MXCSR.1);
        }
        Some(ExtendedState(area))
    }

    fn layout() -> Layout {
        Layout::from_size_align(features().xsave_bytes.max(576), 64).expect("64 is a power of two")
    }

    /// Stores the CPU's registers here.
    pub(crate) fn save(&self) {
        // SAFETY: the area is aligned and large enough for the components in XCR0.
        unsafe {
            core::arch::asm!("xsave64 [{}]", in(reg) self.0.as_ptr(), in("eax") u32::MAX, in("edx") u32::MAX,
                options(nostack));
        }
    }

    /// Loads the CPU's registers from here.
    pub(crate) fn restore(&self) {
        // SAFETY: the area was zeroed or filled by `save` and user mode cannot reach it.
        unsafe {
            core::arch::asm!("xrstor64 [{}]", in(reg) self.0.as_ptr(), in("eax") u32::MAX,
                in("edx") u32::MAX, options(nostack));
        }
    }
}

impl Drop for ExtendedState {
    fn drop(&mut self) {
        // SAFETY: allocated with the same layout.
        unsafe { dealloc(self.0.as_ptr(), Self::layout()) }
    }
}
