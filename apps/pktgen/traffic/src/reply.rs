//! What comes back to who probes.
//!
//! **Invariant: a reply is one only if every byte of it is what an honest peer sends**; a length in it is used after it was compared
//! with the bytes that are there.

use weir_net::checksum::Sum;
use weir_net::ethernet::{self, TYPE_IPV4};
use weir_net::{icmp, ipv4, udp};
use zerocopy::{FromBytes, Immutable, KnownLayout};

use crate::frames::{HEADERS_BYTES, Kind, Path};
use crate::stamp::{self, Stamp};

/// What a frame is to who waits for replies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// An answer to the probe with this stamp.
    To(Stamp),
    /// It would be an answer, were it whole: a length, a checksum or a byte is wrong.
    Damaged,
    /// Something else.
    Other,
}

/// Who waits for replies.
#[derive(Clone, Copy, Debug)]
pub struct Expected {
    path: Path,
    kind: Kind,
    /// Bytes of the payload of every probe.
    payload_bytes: usize,
}

impl Expected {
    /// Replies to probes of `frame_bytes`, without checksum.
    #[must_use]
    pub fn new(path: &Path, kind: Kind, frame_bytes: u16) -> Expected {
        let payload_bytes = usize::from(frame_bytes).saturating_sub(HEADERS_BYTES);
        Expected { path: *path, kind, payload_bytes }
    }

    /// Says what a frame is.
    #[must_use]
    pub fn read(&self, frame: &[u8]) -> Reply {
        let Some((ethernet, packet)) = split::<ethernet::Header>(frame) else { return Reply::Other };
        if (ethernet.destination, ethernet.ethertype) != (self.path.own_mac, TYPE_IPV4) {
            return Reply::Other;
        }
        let Some((ip, rest)) = split::<ipv4::Header>(packet) else { return Reply::Damaged };
        // With a damaged header it says nothing: whose it is, neither.
        if ip.version_and_words == ipv4::Header::WITHOUT_OPTIONS && !ip.is_checksum_valid() {
            return Reply::Damaged;
        }
        let protocol = match self.kind {
            Kind::Udp { .. } => ipv4::PROTOCOL_UDP,
            Kind::Ping { .. } => ipv4::PROTOCOL_ICMP,
        };
        let is_from_there = (ip.source, ip.destination) == (self.path.to, self.path.own);
        if ip.version_and_words != ipv4::Header::WITHOUT_OPTIONS
            || ip.is_fragment()
            || ip.protocol != protocol
            || !is_from_there
        {
            return Reply::Other;
        }
        // Ethernet pads short frames, so the packet may end before the frame does, but not after.
        let Some(message) = ip.payload_bytes().and_then(|bytes| rest.get(..bytes)) else {
            return Reply::Damaged;
        };
        match self.kind {
            Kind::Udp { from, to, .. } => self.read_udp(ip, message, from, to),
            Kind::Ping { identifier } => self.read_ping(message, identifier),
        }
    }

    fn read_udp(&self, ip: &ipv4::Header, datagram: &[u8], own: u16, to: u16) -> Reply {
        let Some((header, payload)) = split::<udp::Header>(datagram) else { return Reply::Damaged };
        let bytes = header.bytes.get();
        let has_checksum = header.checksum.get() != 0;
        let is_whole = !has_checksum || ip.pseudo_header(bytes).plus(Sum::of(datagram)).is_whole();
        if usize::from(bytes) != datagram.len() || !is_whole {
            return Reply::Damaged;
        }
        if (header.source.get(), header.destination.get()) != (to, own) {
            return Reply::Other;
        }
        self.read_payload(payload)
    }

    fn read_ping(&self, message: &[u8], identifier: u16) -> Reply {
        let Some((header, payload)) = split::<icmp::Header>(message) else { return Reply::Damaged };
        if !Sum::of(message).is_whole() {
            return Reply::Damaged;
        }
        let [a, b, sequence @ ..] = header.rest;
        if header.type_and_code != icmp::ECHO_REPLY || [a, b] != identifier.to_be_bytes() {
            return Reply::Other;
        }
        match self.read_payload(payload) {
            Reply::To(stamp) if stamp.sequence.to_bytes()[6..] != sequence => Reply::Damaged,
            reply => reply,
        }
    }

    fn read_payload(&self, payload: &[u8]) -> Reply {
        match stamp::read(payload) {
            Some(stamp) if payload.len() == self.payload_bytes => Reply::To(stamp),
            _ => Reply::Damaged,
        }
    }
}

/// The header at the start of `bytes`, and what follows it.
fn split<H: FromBytes + KnownLayout + Immutable + zerocopy::Unaligned>(bytes: &[u8]) -> Option<(&H, &[u8])> {
    H::ref_from_prefix(bytes).ok()
}
