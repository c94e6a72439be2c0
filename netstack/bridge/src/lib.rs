//! Which port a frame goes to, and whether it goes anywhere.
//!
//! **Invariant: no frame leaves a port whose source address is another port's.** Addresses given to ports stay theirs; a
//! port without one learns what it sends with, within bounds; memory is fixed when the ports are known.
//!
//! Does not know frames but for their first twelve bytes, and no clock but the one it is told. No VLANs, no spanning tree:
//! one uplink, and loops are the manifest's business.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod limit;
pub mod table;

pub use limit::Limit;
pub use table::{Bridge, Goes, Port, Refused};
