//! What `kv` does, without sockets, clock or disk: bytes and the time go in, bytes come out.
//!
//! **Invariants: memory is bounded** (the store's by its budget, a connection's by its limits); **whatever comes in, nothing
//! panics; answers do not depend on how the input was cut**; a change of the contents is in the journal before its answer
//! is in the output.
//!
//! Reading order: [`store`] · [`change`] · [`session`] · [`memcached`].
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod change;
mod command;
mod commands;
pub mod memcached;
mod number;
mod reply;
mod resp;
pub mod session;
pub mod store;
mod table;

pub use session::{Close, Limits, Session};
pub use store::{Full, Options, Store};
