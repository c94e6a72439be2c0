//! Buffers in DMA memory, zero-copy: for packets ([`Pool`]) and, of chosen size, for block devices ([`block`]).
//!
//! **Invariant: a buffer is in one place only: on the free list, in one [`Buf`] (the CPU owns its bytes), or in
//! one [`InFlight`] (the device does; it has no accessors).** No allocation and no atomic on the data path.
//!
//! ```text
//! Pool::take → Buf → Pool::lend → InFlight + Iova → (device) → InFlight::complete → Buf → Pool::put
//! ```
//! Pool pages contain pool data only: no metadata, no pointers, so a device that reads them learns frames.
//! The device keeps its reach of the whole pool while it runs. "The CPU owns" therefore means that an honest
//! device does not touch the bytes; what a hostile one can do is change *frame bytes* of this same owner
//! (DECISIONS.md 4). Does not balance buffers between cores: one pool per core.
#![no_std]
#![deny(unsafe_code)]

extern crate alloc;

pub mod block;
pub mod buf;
pub mod burst;
pub mod lent;
pub mod pool;

pub use block::{BLOCK_BUF_MAX_BYTES, BLOCK_BUF_MIN_BYTES, BlockBuf, BlockInFlight, BlockPool};
pub use buf::{BUF_BYTES, Buf, FRAME_BYTES, HEADROOM_BYTES, InFlight};
pub use burst::Burst;
pub use lent::Refused;
pub use pool::Pool;
