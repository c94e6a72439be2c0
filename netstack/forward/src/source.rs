//! Frames that are made: UDP datagrams, or what a pcap file holds.

use weir_net::ethernet::{self, TYPE_IPV4};
use weir_net::ipv4::{self, Ipv4Address, PROTOCOL_UDP, TTL};
use weir_net::{MacAddress, checksum, udp};
use weir_pool::Buf;
use zerocopy::network_endian::U16;
use zerocopy::{Immutable, IntoBytes, Unaligned};

use crate::pcap::Replay;

/// Where frames come from.
#[derive(Clone, Debug)]
pub(crate) enum Source<'a> {
    Datagrams(Datagrams),
    Replay(Replay<'a>),
}

impl Source<'_> {
    /// Writes the next frame into an empty buffer.
    #[inline]
    pub(crate) fn write(&mut self, buf: &mut Buf) {
        match self {
            Source::Datagrams(datagrams) => datagrams.write(buf),
            Source::Replay(replay) => write(buf, replay.next_frame()),
        }
    }

    /// A burst begins here.
    #[inline]
    pub(crate) fn begin_burst(&mut self) {
        match self {
            Source::Datagrams(datagrams) => datagrams.mark = datagrams.next,
            Source::Replay(replay) => replay.begin_burst(),
        }
    }

    /// Of the burst, only `sent` frames were sent: the others are made again.
    #[cold]
    pub(crate) fn back_out(&mut self, sent: usize) {
        match self {
            Source::Datagrams(datagrams) => datagrams.back_out(sent),
            Source::Replay(replay) => replay.back_out(sent),
        }
    }
}

/// Both were checked when they were set: frames fit into buffers.
#[inline]
fn write(buf: &mut Buf, frame: &[u8]) {
    let is_long_enough = u16::try_from(frame.len()).is_ok_and(|len| buf.set_len(len));
    if is_long_enough {
        buf.frame_mut().copy_from_slice(frame);
    }
}

/// Headers of a datagram.
#[derive(Clone, Copy, Debug, IntoBytes, Immutable, Unaligned)]
#[repr(C)]
struct Headers {
    ethernet: ethernet::Header,
    ipv4: ipv4::Header,
    udp: udp::Header,
}

/// Bytes of the headers: the shortest frame that can be made.
pub(crate) const HEADERS_BYTES: u16 = 42;
const _: () = assert!(size_of::<Headers>() == HEADERS_BYTES as usize);

/// Who sends to whom.
struct Path {
    destination: MacAddress,
    source: MacAddress,
    addresses: [Ipv4Address; 2],
    ports: [u16; 2],
}

/// UDP datagrams of one size. Behind the headers is whatever the buffer held, as with testpmd.
#[derive(Clone, Debug)]
pub(crate) struct Datagrams {
    headers: Headers,
    frame_bytes: u16,
    /// How many flows take turns, by destination address, and which is next.
    flows: u32,
    next: u32,
    /// Which was next when the burst under way began.
    mark: u32,
}

impl Datagrams {
    /// Those of testpmd's `txonly`: between two addresses for measurements (RFC 2544 Appendix C.2.2), port 9 (discard).
    pub(crate) fn of_one_flow(source: MacAddress, peer: MacAddress, frame_bytes: u16) -> Datagrams {
        let addresses = [Ipv4Address([198, 18, 0, 1]), Ipv4Address([198, 18, 0, 2])];
        let path = Path { destination: peer, source, addresses, ports: [9, 9] };
        Datagrams { headers: headers(&path, frame_bytes), frame_bytes, flows: 1, next: 0, mark: 0 }
    }

    /// Those of testpmd's `flowgen`.
    pub(crate) fn of_flows(flows: u32, frame_bytes: u16) -> Datagrams {
        let path = Path {
            destination: MacAddress([0, 1, 2, 3, 4, 1]),
            source: MacAddress([0, 1, 2, 3, 4, 0]),
            addresses: [Ipv4Address([10, 254, 0, 0]), FIRST_FLOW],
            ports: [1000, 1001],
        };
        Datagrams { headers: headers(&path, frame_bytes), frame_bytes, flows: flows.max(1), next: 0, mark: 0 }
    }

    #[inline]
    fn write(&mut self, buf: &mut Buf) {
        if self.flows > 1 {
            self.take_turn();
        }
        if buf.set_len(self.frame_bytes)
            && let Some(start) = buf.frame_mut().first_chunk_mut::<{ HEADERS_BYTES as usize }>()
        {
            start.copy_from_slice(self.headers.as_bytes());
        }
    }

    /// Makes the headers those of the next flow.
    #[inline]
    fn take_turn(&mut self) {
        let address = u32::from_be_bytes(FIRST_FLOW.0).wrapping_add(self.next);
        self.headers.ipv4.destination = Ipv4Address(address.to_be_bytes());
        self.headers.ipv4.checksum = header_checksum(self.headers.ipv4);
        self.next = if self.next + 1 < self.flows { self.next + 1 } else { 0 };
    }

    fn back_out(&mut self, sent: usize) {
        let next = (u64::from(self.mark) + sent as u64) % u64::from(self.flows);
        self.next = u32::try_from(next).unwrap_or(0);
    }
}

/// Destination of the first flow; each other's is one higher.
const FIRST_FLOW: Ipv4Address = Ipv4Address([10, 253, 0, 0]);

fn headers(path: &Path, frame_bytes: u16) -> Headers {
    let behind = |bytes: usize| {
        let before = u16::try_from(bytes).unwrap_or(0);
        U16::new(frame_bytes.saturating_sub(before))
    };
    let ethernet =
        ethernet::Header { destination: path.destination, source: path.source, ethertype: TYPE_IPV4 };
    let mut ipv4 = ipv4::Header {
        version_and_words: ipv4::Header::WITHOUT_OPTIONS,
        service: 0,
        total_bytes: behind(size_of::<ethernet::Header>()),
        identification: U16::new(0),
        fragment: U16::new(0),
        ttl: TTL,
        protocol: PROTOCOL_UDP,
        checksum: U16::new(0),
        source: path.addresses[0],
        destination: path.addresses[1],
    };
    ipv4.checksum = header_checksum(ipv4);
    let udp = udp::Header {
        source: U16::new(path.ports[0]),
        destination: U16::new(path.ports[1]),
        bytes: behind(size_of::<ethernet::Header>() + size_of::<ipv4::Header>()),
        // None: the bytes behind the headers are not known.
        checksum: U16::new(0),
    };
    Headers { ethernet, ipv4, udp }
}

#[inline]
fn header_checksum(header: ipv4::Header) -> U16 {
    let header = ipv4::Header { checksum: U16::new(0), ..header };
    checksum::Sum::of(header.as_bytes()).checksum()
}
