//! DMA memory on the test machine's heap, and the simulated IOMMU in front of it.
#![expect(unsafe_code, reason = "device models reach program memory by pointers, as devices do")]

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use weir_hal::dma::DMA_ALIGN_BYTES;
use weir_hal::{DmaMemory, DmaWindow, Error, Iova};

/// First I/O address given out; allocations have an unmapped page between them.
const FIRST_IOVA: u64 = 0x1_0000_0000;

/// Memory that a program and its simulated devices share; clones are the same window.
#[derive(Clone, Default)]
pub struct SimWindow {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    regions: Mutex<Vec<Region>>,
    used_bytes: AtomicU64,
    faults: AtomicU64,
}

/// One allocation that devices reach. **Invariant: on the list exactly as long as it is allocated.**
#[derive(Clone, Copy)]
struct Region {
    base: NonNull<u8>,
    iova: u64,
    layout: Layout,
}

// SAFETY: a region is heap memory, which belongs to no thread; access is ordered by the list's lock.
unsafe impl Send for Region {}

/// Takes its region out of the devices' reach, then frees it.
struct Keeper {
    shared: Arc<Shared>,
    region: Region,
}

// SAFETY: through a shared reference nothing can be reached.
unsafe impl Sync for Keeper {}

impl Drop for Keeper {
    fn drop(&mut self) {
        let mut regions = self.shared.regions.lock().unwrap_or_else(PoisonError::into_inner);
        regions.retain(|region| region.iova != self.region.iova);
        // SAFETY: allocated with this layout by `allocate`; the last part of the memory is gone (this keeper is
        // its only owner), and the list no longer leads to it.
        unsafe { dealloc(self.region.base.as_ptr(), self.region.layout) }
    }
}

impl DmaWindow for SimWindow {
    fn allocate(&self, bytes: usize) -> Result<DmaMemory, Error> {
        if bytes == 0 {
            return Err(Error::OutOfRange);
        }
        let bytes = bytes.next_multiple_of(DMA_ALIGN_BYTES);
        let layout = Layout::from_size_align(bytes, DMA_ALIGN_BYTES).map_err(|_| Error::OutOfRange)?;
        // SAFETY: the layout is not empty.
        let pointer = unsafe { alloc_zeroed(layout) };
        let base = NonNull::new(pointer).unwrap_or_else(|| handle_alloc_error(layout));
        let spaced = (bytes + DMA_ALIGN_BYTES) as u64;
        let iova = FIRST_IOVA + self.shared.used_bytes.fetch_add(spaced, Ordering::Relaxed);
        let region = Region { base, iova, layout };
        self.shared.regions.lock().unwrap_or_else(PoisonError::into_inner).push(region);
        let keeper = Arc::new(Keeper { shared: self.shared.clone(), region });
        // SAFETY: fresh zeroed memory, known to this value and to `regions`, from which models copy by raw
        // pointers only; `iova` leads to it; the keeper frees it.
        Ok(unsafe { DmaMemory::new(base, Iova(iova), bytes, keeper) })
    }
}

impl SimWindow {
    /// Accesses by devices that were blocked.
    #[must_use]
    pub fn faults(&self) -> u64 {
        self.shared.faults.load(Ordering::Relaxed)
    }

    /// A device reads. Blocked accesses read zeros, as under QEMU's IOMMU models.
    pub fn read(&self, iova: u64, into: &mut [u8]) {
        let found = self.at(iova, into.len(), |pointer| {
            // SAFETY: `at` gives a pointer to `into.len()` bytes of an allocation; `into` is not part of it,
            // because nothing but pool and ring code refers to it.
            unsafe { std::ptr::copy_nonoverlapping(pointer, into.as_mut_ptr(), into.len()) }
        });
        if !found {
            into.fill(0);
        }
    }

    /// A device writes. Blocked accesses change nothing.
    pub fn write(&self, iova: u64, from: &[u8]) {
        self.at(iova, from.len(), |pointer| {
            // SAFETY: as in `read`. No Rust reference into device-owned memory exists while a model runs.
            unsafe { std::ptr::copy_nonoverlapping(from.as_ptr(), pointer, from.len()) }
        });
    }

    /// A device writes what nobody asked it to write: into the `region`-th allocation, wherever that is, `offset` bytes
    /// from its start. Both wrap.
    pub fn scribble(&self, region: usize, offset: usize, from: &[u8]) {
        let place = {
            let regions = self.shared.regions.lock().unwrap_or_else(PoisonError::into_inner);
            let region = regions.get(region % regions.len().max(1));
            region.map(|region| region.iova + (offset % region.layout.size()) as u64)
        };
        if let Some(iova) = place {
            self.write(iova, from);
        }
    }

    /// Allocations that were not given back yet.
    #[must_use]
    pub fn allocations(&self) -> usize {
        self.shared.regions.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Reads a little-endian 16-bit number.
    #[must_use]
    pub fn read_u16(&self, iova: u64) -> u16 {
        u16::from_le_bytes(self.read_array(iova))
    }

    /// Reads a little-endian 32-bit number.
    #[must_use]
    pub fn read_u32(&self, iova: u64) -> u32 {
        u32::from_le_bytes(self.read_array(iova))
    }

    /// Reads a little-endian 64-bit number.
    #[must_use]
    pub fn read_u64(&self, iova: u64) -> u64 {
        u64::from_le_bytes(self.read_array(iova))
    }

    fn read_array<const N: usize>(&self, iova: u64) -> [u8; N] {
        let mut bytes = [0; N];
        self.read(iova, &mut bytes);
        bytes
    }

    fn at(&self, iova: u64, bytes: usize, access: impl FnOnce(*mut u8)) -> bool {
        let regions = self.shared.regions.lock().unwrap_or_else(PoisonError::into_inner);
        let hit = regions.iter().find_map(|region| {
            let offset = usize::try_from(iova.checked_sub(region.iova)?).ok()?;
            let fits = offset.checked_add(bytes)? <= region.layout.size();
            fits.then(|| region.base.as_ptr().wrapping_add(offset))
        });
        match hit {
            Some(pointer) => access(pointer),
            None => {
                self.shared.faults.fetch_add(1, Ordering::Relaxed);
            }
        }
        hit.is_some()
    }
}
