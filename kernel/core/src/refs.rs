//! Shared ownership of kernel objects.
//!
//! **Invariant: the object lives exactly as long as a [`Ref`] to it.** It is `Arc` with one difference that
//! matters in a kernel: running out of memory is an answer, not an abort.

use alloc::alloc::{Layout, alloc, dealloc};
use core::marker::PhantomData;
use core::ops::Deref;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicUsize, Ordering, fence};

struct Inner<T> {
    count: AtomicUsize,
    value: T,
}

/// A counted reference to a heap-allocated `T`.
pub struct Ref<T> {
    inner: NonNull<Inner<T>>,
    owns: PhantomData<Inner<T>>,
}

// SAFETY: a `Ref` gives `&T` to any thread that holds one and drops `T` on whichever is last.
unsafe impl<T: Send + Sync> Send for Ref<T> {}
// SAFETY: as above.
unsafe impl<T: Send + Sync> Sync for Ref<T> {}

impl<T> Ref<T> {
    /// Moves `value` to the heap; `None` where the heap is exhausted (`value` is dropped).
    pub fn try_new(value: T) -> Option<Ref<T>> {
        let layout = Layout::new::<Inner<T>>();
        // SAFETY: the layout has a size: it holds the count.
        let inner = NonNull::new(unsafe { alloc(layout) }.cast::<Inner<T>>())?;
        // SAFETY: freshly allocated with the layout of `Inner<T>`.
        unsafe { inner.write(Inner { count: AtomicUsize::new(1), value }) };
        Some(Ref { inner, owns: PhantomData })
    }

    /// Whether both name the same object.
    #[must_use]
    pub fn is_same(&self, other: &Ref<T>) -> bool {
        self.inner == other.inner
    }
}

impl<T> Clone for Ref<T> {
    fn clone(&self) -> Ref<T> {
        // SAFETY: `self` keeps the object alive.
        let count = unsafe { &self.inner.as_ref().count };
        // Every reference occupies memory, so the count cannot overflow.
        count.fetch_add(1, Ordering::Relaxed);
        Ref { inner: self.inner, owns: PhantomData }
    }
}

impl<T> Deref for Ref<T> {
    type Target = T;
    fn deref(&self) -> &T {
        // SAFETY: `self` keeps the object alive; it is only ever borrowed shared.
        unsafe { &self.inner.as_ref().value }
    }
}

impl<T> Drop for Ref<T> {
    fn drop(&mut self) {
        // SAFETY: `self` kept the object alive until here.
        if unsafe { self.inner.as_ref() }.count.fetch_sub(1, Ordering::Release) != 1 {
            return;
        }
        // Every other holder's accesses happen before the object goes away.
        fence(Ordering::Acquire);
        // SAFETY: this was the last reference.
        unsafe { self.inner.drop_in_place() };
        // SAFETY: allocated by `try_new` with this layout.
        unsafe { dealloc(self.inner.as_ptr().cast(), Layout::new::<Inner<T>>()) };
    }
}

#[cfg(test)]
mod tests {
    use super::Ref;
    use core::cell::Cell;

    struct Counted<'a>(&'a Cell<u32>);
    impl Drop for Counted<'_> {
        fn drop(&mut self) {
            self.0.set(self.0.get() + 1);
        }
    }

    #[test]
    fn drops_once_with_the_last_reference() {
        let drops = Cell::new(0);
        let first = Ref::try_new(Counted(&drops)).unwrap();
        let second = first.clone();
        assert!(first.is_same(&second));
        drop(first);
        assert_eq!(drops.get(), 0);
        drop(second);
        assert_eq!(drops.get(), 1);
    }

    #[test]
    fn is_shared_between_threads() {
        let shared = Ref::try_new(core::sync::atomic::AtomicU32::new(0)).unwrap();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                let mine = shared.clone();
                scope.spawn(move || mine.fetch_add(1, core::sync::atomic::Ordering::Relaxed));
            }
        });
        assert_eq!(shared.load(core::sync::atomic::Ordering::Relaxed), 4);
    }
}
