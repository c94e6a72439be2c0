//! UDP (RFC 768).

use zerocopy::network_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// The echo service (RFC 862).
pub const PORT_ECHO: U16 = U16::new(7);

/// Start of a datagram.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Header {
    /// From which port; 0 where no answer is wanted.
    pub source: U16,
    /// To which port.
    pub destination: U16,
    /// Bytes of header and data.
    pub bytes: U16,
    /// Of pseudo-header, header and data; 0 for none.
    pub checksum: U16,
}
const _: () = assert!(size_of::<Header>() == 8);
