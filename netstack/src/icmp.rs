//! ICMP echo (RFC 792 "Echo or Echo Reply Message").

use zerocopy::network_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Type and code of an echo request.
pub const ECHO_REQUEST: U16 = U16::new(0x0800);
/// Type and code of an echo reply.
pub const ECHO_REPLY: U16 = U16::new(0x0000);

/// Start of every ICMP message that is answered here.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Header {
    /// Type in the high byte, code in the low.
    pub type_and_code: U16,
    /// Of the whole message.
    pub checksum: U16,
    /// Identifier and sequence number.
    pub rest: [u8; 4],
}
const _: () = assert!(size_of::<Header>() == 8);
