//! Memory: frames, page tables, the kernel's own mappings, processes' address spaces.

pub(crate) mod address;
mod device_root;
pub(crate) mod heap;
pub(crate) mod memory;
pub(crate) mod paging;
pub(crate) mod ram;
mod reach;
pub(crate) mod space;
pub(crate) mod tlb;
pub(crate) mod user;
pub(crate) mod vmap;
