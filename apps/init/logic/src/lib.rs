//! What the supervisor decides and prints, without the kernel.
//!
//! **Invariant: nothing here makes a system call, so all of it is tested on the host.** What is read from the
//! bundle, from the console and from applications is believed only after it was checked.
//!
//! Reading order: [`program`] (which bytes of a program go where) · [`select`] (which device a manifest means) ·
//! [`ending`] (how an application ended, and what follows) · [`backoff`] · [`counters`] · [`line`](mod@line), [`command`]
//! (the console's input) · [`table`], [`show`] (its output) · [`report`], [`audit`] (the
//! machine-readable lines) · [`snapshot`] (what applications are told).
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod audit;
pub mod backoff;
pub mod command;
pub mod counters;
pub mod ending;
pub mod line;
pub mod program;
pub mod report;
pub mod select;
pub mod show;
pub mod snapshot;
pub mod table;
