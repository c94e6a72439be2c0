//! Work that a device takes off its owner.

/// What a device can do, as agreed on with it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offloads {
    /// It tells of frames received whose checksum is right ([`weir_pool::Buf::is_checksum_good`]; of a frame in several
    /// buffers the last says so).
    pub rx_checksum: bool,
    /// It fills in checksums of frames sent.
    pub tx_checksum: bool,
    /// It cuts TCP segments over IPv4 into frames.
    pub tso4: bool,
    /// It cuts TCP segments over IPv6 into frames.
    pub tso6: bool,
    /// It sends and receives frames that lie in several buffers ([`weir_pool::Buf::continues`]).
    pub several_buffers: bool,
}

/// What to do with a frame before it is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TxOffload {
    /// The checksum to fill in.
    pub checksum: Option<Checksum>,
    /// The segments to cut it into. Needs the checksum, too.
    pub segments: Option<Segments>,
}

impl TxOffload {
    /// Nothing: send it as it is.
    pub const NONE: TxOffload = TxOffload { checksum: None, segments: None };
}

/// An Internet checksum (RFC 1071) over the frame from `start` to its end. Where it goes stands the sum of the pseudo
/// header, not inverted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checksum {
    /// First byte summed, from the start of the frame.
    pub start: u16,
    /// Where the checksum goes, from `start`.
    pub offset: u16,
}

/// How a TCP segment is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segments {
    /// Bytes of headers in front of the data, which each frame gets anew.
    pub header_bytes: u16,
    /// Most bytes of data in a frame.
    pub data_bytes: u16,
    /// IPv6, otherwise IPv4.
    pub is_ipv6: bool,
}
