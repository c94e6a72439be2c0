//! Memory that the functions reach.
//!
//! **Invariant: memory leaves the I/O page table before it leaves the program.** An I/O address equals the program's
//! own address where the IOMMU translates that; else one is chosen.
#![expect(unsafe_code, reason = "promises what was mapped")]

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::io::Errno;
use weir_hal::dma::DMA_ALIGN_BYTES;
use weir_hal::{DmaMemory, DmaWindow, Error, Iova};

use crate::container::Container;
use crate::error::to_host;
use crate::iova::Books;
use crate::mapping::{LARGE_PAGE_BYTES, Mapping};

/// The memory that functions opened together reach; clones are the same.
#[derive(Clone)]
pub struct Window {
    shared: Arc<Shared>,
}

struct Shared {
    container: Arc<Container>,
    books: Mutex<Books>,
}

/// What keeps a run of memory mapped, for the functions and for the program.
struct Run {
    shared: Arc<Shared>,
    iova: u64,
    memory: Option<Mapping>,
}

impl Window {
    pub(crate) fn new(container: Arc<Container>, books: Books) -> Window {
        Window { shared: Arc::new(Shared { container, books: Mutex::new(books) }) }
    }
}

impl DmaWindow for Window {
    fn allocate(&self, bytes: usize) -> Result<DmaMemory, Error> {
        let memory = memory(bytes)?;
        let (base, bytes) = (memory.base(), memory.bytes());
        let iova = self.shared.map(&memory)?;
        let run = Run { shared: Arc::clone(&self.shared), iova, memory: Some(memory) };
        // SAFETY: zeroed and mapped until the keeper, `run`, is dropped, which gives no access to it; `iova` leads
        // there, and for as long.
        Ok(unsafe { DmaMemory::new(base, Iova(iova), bytes, Arc::new(run)) })
    }
}

/// At least `bytes` of memory: on large pages from that size on, where the kernel has some set aside.
fn memory(bytes: usize) -> Result<Mapping, Error> {
    if bytes == 0 {
        return Err(Error::OutOfRange);
    }
    let rounded = |unit: usize| bytes.checked_next_multiple_of(unit).ok_or(Error::OutOfRange);
    if bytes >= LARGE_PAGE_BYTES
        && let Ok(memory) = Mapping::of_memory(rounded(LARGE_PAGE_BYTES)?, true)
    {
        return Ok(memory);
    }
    Mapping::of_memory(rounded(DMA_ALIGN_BYTES)?, false).map_err(to_host)
}

impl Shared {
    fn map(&self, memory: &Mapping) -> Result<u64, Error> {
        let wanted = memory.base().as_ptr().addr() as u64;
        let iova = self.books().take(wanted, memory.bytes() as u64).ok_or(Error::NoMemory)?;
        let mapped = self.container.map(memory, iova);
        mapped.inspect_err(|_| self.books().give_back(iova)).map_err(to_host)?;
        Ok(iova)
    }

    fn unmap(&self, iova: u64, bytes: usize) -> Result<(), Errno> {
        self.container.unmap(iova, bytes as u64)?;
        self.books().give_back(iova);
        Ok(())
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        let Some(memory) = self.memory.take() else { return };
        if self.shared.unmap(self.iova, memory.bytes()).is_err() {
            // Still in the functions' reach: it is never used again.
            std::mem::forget(memory);
        }
    }
}
