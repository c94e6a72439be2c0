//! Buffers that other programs have: a pool in memory that several owners map.
//!
//! **Invariant: of each buffer, `holders` says who has it: 0, this program (free list, `Buf` or `InFlight`); otherwise a
//! neighbour, and then no `Buf` and no `InFlight` of it exists here, and it is not on the free list.** The record is
//! private. So whatever a neighbour says, a buffer that it does not have is not taken from it, no buffer is here twice, and
//! none reaches out of the pool. Like a device (DECISIONS.md 4), a neighbour keeps its reach of the whole pool: a hostile
//! one can change frame bytes, at any time, and nothing else.

use alloc::vec;
use core::num::NonZeroU8;

use crate::{BUF_BYTES, Buf, Pool};

/// Why a neighbour's buffer is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The pool has no buffer of that number, or the neighbour does not have it.
    NotTheirs,
    /// Such a frame does not lie inside a buffer.
    OutOfBuffer,
}

impl Pool {
    /// The same pool, some of whose buffers others may have.
    #[must_use]
    pub fn shared(mut self) -> Pool {
        self.holders = vec![0; self.buffers()].into_boxed_slice();
        self
    }

    /// How many buffers others have.
    #[must_use]
    #[inline]
    pub fn lent(&self) -> usize {
        self.lent
    }

    /// Whether every buffer that others do not have is on the free list.
    #[must_use]
    pub fn is_at_rest(&self) -> bool {
        self.available() + self.lent == self.buffers()
    }

    /// Lets a neighbour have a buffer, and gives its number.
    ///
    /// # Errors
    /// The buffer, where it is another pool's, or the pool is not shared.
    #[inline]
    pub fn lend_to(&mut self, neighbour: NonZeroU8, buf: Buf) -> Result<u32, Buf> {
        let Some(number) = self.offset(&buf).map(|offset| offset / usize::from(BUF_BYTES)) else {
            return Err(buf);
        };
        let Some(holder) = self.holders.get_mut(number) else { return Err(buf) };
        *holder = neighbour.get();
        self.lent += 1;
        #[expect(clippy::cast_possible_truncation, reason = "`Pool::new` refuses more buffers")]
        let number = number as u32;
        Ok(number)
    }

    /// Takes buffer `number` back from the neighbour that has it, with a frame of `len` bytes at `start`.
    ///
    /// # Errors
    /// Nothing has changed then.
    #[inline]
    pub fn redeem(
        &mut self,
        neighbour: NonZeroU8,
        number: u32,
        start: u16,
        len: u16,
    ) -> Result<Buf, Refused> {
        let holder = self.holders.get_mut(number as usize).ok_or(Refused::NotTheirs)?;
        if *holder != neighbour.get() {
            return Err(Refused::NotTheirs);
        }
        if start > BUF_BYTES || len > BUF_BYTES - start {
            return Err(Refused::OutOfBuffer);
        }
        *holder = 0;
        self.lent -= 1;
        Ok(self.buf(number as usize, start, len))
    }

    /// Takes back every buffer that a neighbour has, whatever it says, onto the free list; returns how many. For when none
    /// of them uses the pool any more.
    pub fn reclaim(&mut self) -> usize {
        for number in 0..self.holders.len() {
            if core::mem::take(&mut self.holders[number]) != 0 {
                let buf = self.buf(number, 0, 0);
                self.put(buf);
            }
        }
        core::mem::take(&mut self.lent)
    }

    /// Lets a neighbour have everything on the free list, and takes it for the holder of all that others have; returns how
    /// many buffers left. No word of it is sent.
    pub fn surrender(&mut self, neighbour: NonZeroU8) -> usize {
        for holder in self.holders.iter_mut().filter(|holder| **holder != 0) {
            *holder = neighbour.get();
        }
        let mut count = 0;
        while !self.holders.is_empty()
            && let Some(buf) = self.take()
        {
            // One of this pool, which is shared: it is lent.
            count += usize::from(self.lend_to(neighbour, buf).is_ok());
        }
        count
    }
}
