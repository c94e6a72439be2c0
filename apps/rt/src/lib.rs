//! The run time of Weir applications: what lies between the kernel and `main`.
//!
//! **Invariant: safe code in an application can break nothing but that application's own work**: the unsafe
//! operations (system calls that change memory, registers, start-up) are all in this crate, behind types.
//! It has no policy, and nothing here is on the data path but [`clock::now_ns`], [`poll::Poller::step`] and the
//! reads of the [`kernel_page()`], which enter no kernel.
//!
//! ```ignore
//! #![no_std]
//! #![no_main]
//! weir_rt::entry!(main);
//! fn main(mut env: weir_rt::Env) -> Result<(), weir_rt::GrantError> {
//!     let nic = env.device("nic")?;
//!     weir_rt::log!("{}: {:?}", env.name(), nic.info());
//!     Ok(())
//! }
//! ```
//!
//! Reading order: [`start`] · [`call`] · [`handle`] · one module per kernel object ([`process`], [`thread`],
//! [`memory`], [`event`], [`device`], [`interrupt`], [`cores`], [`system`]) · [`kernel_page`](mod@kernel_page) ·
//! [`bell`], [`channel`] (rings to other applications) ·
//! [`clock`] · [`random`] · [`env`](mod@env) · [`poll`] · [`hal`] (what driver
//! libraries need) · [`marker`] (for who counts from outside) · [`heap`] · `tls` · [`panic`](mod@panic).
#![cfg_attr(not(test), no_std)]

extern crate alloc;

pub mod bell;
pub mod call;
pub mod channel;
pub mod clock;
pub mod cores;
pub mod device;
pub mod env;
pub mod event;
pub mod hal;
pub mod handle;
pub mod heap;
pub mod interrupt;
pub mod kernel_page;
pub mod log;
pub mod memory;
pub mod panic;
pub mod poll;
pub mod process;
pub mod random;
pub mod start;
pub mod system;
pub mod thread;
mod tls;

pub use cores::Core;
pub use device::Device;
pub use env::{Env, GrantError};
pub use event::Event;
pub use handle::Object;
pub use interrupt::Interrupt;
pub use kernel_page::kernel_page;
pub use memory::{Access, Mapping, Memory};
pub use process::Process;
pub use system::System;
pub use thread::Thread;
pub use weir_abi::{Error, Handle, Rights};
pub use weir_marker as marker;
