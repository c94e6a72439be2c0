//! Frames on their way out, and what smoltcp takes for its device.
//!
//! **Invariant: every buffer is in the pool, in `out`, or in the hands of who asked for it**; a frame for which there is
//! no room is dropped and counted, as on a wire.

use alloc::boxed::Box;
use alloc::vec;

use smoltcp::phy::{self, Checksum, DeviceCapabilities, Medium};
use smoltcp::time::Instant;
use smoltcp::wire::EthernetProtocol;
use weir_pool::{Buf, Burst, FRAME_BYTES, Pool};

use crate::counters::Counters;
use crate::datagram::pseudo_sum;
use crate::flow::{Kind, PROTOCOL_TCP, classify};
use crate::{Config, Tap};

/// Frames that wait for the device at most.
pub const OUT_FRAMES: usize = 128;
/// Bytes of an Ethernet header.
pub(crate) const ETHERNET_HEADER: usize = 14;
/// The tag of a virtual LAN: its type and its number (IEEE 802.1Q-2018 §9.3 "VLAN tag formats").
const VLAN_TAG: usize = 4;
const VLAN_TYPE: [u8; 2] = [0x81, 0x00];
const VLAN_NUMBER_MASK: u16 = 0x0fff;
/// Where a TCP segment has its checksum (RFC 9293 §3.1 "Header Format").
pub const CHECKSUM_OFFSET: u16 = 16;
/// The two addresses at the start of a frame.
const ADDRESSES: usize = 12;

/// What frames leave through.
pub(crate) struct Wire {
    pub(crate) pool: Pool,
    pub(crate) out: Burst<OUT_FRAMES>,
    pub(crate) counters: Counters,
    pub(crate) tap: Option<Tap>,
    /// Where frames longer than a buffer are put together.
    scratch: Box<[u8]>,
    frame_bytes: usize,
    vlan: Option<u16>,
    /// The device fills in TCP's checksums.
    tx_checksum: bool,
    /// Whether somebody's address was asked for.
    pub(crate) has_asked: bool,
}

impl Wire {
    pub(crate) fn new(pool: Pool, config: &Config) -> Wire {
        let &Config { mtu, vlan, tx_checksum, .. } = config;
        let frame_bytes = mtu + ETHERNET_HEADER;
        let scratch = vec![0; frame_bytes + VLAN_TAG].into_boxed_slice();
        Wire {
            pool,
            out: Burst::new(),
            counters: Counters::default(),
            tap: None,
            scratch,
            frame_bytes,
            vlan,
            tx_checksum,
            has_asked: false,
        }
    }

    /// What a device is to smoltcp, reading `frame` if there is one.
    pub(crate) fn with<'a>(&'a mut self, frame: Option<&'a [u8]>) -> Port<'a> {
        Port { wire: self, frame }
    }

    /// Whether another frame of any length would find room.
    fn has_room(&self) -> bool {
        let bufs = self.frame_bytes.div_ceil(usize::from(FRAME_BYTES));
        self.out.room() >= bufs && self.pool.available() >= bufs
    }

    /// Takes the tag off; `false` where the frame belongs to another virtual LAN.
    pub(crate) fn strip_tag(&self, buf: &mut Buf) -> bool {
        let tag = buf.frame().get(ADDRESSES..ADDRESSES + VLAN_TAG);
        let number = match tag {
            Some(&[first, second, high, low]) if [first, second] == VLAN_TYPE => {
                Some(u16::from_be_bytes([high, low]) & VLAN_NUMBER_MASK)
            }
            _ => None,
        };
        if number != self.vlan {
            return false;
        }
        if number.is_some() {
            buf.frame_mut().copy_within(..ADDRESSES, VLAN_TAG);
            return buf.strip::<VLAN_TAG>().is_some();
        }
        true
    }

    /// Sends a frame that lies in one buffer.
    pub(crate) fn send(&mut self, mut buf: Buf) {
        if let Some(tap) = &mut self.tap {
            tap(buf.frame());
        }
        if let Some(number) = self.vlan {
            if !buf.prepend([0; VLAN_TAG]) {
                return self.drop_out(buf);
            }
            let [high, low] = number.to_be_bytes();
            let frame = buf.frame_mut();
            frame.copy_within(VLAN_TAG..VLAN_TAG + ADDRESSES, 0);
            frame[ADDRESSES..ADDRESSES + VLAN_TAG].copy_from_slice(&[VLAN_TYPE[0], VLAN_TYPE[1], high, low]);
        }
        self.counters.tx_bytes += u64::from(buf.len());
        match self.out.push(buf) {
            Ok(()) => self.counters.tx_packets += 1,
            Err(buf) => self.drop_out(buf),
        }
    }

    fn drop_out(&mut self, buf: Buf) {
        self.counters.tx_dropped += 1;
        self.pool.put(buf);
    }

    /// Bytes that a datagram's data may have behind headers of `head` bytes.
    pub(crate) fn payload_bytes(&self, head: usize) -> usize {
        self.frame_bytes.saturating_sub(head)
    }

    /// Sends a frame that lies elsewhere.
    pub(crate) fn send_bytes(&mut self, frame: &[u8]) {
        let Some(room) = self.scratch.get_mut(..frame.len()) else { return };
        room.copy_from_slice(frame);
        self.send_scratch(frame.len());
    }

