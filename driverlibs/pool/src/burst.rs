//! Some buffers, in order: what a queue receives or sends at once.
#![expect(unsafe_code, reason = "slots that hold nothing are not written, so a burst costs nothing to make")]

use core::mem::MaybeUninit;

use crate::Buf;

/// A first-in-first-out list of at most `N` buffers, in place: no allocation.
///
/// **Invariant: `head ≤ tail ≤ N`, and exactly `slots[head..tail]` hold buffers.**
pub struct Burst<const N: usize> {
    slots: [MaybeUninit<Buf>; N],
    head: usize,
    tail: usize,
}

impl<const N: usize> Burst<N> {
    /// An empty one.
    #[must_use]
    #[inline]
    pub const fn new() -> Burst<N> {
        Burst { slots: [const { MaybeUninit::uninit() }; N], head: 0, tail: 0 }
    }

    /// How many it holds.
    #[must_use]
    #[inline]
    pub fn len(&self) -> usize {
        self.tail - self.head
    }

    /// Whether it holds none.
    #[must_use]
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.head == self.tail
    }

    /// How many more it takes.
    #[must_use]
    #[inline]
    pub fn room(&self) -> usize {
        N - self.len()
    }

    /// Appends a buffer.
    ///
    /// # Errors
    /// The buffer, where [`Burst::room`] is 0.
    #[inline]
    pub fn push(&mut self, buf: Buf) -> Result<(), Buf> {
        if self.tail == N {
            self.move_to_front();
        }
        let Some(slot) = self.slots.get_mut(self.tail) else { return Err(buf) };
        slot.write(buf);
        self.tail += 1;
        Ok(())
    }

    /// Removes the first buffer.
    #[inline]
    pub fn pop(&mut self) -> Option<Buf> {
        if self.is_empty() {
            return None;
        }
        // SAFETY: `head < tail ≤ N`.
        let slot = unsafe { self.slots.get_unchecked(self.head) };
        // SAFETY: it holds a buffer (type invariant), and from here on none: `head` moves past it.
        let buf = unsafe { slot.assume_init_read() };
        self.head += 1;
        Some(buf)
    }

    /// The first buffer, which stays.
    #[must_use]
    #[inline]
    pub fn front(&self) -> Option<&Buf> {
        self.iter().next()
    }

    /// The buffers, in order.
    #[inline]
    pub fn iter(&self) -> impl Iterator<Item = &Buf> {
        // SAFETY: `head ≤ tail ≤ N`.
        let filled = unsafe { self.slots.get_unchecked(self.head..self.tail) };
        // SAFETY: these hold buffers (type invariant).
        filled.iter().map(|slot| unsafe { slot.assume_init_ref() })
    }

    /// The buffers, in order, to be changed in place.
    #[inline]
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Buf> {
        // SAFETY: `head ≤ tail ≤ N`.
        let filled = unsafe { self.slots.get_unchecked_mut(self.head..self.tail) };
        // SAFETY: these hold buffers (type invariant).
        filled.iter_mut().map(|slot| unsafe { slot.assume_init_mut() })
    }

    /// The filled slots need not start at 0; rare, so paid for here.
    #[cold]
    fn move_to_front(&mut self) {
        let len = self.len();
        if len > 0 {
            self.slots.rotate_left(self.head);
        }
        (self.head, self.tail) = (0, len);
    }
}

impl<const N: usize> Default for Burst<N> {
    fn default() -> Self {
        Self::new()
    }
}
