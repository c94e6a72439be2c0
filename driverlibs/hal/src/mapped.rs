//! Registers that are really mapped: the [`Mmio`] of every host but simulations.
//!
//! **Invariant: the mapping outlives every register made from it**, because each holds the host's `keeper`.
#![expect(unsafe_code, reason = "the one place where a driver's register access becomes a pointer access")]

use alloc::sync::Arc;
use core::any::Any;
use core::ptr::NonNull;
use core::sync::atomic::{Ordering, fence};

use crate::{Error, Mmio, Register, Word};

/// Keeps a mapping alive; its `drop` may undo the mapping.
pub(crate) type Keeper = Arc<dyn Any + Send + Sync>;

/// A mapped range of registers.
#[derive(Clone)]
pub struct MappedMmio {
    base: NonNull<u8>,
    bytes: u64,
    keeper: Keeper,
}

// SAFETY: a mapping belongs to the address space, not to a thread.
unsafe impl Send for MappedMmio {}

impl MappedMmio {
    /// Describes `bytes` of registers mapped at `base`.
    ///
    /// # Safety
    /// Until `keeper` is dropped, `base..base + bytes` is mapped for reading and writing, is device memory
    /// (or something that behaves so: it is no Rust object), and is accessed volatile only.
    pub unsafe fn new(base: NonNull<u8>, bytes: u64, keeper: Arc<dyn Any + Send + Sync>) -> MappedMmio {
        MappedMmio { base, bytes, keeper }
    }
}

impl Mmio for MappedMmio {
    type Register<T: Word> = MappedRegister<T>;

    fn bytes(&self) -> u64 {
        self.bytes
    }

    fn register<T: Word>(&self, offset: u64) -> Result<MappedRegister<T>, Error> {
        let end = offset.checked_add(size_of::<T>() as u64).ok_or(Error::OutOfRange)?;
        let start = usize::try_from(offset).map_err(|_| Error::OutOfRange)?;
        if end > self.bytes {
            return Err(Error::OutOfRange);
        }
        // SAFETY: `start` lies within the mapping, just checked.
        let register = unsafe { self.base.add(start) }.cast::<T>();
        if !register.is_aligned() {
            return Err(Error::OutOfRange);
        }
        Ok(MappedRegister { register, _keeper: self.keeper.clone() })
    }
}

/// A mapped register.
pub struct MappedRegister<T> {
    register: NonNull<T>,
    _keeper: Keeper,
}

// SAFETY: as for the mapping it lies in.
unsafe impl<T: Word> Send for MappedRegister<T> {}

impl<T: Word> Register<T> for MappedRegister<T> {
    #[inline]
    fn read(&self) -> T {
        // SAFETY: in the mapping and aligned (checked when made), alive (held keeper); `T` is a plain integer.
        unsafe { self.register.read_volatile() }
    }

    #[inline]
    fn write(&self, value: T) {
        // x86 keeps stores in order, uncached ones included; this stops the compiler, and weaker machines.
        fence(Ordering::Release);
        // SAFETY: as in `read`.
        unsafe { self.register.write_volatile(value) }
    }
}
