//! Memory objects and their mappings.
//!
//! **Invariant: no Rust reference to plain bytes of a `Memory` exists while someone else may map it.** A
//! [`Mapping`] is therefore read and written through relaxed atomics; [`Pages`], whose handle nobody ever
//! had, is an ordinary slice.

use core::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use weir_abi::call::{
    MAP_EXECUTE, MAP_READ, MAP_WRITE, MEMORY_CONTIGUOUS, MEMORY_CREATE, MEMORY_INFO, MEMORY_IO_ADDRESS,
    MEMORY_MAP, MEMORY_UNMAP,
};
use weir_abi::layout::PAGE_BYTES;
use weir_abi::{Error, Handle};

use crate::call::{call, to_usize};
use crate::handle::{Owned, object};

/// What a mapping permits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Reading.
    Read,
    /// Reading and writing.
    ReadWrite,
    /// Reading and executing.
    ReadExecute,
}

impl Access {
    /// The flags of `memory_map`.
    #[must_use]
    pub fn flags(self) -> u64 {
        match self {
            Access::Read => MAP_READ,
            Access::ReadWrite => MAP_READ | MAP_WRITE,
            Access::ReadExecute => MAP_READ | MAP_EXECUTE,
        }
    }
}

/// Frames that can be mapped, here and elsewhere.
#[derive(Debug)]
pub struct Memory(Owned);

object!(Memory);

impl Memory {
    /// Allocates zeroed frames: `memory_create`. `bytes` is rounded up to whole pages.
    ///
    /// # Errors
    /// `BadArgument` (0 bytes), `Quota`, `NoMemory`.
    pub fn create(bytes: u64) -> Result<Memory, Error> {
        Memory::with_flags(bytes, 0)
    }

    /// Allocates one physically contiguous run: `memory_create` with `MEMORY_CONTIGUOUS`.
    ///
    /// # Errors
    /// As [`Memory::create`].
    pub fn create_contiguous(bytes: u64) -> Result<Memory, Error> {
        Memory::with_flags(bytes, MEMORY_CONTIGUOUS)
    }

    fn with_flags(bytes: u64, flags: u64) -> Result<Memory, Error> {
        let bytes = bytes.checked_next_multiple_of(PAGE_BYTES).ok_or(Error::BadArgument)?;
        // SAFETY: creating frames changes nothing that is mapped.
        let handle = unsafe { call(MEMORY_CREATE, [bytes, flags, 0, 0, 0, 0]) }?;
        Ok(Memory::from_handle(Handle(handle)))
    }

    /// Takes over a handle to a `Memory`.
    pub(crate) fn from_handle(handle: Handle) -> Memory {
        Memory(Owned::new(handle))
    }

    /// Its size: `memory_info`.
    ///
    /// # Errors
    /// `NoRight` without `READ`.
    pub fn bytes(&self) -> Result<u64, Error> {
        // SAFETY: a query.
        unsafe { call(MEMORY_INFO, [self.0.raw(), 0, 0, 0, 0, 0]) }
    }

    /// Maps all of it here, where the kernel likes: `memory_map`.
    ///
    /// # Errors
    /// `NoRight`, `Quota`, `NoMemory`.
    pub fn map(&self, access: Access) -> Result<Mapping, Error> {
        self.map_with(0, access.flags())
    }

    /// Maps all of it here, at `address`, which must be free.
    ///
    /// # Errors
    /// As [`Memory::map`], and `BadArgument`, `Busy`.
    pub fn map_at(&self, address: u64, access: Access) -> Result<Mapping, Error> {
        self.map_with(address, access.flags())
    }

    /// Maps all of it here with the flags of `memory_map`, at `address` or (0) where the kernel likes.
    ///
    /// # Errors
    /// As [`Memory::map_at`]; with `MAP_DMA` also `Hardware`.
    pub fn map_with(&self, address: u64, flags: u64) -> Result<Mapping, Error> {
        self.map_part(self.bytes()?, address, flags)
    }

    /// As [`Memory::map_with`], but only the first `bytes`, a multiple of 4096.
    ///
    /// # Errors
    /// As [`Memory::map_with`].
    pub fn map_part(&self, bytes: u64, address: u64, flags: u64) -> Result<Mapping, Error> {
        self.map_range(0, bytes, address, flags)
    }

    /// As [`Memory::map_with`], but only `bytes` from `offset` on, multiples of 4096.
    ///
    /// # Errors
    /// As [`Memory::map_with`].
    pub fn map_range(&self, offset: u64, bytes: u64, address: u64, flags: u64) -> Result<Mapping, Error> {
        let arguments = [Handle::SELF.0, self.0.raw(), offset, bytes, address, flags];
        // SAFETY: the kernel maps free addresses only, so nothing this program uses changes.
        let address = unsafe { call(MEMORY_MAP, arguments) }?;
        Ok(Mapping { address, bytes })
    }
}

/// A range of a `Memory` in this process's address space, unmapped when dropped.
#[derive(Debug)]
pub struct Mapping {
    address: u64,
    bytes: u64,
}

impl Mapping {
    /// Where it starts.
    #[must_use]
    pub fn address(&self) -> u64 {
        self.address
    }

