//! Some buffers, in order: what a queue receives or sends at once.

use crate::Buf;

/// A first-in-first-out list of at most `N` buffers, in place: no allocation.
pub struct Burst<const N: usize> {
    /// `slots[head..tail]` are filled, the others empty.
    slots: [Option<Buf>; N],
    head: usize,
    tail: usize,
}

impl<const N: usize> Burst<N> {
    /// An empty one.
    #[must_use]
    pub const fn new() -> Burst<N> {
        Burst { slots: [const { None }; N], head: 0, tail: 0 }
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
        *slot = Some(buf);
        self.tail += 1;
        Ok(())
    }

    /// Removes the first buffer.
    #[inline]
    pub fn pop(&mut self) -> Option<Buf> {
        let buf = self.slots.get_mut(self.head)?.take()?;
        self.head += 1;
        if self.head == self.tail {
            (self.head, self.tail) = (0, 0);
        }
        Some(buf)
    }

    /// The buffers, in order, to be changed in place.
    #[inline]
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Buf> {
        self.slots.get_mut(self.head..self.tail).unwrap_or_default().iter_mut().flatten()
    }

    /// After a partial send the filled slots do not start at 0; rare, so paid for here.
    #[cold]
    fn move_to_front(&mut self) {
        let len = self.len();
        self.slots.rotate_left(self.head);
        (self.head, self.tail) = (0, len);
    }
}

impl<const N: usize> Default for Burst<N> {
    fn default() -> Self {
        Self::new()
    }
}
