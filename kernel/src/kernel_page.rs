//! Making the kernel page of a process ([`weir_abi::page`]).

use core::sync::atomic::{AtomicU32, Ordering};

use weir_abi::page::{self, KernelPage};

use crate::arch::time;
use crate::cpus;
use crate::mm::address::{Direct, PhysAddr};
use crate::mm::ram;

/// Frames it takes, as an order.
pub(crate) const ORDER: u8 = 1;

static IOMMU_MODE: AtomicU32 = AtomicU32::new(page::IommuMode::Off as u32);

/// Sets how devices are confined, before the first process is made.
pub(crate) fn set_iommu_mode(mode: page::IommuMode) {
    IOMMU_MODE.store(mode as u32, Ordering::Relaxed);
}

/// How devices are confined.
pub(crate) fn iommu_mode() -> page::IommuMode {
    page::IommuMode::from_number(IOMMU_MODE.load(Ordering::Relaxed))
}

/// Takes the frames and fills in what does not change.
pub(crate) fn create(process: u32) -> Option<PhysAddr> {
    let frames = ram::allocate_zeroed(ORDER)?;
    let page = frames.direct().cast::<KernelPage>();
    // SAFETY: the frames are ours, zeroed, large enough; zeros are valid for the rest of the page.
    unsafe {
        (&raw mut (*page).magic).write(page::MAGIC);
        (&raw mut (*page).abi_version).write(weir_abi::ABI_VERSION);
        (&raw mut (*page).process_id).write(process);
        (&raw mut (*page).tsc_hz).write(time::tsc_hz());
        (&raw mut (*page).tsc_at_boot).write(time::tsc_at_boot());
        (&raw mut (*page).cpus).write(cpus::count());
        (&raw mut (*page).iommu_mode).write(IOMMU_MODE.load(Ordering::Relaxed));
    }
    Some(frames)
}
