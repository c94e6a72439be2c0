//! Rings between two owners: buffers of a pool that both map go to and fro by number, nothing is copied.
//!
//! **Invariant: what the other side says is read once and checked before it is used; which buffers are here is recorded
//! privately, by the pool** ([`weir_pool::lent`]). So a hostile neighbour can keep the buffers it was given, change their
//! bytes, wake this side in vain or not at all, and end the channel; it cannot make anything here reach out of the pool,
//! hold a buffer twice, panic or wait for ever.
//!
//! ```text
//! Buf → End::send → (number, start, length in a ring) → the other's End::receive → Buf
//! ```
//! A channel is two rings, one each way; each has one writer and one reader. A descriptor without bytes gives a buffer
//! back. Nobody enters the kernel unless the other side has said that it sleeps: *set the flag, look again, sleep*; and
//! there *publish, look at the flag, ring*.
//!
//! When a user of the pool ends, or comes again, all its users begin a new *generation* ([`group`]): each lets go of
//! everything, says so, and begins again once all have. Does not know how memory comes to be shared, nor who says that
//! there is a new generation: on Weir both are the supervisor's business.
//!
//! Reading order: [`desc`] · [`cells`] (shared words) · [`ring`] · [`end`](mod@end) · [`group`].
#![no_std]
#![deny(unsafe_code)]

pub mod cells;
pub mod desc;
pub mod end;
pub mod group;
pub mod ring;

pub use cells::{Cells, Mapped, Word};
pub use desc::Desc;
pub use end::{Bell, End, Neighbour};
pub use group::{Group, Standing};
pub use ring::{Consumer, Producer};

/// Most entries of a ring.
pub const MAX_ENTRIES: u32 = 1 << 15;

/// What the other side did wrong. The channel stays closed until the next generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PeerCorrupt {
    /// An index that no honest side can have reached.
    #[error("its index jumped {ahead} entries ahead in a ring of {entries}")]
    Index {
        /// How far it is ahead of this side's.
        ahead: u32,
        /// How many entries the ring has.
        entries: u32,
    },
    /// A buffer that is not its own.
    #[error("it passed buffer {number}, which it does not have")]
    NotTheirs {
        /// The buffer's number.
        number: u32,
    },
    /// A frame that does not lie inside its buffer.
    #[error("a frame of {len} bytes at {start} of buffer {number} does not lie inside")]
    OutOfBuffer {
        /// The buffer's number.
        number: u32,
        /// Where the frame begins.
        start: u16,
        /// Its length.
        len: u16,
    },
}
