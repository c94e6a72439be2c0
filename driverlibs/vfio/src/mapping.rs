//! Address space of the program: registers and memory that is for devices.
#![expect(unsafe_code, reason = "maps and unmaps")]

use std::os::fd::AsFd;
use std::ptr::{NonNull, null_mut};

use rustix::io::{Errno, Result};
use rustix::mm::{MapFlags, ProtFlags, mmap, mmap_anonymous, munmap};

/// Bytes of a large page.
pub(crate) const LARGE_PAGE_BYTES: usize = 2 << 20;

/// Mapped pages.
///
/// **Invariant: `base..base + bytes` is mapped, readable and writable, until this value is dropped, and no Rust
/// object lies there.**
pub(crate) struct Mapping {
    base: NonNull<u8>,
    bytes: usize,
}

// SAFETY: a mapping belongs to the address space, not to a thread.
unsafe impl Send for Mapping {}
// SAFETY: through a shared reference only numbers and the pointer's value can be read.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps `bytes` of `file` from `offset` on, shared. Both are multiples of the page size.
    pub(crate) fn of_file(file: impl AsFd, offset: u64, bytes: usize) -> Result<Mapping> {
        let access = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: the kernel chooses the place, so nothing that exists is replaced.
        let pointer = unsafe { mmap(null_mut(), bytes, access, MapFlags::SHARED, file, offset)? };
        Mapping::new(pointer.cast(), bytes)
    }

    /// Maps zeroed memory, on large pages if `is_large`: then `bytes` is a multiple of theirs. All pages are there
    /// when this returns.
    pub(crate) fn of_memory(bytes: usize, is_large: bool) -> Result<Mapping> {
        let access = ProtFlags::READ | ProtFlags::WRITE;
        let large = if is_large { MapFlags::HUGETLB | MapFlags::HUGE_2MB } else { MapFlags::empty() };
        let flags = MapFlags::PRIVATE | MapFlags::POPULATE | large;
        // SAFETY: the kernel chooses the place, so nothing that exists is replaced.
        let pointer = unsafe { mmap_anonymous(null_mut(), bytes, access, flags)? };
        Mapping::new(pointer.cast(), bytes)
    }

    fn new(base: *mut u8, bytes: usize) -> Result<Mapping> {
        Ok(Mapping { base: NonNull::new(base).ok_or(Errno::FAULT)?, bytes })
    }

    pub(crate) fn base(&self) -> NonNull<u8> {
        self.base
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The byte `offset` further than the first.
    pub(crate) fn at(&self, offset: usize) -> NonNull<u8> {
        assert!(offset <= self.bytes, "inside the mapping");
        // SAFETY: inside or one past the end, just checked.
        unsafe { self.base.add(offset) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: mapped by `new`'s callers and by nobody unmapped since; whoever holds a pointer into it keeps this
        // value.
        let unmapped = unsafe { munmap(self.base.as_ptr().cast(), self.bytes) };
        debug_assert!(unmapped.is_ok(), "a mapping that was made can be undone");
    }
}
