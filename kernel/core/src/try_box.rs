//! Boxes that can fail.
//!
//! **Invariant: a full heap is an error of the call that met it, never the end of the kernel.**

use alloc::alloc::Layout;
use alloc::boxed::Box;

use weir_abi::Error;

/// Moves `value` to the heap.
///
/// # Errors
///
/// [`Error::NoMemory`] where the heap is full; `value` is then dropped.
pub fn try_box<T>(value: T) -> Result<Box<T>, Error> {
    let layout = Layout::new::<T>();
    if layout.size() == 0 {
        return Ok(Box::new(value)); // takes no memory
    }
    // SAFETY: the layout's size is not 0.
    let memory = unsafe { alloc::alloc::alloc(layout) }.cast::<T>();
    if memory.is_null() {
        return Err(Error::NoMemory);
    }
    // SAFETY: the allocator returned memory of T's size and alignment that nobody else uses.
    unsafe { memory.write(value) };
    // SAFETY: from the global allocator with T's layout, holds a T, and nothing else owns it.
    Ok(unsafe { Box::from_raw(memory) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::with_full_heap;

    #[test]
    fn the_value_is_moved_and_dropped_once() {
        let shared = alloc::sync::Arc::new(7);
        let boxed = try_box(shared.clone()).unwrap();
        assert_eq!(**boxed, 7);
        assert_eq!(alloc::sync::Arc::strong_count(&shared), 2);
        drop(boxed);
        assert_eq!(alloc::sync::Arc::strong_count(&shared), 1);
    }

    #[test]
    fn alignment_and_empty_types() {
        #[repr(align(256))]
        struct Aligned(u8);
        let boxed = try_box(Aligned(3)).unwrap();
        assert_eq!((boxed.0, (&raw const *boxed).addr() % 256), (3, 0));
        try_box(()).unwrap();
    }

    #[test]
    fn a_full_heap_is_an_error() {
        let dropped = alloc::sync::Arc::new(());
        let kept = dropped.clone();
        assert!(matches!(with_full_heap(|| try_box(dropped)), Err(Error::NoMemory)));
        assert_eq!(alloc::sync::Arc::strong_count(&kept), 1);
    }
}
