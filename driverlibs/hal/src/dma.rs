//! Memory that a device reaches.
//!
//! **Invariant: a [`DmaMemory`] is the only way to its bytes**: hosts give each byte out once, and splitting
//! keeps the parts disjoint. The device may read and write it at any time, so no Rust reference to it may
//! exist except where the driver's protocol says that the device has handed a part back.
#![expect(unsafe_code, reason = "hosts promise here what they mapped")]

use alloc::sync::Arc;
use core::any::Any;
use core::fmt;
use core::ptr::NonNull;

use crate::Error;
use crate::mapped::Keeper;

/// Smallest alignment of an allocation in the CPU's and in the device's address space.
pub const DMA_ALIGN_BYTES: usize = 4096;

/// An address as the device sees it. On Weir it equals the program's own address of the same byte; on other
/// hosts it need not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Iova(pub u64);

impl Iova {
    /// The address `bytes` further.
    #[must_use]
    #[inline]
    pub const fn add(self, bytes: u64) -> Iova {
        Iova(self.0.wrapping_add(bytes))
    }
}

impl fmt::Display for Iova {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

/// Where DMA memory comes from: a part of the program's memory that its devices reach.
pub trait DmaWindow: Send {
    /// Allocates at least `bytes` of zeroed memory, aligned to [`DMA_ALIGN_BYTES`] or better, readable and
    /// writable by CPU and device. Large allocations lie on large pages where the host can do so. It is given
    /// back, out of the device's reach first, when the last part of it is dropped.
    ///
    /// # Errors
    /// `OutOfRange` (0 bytes), `NoMemory`.
    fn allocate(&self, bytes: usize) -> Result<DmaMemory, Error>;
}

/// A run of DMA memory.
pub struct DmaMemory {
    base: NonNull<u8>,
    iova: Iova,
    bytes: usize,
    keeper: Keeper,
}

// SAFETY: it owns its bytes; they belong to the address space, not to a thread.
unsafe impl Send for DmaMemory {}
// SAFETY: through a shared reference only numbers and the pointer's value can be read.
unsafe impl Sync for DmaMemory {}

impl DmaMemory {
    /// Describes memory that a host has allocated.
    ///
    /// # Safety
    /// Until `keeper` is dropped, `base..base + bytes` is initialized memory, valid for reads and writes,
    /// which the program reaches by nothing but this value, and the device reaches `base + i` at `iova + i`.
    pub unsafe fn new(
        base: NonNull<u8>,
        iova: Iova,
        bytes: usize,
        keeper: Arc<dyn Any + Send + Sync>,
    ) -> DmaMemory {
        DmaMemory { base, iova, bytes, keeper }
    }

    /// Its first byte, for the CPU. Dereferencing obeys the module's invariant.
    #[must_use]
    pub fn base(&self) -> NonNull<u8> {
        self.base
    }

    /// Its first byte, for the device.
    #[must_use]
    pub fn iova(&self) -> Iova {
        self.iova
    }

    /// How many bytes it has.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Cuts off the first `bytes`: returns them and keeps the rest. The memory is given back to the host when
    /// both are dropped.
    ///
    /// # Errors
    /// `OutOfRange` where it has fewer.
    pub fn split_to(&mut self, bytes: usize) -> Result<DmaMemory, Error> {
        let rest = self.bytes.checked_sub(bytes).ok_or(Error::OutOfRange)?;
        let front = DmaMemory { base: self.base, iova: self.iova, bytes, keeper: self.keeper.clone() };
        // SAFETY: `bytes` is at most the length, so the result is inside or one past the end.
        self.base = unsafe { self.base.add(bytes) };
        self.iova = self.iova.add(bytes as u64);
        self.bytes = rest;
        Ok(front)
    }
}
