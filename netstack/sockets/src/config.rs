//! How a stack is to be.

use smoltcp::wire::{EthernetAddress, IpCidr, Ipv4Address};

use crate::Lane;

/// Settings of a stack.
#[derive(Clone, Debug)]
pub struct Config {
    /// The device's address.
    pub mac: EthernetAddress,
    /// Its IPv4 address, if it is not asked for by DHCP. The IPv6 address of the link comes by itself (RFC 4862
    /// §5.3 "Creation of Link-Local Addresses").
    pub address: Option<IpCidr>,
    /// Whom to send to what is not on the link, where the address is given.
    pub gateway: Option<Ipv4Address>,
    /// Bytes of an IP packet at most: 1280 to 9000.
    pub mtu: usize,
    /// The virtual LAN; frames without this tag are no use, and without a number, frames with one.
    pub vlan: Option<u16>,
    /// Connections at once, at most; those that close are among them.
    pub connections: usize,
    /// Of these, handshakes at once; another one takes the place of the oldest.
    pub half_open: usize,
    /// The device fills in TCP's checksums: frames sent have the sum of the pseudo header there, and
    /// [`crate::unfinished_checksum`] says where.
    pub tx_checksum: bool,
    /// Which of the device's stacks it is, where there are several.
    pub lane: Option<Lane>,
    /// What nobody else knows: sequence numbers, ports and the hash of the connections' table follow from it.
    pub seed: u64,
}

impl Config {
    /// Asks for its address; room for 1,000 connections.
    #[must_use]
    pub fn new(mac: EthernetAddress, seed: u64) -> Config {
        Config {
            mac,
            address: None,
            gateway: None,
            mtu: 1500,
            vlan: None,
            connections: 1000,
            half_open: 256,
            tx_checksum: false,
            lane: None,
            seed,
        }
    }
}
