//! Where things are in a process's address space (4-level paging, lower half).
//!
//! **Invariant: page-map entry 0 (the lowest 512 GiB) holds the DMA window and nothing else**, so a device's
//! page-table root can share that one subtree with the CPU's and reach nothing but the window.

/// Bytes of a frame and of the smallest page.
pub const PAGE_BYTES: u64 = 4096;
/// Bytes of a large page.
pub const LARGE_PAGE_BYTES: u64 = 2 << 20;
/// Bytes of a huge page.
pub const HUGE_PAGE_BYTES: u64 = 1 << 30;

/// First address of the DMA window. Above 4 GiB, so that no I/O address falls into the interrupt range
/// FEE0_0000h–FEEF_FFFFh (VT-d 5.10 §3.15 "Interrupt Address Range") or onto a firmware-reserved region.
pub const DMA_WINDOW_START: u64 = 0x1_0000_0000;
/// End (exclusive) of the DMA window: what a 39-bit (3-level) I/O page table reaches.
pub const DMA_WINDOW_END: u64 = 0x80_0000_0000;

/// First address of ordinary mappings placed by the kernel: heaps, stacks.
pub const PRIVATE_START: u64 = 0x100_0000_0000;
/// End (exclusive) of ordinary mappings placed by the kernel.
pub const PRIVATE_END: u64 = 0x4000_0000_0000;

/// First address of device registers, which the kernel places here and nobody else anything: what a device that is taken
/// away had mapped is then found without a look at the other mappings.
pub const REGISTERS_START: u64 = 0x4000_0000_0000;
/// End (exclusive) of device registers.
pub const REGISTERS_END: u64 = 0x5000_0000_0000;

/// Where the supervisor maps program images: static position-independent executables.
pub const PROGRAM_BASE: u64 = 0x5000_0000_0000;
/// End (exclusive) of the program area.
pub const PROGRAM_END: u64 = 0x6000_0000_0000;

/// Where every process finds its [`crate::page::KernelPage`], read-only.
pub const KERNEL_PAGE: u64 = 0x7000_0000_0000;

/// Upper end (exclusive) of what a process may map.
pub const USER_END: u64 = 0x7000_0000_0000;
