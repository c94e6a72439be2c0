//! What happened, in numbers.

/// Counters since the stack began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Frames received.
    pub rx_packets: u64,
    /// Bytes of these.
    pub rx_bytes: u64,
    /// Frames handed to the device.
    pub tx_packets: u64,
    /// Bytes of these.
    pub tx_bytes: u64,
    /// Frames received that were no use: malformed, of another virtual LAN or another host.
    pub rx_dropped: u64,
    /// Frames whose TCP or UDP checksum was wrong.
    pub bad_checksums: u64,
    /// Frames not sent, for want of a buffer or of room.
    pub tx_dropped: u64,
    /// Connections accepted or made.
    pub opened: u64,
    /// Requests for a connection that were turned down: every connection is in use, or none was accepted in time.
    pub refused: u64,
    /// Handshakes given up for newer ones.
    pub half_open_evicted: u64,
}