    /// How many bytes it has.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Where this process's devices see it, if it was mapped for DMA: `memory_io_address`.
    ///
    /// # Errors
    /// `BadAddress` where it was not.
    pub fn io_address(&self) -> Result<u64, Error> {
        // SAFETY: a query.
        unsafe { call(MEMORY_IO_ADDRESS, [Handle::SELF.0, self.address, 0, 0, 0, 0]) }
    }

    /// Copies `data` to `offset`; `None` where that does not fit.
    pub fn write(&self, offset: u64, data: &[u8]) -> Option<()> {
        let start = self.checked(offset, data.len())?;
        let head = data.len().min(start.next_multiple_of(8) - start);
        let (head, rest) = data.split_at(head);
        for (i, byte) in head.iter().enumerate() {
            byte_at(start + i).store(*byte, Ordering::Relaxed);
        }
        let words_at = start + head.len();
        let (words, tail) = rest.as_chunks::<8>();
        for (i, word) in words.iter().enumerate() {
            word_at(words_at + 8 * i).store(u64::from_ne_bytes(*word), Ordering::Relaxed);
        }
        let tail_at = words_at + 8 * words.len();
        for (i, byte) in tail.iter().enumerate() {
            byte_at(tail_at + i).store(*byte, Ordering::Relaxed);
        }
        Some(())
    }

    /// Copies from `offset` into `buffer`; `None` where that does not fit.
    pub fn read(&self, offset: u64, buffer: &mut [u8]) -> Option<()> {
        let start = self.checked(offset, buffer.len())?;
        for (i, byte) in buffer.iter_mut().enumerate() {
            *byte = byte_at(start + i).load(Ordering::Relaxed);
        }
        Some(())
    }

    /// Keeps the mapping for the program's life and gives its address.
    #[must_use]
    pub fn leak(self) -> u64 {
        let address = self.address;
        core::mem::forget(self);
        address
    }

    /// Removes the mapping, and says whether the kernel did: `memory_unmap`. Dropping does the same silently.
    ///
    /// # Errors
    /// `Hardware` (the devices were isolated instead).
    pub fn unmap(self) -> Result<(), Error> {
        // SAFETY: references into the mapping borrow `self`, so none is left.
        unsafe { unmap(self.leak()) }
    }

    /// The address of `offset`, where `bytes` from there on are inside.
    fn checked(&self, offset: u64, bytes: usize) -> Option<usize> {
        let end = offset.checked_add(bytes as u64)?;
        (end <= self.bytes).then(|| to_usize(self.address + offset))
    }
}

/// The byte at `address`, which a caller in this module has checked to be inside a live mapping.
fn byte_at<'a>(address: usize) -> &'a AtomicU8 {
    // SAFETY: mapped for as long as the borrowed `Mapping` lives, by the callers in this module; an atomic may
    // change under us.
    unsafe { &*(address as *const AtomicU8) }
}

/// The aligned word at `address`, which a caller in this module has checked to be inside a live mapping.
fn word_at<'a>(address: usize) -> &'a AtomicU64 {
    // SAFETY: as `byte_at`; the caller rounded the address up to 8.
    unsafe { &*(address as *const AtomicU64) }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: references into the mapping borrow `self`, so none is left.
        // An error would mean that it is unmapped already, or that the kernel isolated the device.
        let _ = unsafe { unmap(self.address) };
    }
}

/// Removes this process's mapping that starts at `address`: `memory_unmap`.
///
/// # Errors
/// `NotFound`, `Hardware`.
///
/// # Safety
/// Nothing uses the mapping any more.
pub(crate) unsafe fn unmap(address: u64) -> Result<(), Error> {
    // SAFETY: the caller's promise.
    unsafe { call(MEMORY_UNMAP, [Handle::SELF.0, address, 0, 0, 0, 0]) }.map(drop)
}

/// Pages of this program's own, zeroed, that nobody else can map.
#[derive(Debug)]
pub struct Pages(Mapping);

impl Pages {
    /// Allocates and maps at least `bytes`.
    ///
    /// # Errors
    /// As [`Memory::create`].
    pub fn new(bytes: u64) -> Result<Pages, Error> {
        // The handle is closed here: from now on only this mapping reaches the frames.
        Ok(Pages(Memory::create(bytes)?.map(Access::ReadWrite)?))
    }

    /// As [`Pages::new`], at `address`.
    ///
    /// # Errors
    /// As [`Memory::create`] and [`Memory::map_at`].
    pub fn at(address: u64, bytes: u64) -> Result<Pages, Error> {
        Ok(Pages(Memory::create(bytes)?.map_at(address, Access::ReadWrite)?))
    }

    /// Keeps the pages for the program's life and gives their address.
    #[must_use]
    pub fn leak(self) -> u64 {
        self.0.leak()
    }
}

impl core::ops::Deref for Pages {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        // SAFETY: mapped readable and writable while `self` lives, zeroed at first, and by the type's
        // invariant nobody else reaches these frames.
        unsafe { core::slice::from_raw_parts(self.0.address as *const u8, to_usize(self.0.bytes)) }
    }
}

impl core::ops::DerefMut for Pages {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as `deref`, and `self` is borrowed mutably.
        unsafe { core::slice::from_raw_parts_mut(self.0.address as *mut u8, to_usize(self.0.bytes)) }
    }
}
