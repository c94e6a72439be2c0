//! The memory that the back end reaches: one file in memory, mapped here and there.
//!
//! **Invariants: `free` holds disjoint runs of whole pages of the mapping that no `DmaMemory` reaches; the mapping
//! lives as long as anything allocated from it.** Its size is fixed, because every change of the table of regions stops
//! a back end's work. What is freed can be allocated again at once: the back end keeps its reach of the whole window
//! until the connection ends, so it can spoil DMA memory of this owner, and nothing else.
#![expect(unsafe_code, reason = "maps memory, and promises to `DmaMemory` what it mapped")]

use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::ptr::{self, NonNull};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::{MemfdFlags, memfd_create};
use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap, munmap};
use weir_hal::dma::DMA_ALIGN_BYTES;
use weir_hal::{DmaMemory, DmaWindow, Iova};

use crate::Error;

/// A window's size is a multiple of it, so that it can lie on large pages.
const LARGE_BYTES: usize = 2 << 20;

/// Memory shared with a back end. Clones are the same memory.
#[derive(Clone)]
pub struct Window {
    mapping: Arc<Mapping>,
}

struct Mapping {
    base: NonNull<u8>,
    bytes: usize,
    file: File,
    /// Offset and length of what is free.
    free: Mutex<BTreeMap<usize, usize>>,
}

// SAFETY: `base` is the address of a mapping, which belongs to the address space, not to a thread.
unsafe impl Send for Mapping {}
// SAFETY: through a shared reference the pointer is only copied; `free` has a lock.
unsafe impl Sync for Mapping {}

impl Window {
    /// Makes a window of at least `bytes`, on large pages where the system has some to give.
    ///
    /// # Errors
    /// `System`: no memory.
    pub fn new(bytes: usize) -> Result<Window, Error> {
        let bytes = bytes.max(1).next_multiple_of(LARGE_BYTES);
        let large = MemfdFlags::HUGETLB | MemfdFlags::HUGE_2MB;
        let mapping = Mapping::new(bytes, large).or_else(|_| Mapping::new(bytes, MemfdFlags::empty()))?;
        Ok(Window { mapping: Arc::new(mapping) })
    }

    /// Bytes of it.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.mapping.bytes
    }

    /// Where it starts, for this program and, by the table of regions, for the back end.
    pub(crate) fn address(&self) -> u64 {
        self.mapping.base.as_ptr().addr() as u64
    }

    pub(crate) fn file(&self) -> BorrowedFd<'_> {
        self.mapping.file.as_fd()
    }
}

impl Mapping {
    fn new(bytes: usize, flags: MemfdFlags) -> Result<Mapping, Error> {
        let file = File::from(memfd_create("weir-window", flags | MemfdFlags::CLOEXEC)?);
        file.set_len(bytes as u64)?;
        let access = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping at an address of the system's choice, so no memory in use is touched. The file is
        // new, is as long, and is truncated by nobody: only this program and the back end have it.
        let base = unsafe { mmap(ptr::null_mut(), bytes, access, MapFlags::SHARED, &file, 0) }?;
        let base = NonNull::new(base.cast::<u8>()).ok_or(Error::System(std::io::ErrorKind::OutOfMemory))?;
        // SAFETY: the mapping made above. Where the system has no large pages for shared memory, small ones do.
        let _ = unsafe { madvise(base.as_ptr().cast(), bytes, Advice::LinuxHugepage) };
        Ok(Mapping { base, bytes, file, free: Mutex::new(BTreeMap::from([(0, bytes)])) })
    }

    /// Takes `bytes` off the first run that has as many.
    fn take(&self, bytes: usize) -> Option<usize> {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let (&offset, &run) = free.iter().find(|&(_, &run)| run >= bytes)?;
        free.remove(&offset);
        if run > bytes {
            free.insert(offset + bytes, run - bytes);
        }
        Some(offset)
    }

    /// Puts a run back, joined with its neighbours.
    fn put(&self, mut offset: usize, mut bytes: usize) {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(next) = free.remove(&(offset + bytes)) {
            bytes += next;
        }
        let before = free.range(..offset).next_back().map(|(&start, &run)| (start, run));
        if let Some((start, run)) = before.filter(|(start, run)| start + run == offset) {
            (offset, bytes) = (start, run + bytes);
        }
        free.insert(offset, bytes);
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping made in `new`. Whatever was allocated from it holds the `Arc` of this value.
        let unmapped = unsafe { munmap(self.base.as_ptr().cast(), self.bytes) };
        debug_assert!(unmapped.is_ok());
    }
}

/// Keeps an allocated run; gives it back when dropped.
struct Run {
    mapping: Arc<Mapping>,
    offset: usize,
    bytes: usize,
}

impl Drop for Run {
    fn drop(&mut self) {
        self.mapping.put(self.offset, self.bytes);
    }
}

impl DmaWindow for Window {
    fn allocate(&self, bytes: usize) -> Result<DmaMemory, weir_hal::Error> {
        let rounded = bytes.checked_next_multiple_of(DMA_ALIGN_BYTES).filter(|&rounded| rounded > 0);
        let rounded = rounded.ok_or(weir_hal::Error::OutOfRange)?;
        let offset = self.mapping.take(rounded).ok_or(weir_hal::Error::NoMemory)?;
        let run = Run { mapping: self.mapping.clone(), offset, bytes: rounded };
        // SAFETY: `take` found the run inside the mapping.
        let base = unsafe { self.mapping.base.add(offset) };
        // SAFETY: mapped for writing; nobody else has the run. It may have been used before.
        unsafe { base.write_bytes(0, rounded) };
        let iova = Iova(self.address() + offset as u64);
        // SAFETY: the run is zeroed memory of the mapping, off the free list, and stays so until `run` is dropped. The
        // table of regions gives the back end the window's first byte at `address()`.
        Ok(unsafe { DmaMemory::new(base, iova, rounded, Arc::new(run)) })
    }
}
