//! Address resolution (RFC 826) for IPv4 on Ethernet.

use zerocopy::network_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::{Ipv4Address, MacAddress};

/// "Who has this address?"
pub const REQUEST: U16 = U16::new(1);
/// "I have."
pub const REPLY: U16 = U16::new(2);

/// An ARP packet for Ethernet and IPv4.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Packet {
    /// Hardware type, 1 for Ethernet.
    pub hardware: U16,
    /// Protocol type, an EtherType.
    pub protocol: U16,
    /// Bytes of a hardware address.
    pub hardware_bytes: u8,
    /// Bytes of a protocol address.
    pub protocol_bytes: u8,
    /// [`REQUEST`] or [`REPLY`].
    pub operation: U16,
    /// Who sent this.
    pub sender_mac: MacAddress,
    /// The sender's protocol address.
    pub sender_ip: Ipv4Address,
    /// Whom it is about; nothing in a request.
    pub target_mac: MacAddress,
    /// The protocol address it is about.
    pub target_ip: Ipv4Address,
}
const _: () = assert!(size_of::<Packet>() == 28);

impl Packet {
    /// Whether it is about IPv4 addresses on Ethernet.
    #[must_use]
    pub fn is_ipv4_on_ethernet(&self) -> bool {
        (self.hardware.get(), self.protocol.get()) == (1, 0x0800)
            && (self.hardware_bytes, self.protocol_bytes) == (6, 4)
    }
}
