//! Packets: Ethernet, ARP, IPv4, ICMP and UDP headers as types, and [`echo`], which answers a frame in place.
//!
//! **Invariant: no length or offset in a packet is used before it was checked against the bytes that are there;
//! no input panics.** Headers are views of the frame, in network byte order; nothing is copied or allocated.
//!
//! Not here: IPv6, fragments, IP options, TCP, sockets.
//!
//! Reading order: [`ethernet`] · [`arp`] · [`ipv4`] · [`icmp`] · [`udp`] · [`checksum`] · [`echo`].
#![no_std]
#![forbid(unsafe_code)]

pub mod arp;
pub mod checksum;
pub mod echo;
pub mod ethernet;
pub mod icmp;
pub mod ipv4;
pub mod udp;

pub use echo::{Answer, EchoResponder, Ignored};
pub use ethernet::MacAddress;
pub use ipv4::{Ipv4Address, Ipv4Network};
