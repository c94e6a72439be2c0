//! The network in the application that owns the device: TCP, UDP, DHCP, DNS over IPv4 and IPv6, on the driver's buffers.
//!
//! One [`Net`] belongs to one thread and one pair of queues; a device with several has as many ([`lanes`]), which share nothing
//! on the data path. Protocols are smoltcp's. In
//! front of them stand a table of connections, so that a segment's cost does not grow with their number
//! (`connections`), and services that answer UDP where it lies (`datagram`).
//!
//! **Invariants: whatever arrives, memory stays within what [`Config`] allows and nothing panics · nobody is asked
//! whether there is news: tasks are woken.**
//!
//! Not here: a device, a clock, a loop (`apps/service`). Does not send out of order acknowledgements (SACK), which smoltcp
//! does not, nor answer datagrams that came in fragments.
//!
//! Reading order: [`words`], [`config`] · `flow` (whom a frame concerns) · `stack` (what happens to it) · `connections`,
//! `deadlines` · `datagram` · `announcement` · [`lanes`] · `wire` · [`net`], [`tcp`] (what applications use) · [`capture`].
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod announcement;
pub mod capture;
pub mod config;
mod connections;
mod counters;
mod datagram;
mod deadlines;
mod error;
mod flow;
pub mod lanes;
pub mod net;
mod stack;
pub mod tcp;
mod wire;
pub mod words;

pub use capture::Capture;
pub use config::Config;
pub use connections::Buffers;
pub use counters::Counters;
pub use datagram::{Datagram, Reply};
pub use error::Error;
pub use lanes::{HASH_KEY_BYTES, Lane};
pub use net::Net;
pub use smoltcp::wire::{EthernetAddress, IpAddress, IpCidr, IpEndpoint, Ipv4Address, Ipv4Cidr, Ipv6Address};
pub use tcp::{Listener, TcpStream};
pub use wire::{CHECKSUM_OFFSET, OUT_FRAMES, unfinished_checksum};
pub use words::{BadWord, Network};

/// Sees every frame.
type Tap = alloc::boxed::Box<dyn FnMut(&[u8])>;