    /// Sends the first `len` bytes of the scratch, in as many buffers as they take.
    fn send_scratch(&mut self, len: usize) {
        if let Some(tap) = &mut self.tap {
            tap(&self.scratch[..len]);
        }
        let mut bytes = len;
        if let Some(number) = self.vlan {
            self.scratch.copy_within(ADDRESSES..len, ADDRESSES + VLAN_TAG);
            self.scratch[ADDRESSES..ADDRESSES + 2].copy_from_slice(&VLAN_TYPE);
            self.scratch[ADDRESSES + 2..ADDRESSES + VLAN_TAG].copy_from_slice(&number.to_be_bytes());
            bytes += VLAN_TAG;
        }
        let chunks = self.scratch[..bytes].chunks(FRAME_BYTES.into());
        if self.out.room() < chunks.len() || self.pool.available() < chunks.len() {
            self.counters.tx_dropped += 1;
            return;
        }
        let last = chunks.len() - 1;
        for (number, chunk) in chunks.enumerate() {
            let Some(mut buf) = self.pool.take() else { return };
            #[expect(clippy::cast_possible_truncation, reason = "a chunk is as long as a buffer")]
            let fits = buf.set_len(chunk.len() as u16);
            debug_assert!(fits, "a chunk is as long as a buffer");
            buf.frame_mut().copy_from_slice(chunk);
            buf.set_continues(number < last);
            // There is room: it was looked at.
            if let Err(buf) = self.out.push(buf) {
                self.pool.put(buf);
            }
        }
        self.counters.tx_packets += 1;
        self.counters.tx_bytes += bytes as u64;
    }
}

/// The device that smoltcp sees.
pub(crate) struct Port<'a> {
    wire: &'a mut Wire,
    frame: Option<&'a [u8]>,
}

impl phy::Device for Port<'_> {
    type RxToken<'b>
        = Received<'b>
    where
        Self: 'b;
    type TxToken<'b>
        = Sending<'b>
    where
        Self: 'b;

    fn receive(&mut self, _: Instant) -> Option<(Received<'_>, Sending<'_>)> {
        let frame = self.frame.take()?;
        Some((Received(frame), Sending(self.wire)))
    }

    fn transmit(&mut self, _: Instant) -> Option<Sending<'_>> {
        self.wire.has_room().then_some(Sending(self.wire))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = self.wire.frame_bytes;
        // Looked at before smoltcp sees the packet, if the device has not.
        capabilities.checksum.tcp = if self.wire.tx_checksum { Checksum::None } else { Checksum::Tx };
        capabilities
    }
}

/// A frame that arrived.
pub(crate) struct Received<'a>(&'a [u8]);

impl phy::RxToken for Received<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, read: F) -> R {
        read(self.0)
    }
}

/// A frame to be sent.
pub(crate) struct Sending<'a>(&'a mut Wire);

impl phy::TxToken for Sending<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, write: F) -> R {
        let wire = self.0;
        let mut buf = if len <= usize::from(FRAME_BYTES) { wire.pool.take() } else { None };
        if let Some(buf) = &mut buf {
            #[expect(clippy::cast_possible_truncation, reason = "at most FRAME_BYTES")]
            let fits = buf.set_len(len as u16);
            debug_assert!(fits, "a fresh buffer has room for FRAME_BYTES");
        }
        let frame = match &mut buf {
            Some(buf) => buf.frame_mut(),
            None => &mut wire.scratch[..len],
        };
        let result = write(frame);
        wire.has_asked |= asks_for_address(frame);
        if wire.tx_checksum {
            begin_checksum(frame);
        }
        match buf {
            Some(buf) => wire.send(buf),
            None => wire.send_scratch(len),
        }
        result
    }
}

/// Puts the sum of the pseudo-header where a segment's checksum goes; the device adds the rest.
fn begin_checksum(frame: &mut [u8]) {
    let Kind::Tcp { packet, .. } = classify(frame) else { return };
    #[expect(clippy::cast_possible_truncation, reason = "no frame is that long")]
    let bytes = packet.payload.len() as u16;
    let sum = pseudo_sum(packet.source, packet.destination, PROTOCOL_TCP, bytes);
    let place = packet.payload.start + usize::from(CHECKSUM_OFFSET);
    // A sum's checksum is its inverse.
    let begun = !sum.checksum().get();
    frame[place..place + 2].copy_from_slice(&begun.to_be_bytes());
}

/// The first byte of the TCP segment in a frame that was made with [`Config::tx_checksum`], whose checksum, at
/// [`CHECKSUM_OFFSET`] from there, the device must finish. `None`: the frame is finished. Looks at the first 40 bytes.
#[must_use]
#[inline]
pub fn unfinished_checksum(frame: &[u8]) -> Option<u16> {
    const IPV4: [u8; 2] = [0x08, 0x00];
    const IPV6: [u8; 2] = [0x86, 0xdd];
    const IPV6_HEADER: usize = 40;
    let tag = if frame.get(ADDRESSES..ADDRESSES + 2)? == VLAN_TYPE { VLAN_TAG } else { 0 };
    let ip = tag + ETHERNET_HEADER;
    let header = frame.get(ip..ip + 20)?;
    let (protocol, bytes) = match [frame[ip - 2], frame[ip - 1]] {
        IPV4 => (header[9], usize::from(header[0] & 0xf) * 4),
        IPV6 => (header[6], IPV6_HEADER),
        _ => return None,
    };
    if protocol == PROTOCOL_TCP { u16::try_from(ip + bytes).ok() } else { None }
}

/// Whether a frame that was made here may ask for somebody's hardware address: ARP, and any ICMPv6.
fn asks_for_address(frame: &[u8]) -> bool {
    const ICMPV6: u8 = 58;
    let Some(kind) = frame.get(ADDRESSES..ETHERNET_HEADER) else { return false };
    let kind = EthernetProtocol::from(u16::from_be_bytes([kind[0], kind[1]]));
    kind == EthernetProtocol::Arp
        || kind == EthernetProtocol::Ipv6 && frame.get(ETHERNET_HEADER + 6) == Some(&ICMPV6)
}
