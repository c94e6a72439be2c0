//! What the status page shows, made of a [`weir_board::Snapshot`]: the page, the same as JSON and as Prometheus text, and
//! which of them a request asks for.
//!
//! **Invariant: the three show the same numbers, and no name or number can break their syntax.** Nothing here knows the
//! system: it is tested on the host.
//!
//! Reading order: [`site`] (paths) · [`json`] · [`metrics`] · [`histogram`] · [`reason`] · `page.html`.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod histogram;
pub mod json;
pub mod metrics;
pub mod reason;
pub mod site;

pub use histogram::Histogram;
pub use site::{Action, Site};
