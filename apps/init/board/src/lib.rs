//! The board: memory in which the supervisor tells how the machine is, once a second, to applications whose manifest says
//! `status = true`; and the word by which one with `may_start = "APP"` asks for that application.
//!
//! **Invariant: a reader gets a whole snapshot or an error, never parts of two, and nobody waits for anybody.** The board is
//! one sequence byte (odd while it is written), the length, and the snapshot in `postcard`; a reader takes it if the byte was
//! the same before and after. A byte is never seen half written, and does not come round while a reader reads: it would take
//! 128 seconds.
//!
//! Memory is reached through the caller's functions, so this crate is tested on the host. Reading order: [`snapshot`] ·
//! [`publish`] · [`request`].
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod publish;
pub mod request;
pub mod snapshot;

pub use publish::{BOARD_BYTES, Error, Publisher, read};
pub use request::{Asked, Asker};
pub use snapshot::{Cpu, Device, Fault, Owner, Snapshot};
