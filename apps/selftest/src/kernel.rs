//! Single system calls with plain numbers, as a hostile program would make them.
//!
//! Each function is safe because its call cannot touch memory that Rust code of this program uses.

use weir_abi::call::{HANDLE_CLOSE, HANDLE_COPY, MEMORY_CREATE, MEMORY_INFO, MEMORY_MAP, MEMORY_UNMAP};
use weir_abi::layout::PAGE_BYTES;
use weir_rt::call::call;
use weir_rt::{Error, Handle, Rights};

/// `memory_info`.
pub(crate) fn memory_info(memory: Handle) -> Result<u64, Error> {
    // SAFETY: a query.
    unsafe { call(MEMORY_INFO, [memory.0, 0, 0, 0, 0, 0]) }
}

/// `memory_create`, without flags.
pub(crate) fn memory_create(bytes: u64) -> Result<Handle, Error> {
    // SAFETY: nothing mapped changes.
    unsafe { call(MEMORY_CREATE, [bytes, 0, 0, 0, 0, 0]) }.map(Handle)
}

/// `handle_close`.
pub(crate) fn close(handle: Handle) -> Result<(), Error> {
    // SAFETY: mappings outlive their handles.
    unsafe { call(HANDLE_CLOSE, [handle.0, 0, 0, 0, 0, 0]) }.map(drop)
}

/// `handle_copy`, to this process.
pub(crate) fn copy(handle: Handle, rights: Rights) -> Result<Handle, Error> {
    // SAFETY: nothing mapped changes.
    unsafe { call(HANDLE_COPY, [Handle::SELF.0, handle.0, u64::from(rights.0), 0, 0, 0]) }.map(Handle)
}

/// `memory_map` of the first page of `memory`, here.
pub(crate) fn map_page(memory: Handle, address: u64, flags: u64) -> Result<u64, Error> {
    // SAFETY: the kernel maps free addresses only.
    unsafe { call(MEMORY_MAP, [Handle::SELF.0, memory.0, 0, PAGE_BYTES, address, flags]) }
}

/// `memory_unmap`, here.
///
/// # Safety
/// `address` is a mapping of the caller's, not used any more.
pub(crate) unsafe fn unmap(address: u64) -> Result<(), Error> {
    // SAFETY: the caller's promise.
    unsafe { call(MEMORY_UNMAP, [Handle::SELF.0, address, 0, 0, 0, 0]) }.map(drop)
}
