//! Handles that close themselves.
//!
//! **Invariant: one [`Owned`] per open handle, so no handle is closed twice or used after it was closed.**

use weir_abi::Handle;
use weir_abi::call::HANDLE_CLOSE;

use crate::call::call;

/// An open handle of this process, closed when dropped.
#[derive(Debug)]
pub struct Owned(Handle);

impl Owned {
    /// Takes over `handle`, which nothing else owns.
    pub(crate) fn new(handle: Handle) -> Owned {
        Owned(handle)
    }

    /// The handle; it stays owned by `self`.
    pub(crate) fn raw(&self) -> u64 {
        self.0.0
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        // SAFETY: closing a handle touches no memory of this program: mappings outlive their handles.
        // An error means that the handle is closed already, which is what is wanted.
        let _ = unsafe { call(HANDLE_CLOSE, [self.raw(), 0, 0, 0, 0, 0]) };
    }
}

/// A kernel object this program has a handle to.
pub trait Object {
    /// The handle.
    fn handle(&self) -> Handle;
}

/// Implements [`Object`] for a type whose first field is an [`Owned`].
macro_rules! object {
    ($type:ty) => {
        impl $crate::handle::Object for $type {
            fn handle(&self) -> weir_abi::Handle {
                weir_abi::Handle(self.0.raw())
            }
        }
    };
}
pub(crate) use object;
