//! Addresses and where the kernel has things mapped.
//!
//! | from | what |
//! |---|---|
//! | `0` | the running process |
//! | [`DIRECT_BASE`] | all RAM: writable, never executable; the kernel image's part is read-only |
//! | [`VMAP_BASE`] | device registers the kernel uses, kernel stacks with guard pages |
//! | [`KERNEL_BASE`] | the kernel image, W^X |

/// Where physical address 0 appears in the direct map.
pub(crate) const DIRECT_BASE: u64 = 0xffff_8000_0000_0000;
/// Bytes of physical address space the direct map can show.
pub(crate) const DIRECT_BYTES: u64 = 0x2000_0000_0000;
/// Start of kernel mappings made at boot.
pub(crate) const VMAP_BASE: u64 = 0xffff_c000_0000_0000;
/// Where physical address 0 appears relative to the kernel image.
pub(crate) const KERNEL_BASE: u64 = 0xffff_ffff_8000_0000;

pub(crate) use weir_kernel::frames::PhysAddr;

/// How the kernel reaches physical memory.
pub(crate) trait Direct {
    /// The address in the direct map. Valid for RAM only.
    fn direct(self) -> *mut u8;
}

impl Direct for PhysAddr {
    fn direct(self) -> *mut u8 {
        debug_assert!(self.0 < DIRECT_BYTES);
        core::ptr::with_exposed_provenance_mut((DIRECT_BASE + self.0) as usize)
    }
}

/// A run of physical memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PhysRange {
    /// First byte.
    pub(crate) start: u64,
    /// One past the last byte.
    pub(crate) end: u64,
}

impl PhysRange {
    /// From start and length; a length past the end of the address space is cut.
    pub(crate) const fn new(start: u64, bytes: u64) -> PhysRange {
        PhysRange { start, end: start.saturating_add(bytes) }
    }

    /// Bytes in the range.
    pub(crate) const fn bytes(self) -> u64 {
        self.end - self.start
    }
}
