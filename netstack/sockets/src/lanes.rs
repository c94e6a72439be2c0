//! Several stacks behind one device: each pair of the device's queues has a stack and a thread of its own.
//!
//! **Invariant: a connection's segments and a service's datagrams concern one stack only**, that of the queue they came by,
//! because the device picks the queue by the hash of addresses and ports. What is nobody's flow (ARP, DHCP, ICMP, answers of
//! name servers) goes to the first lane; what that learns and all must know, an address or a neighbour, it passes on, in
//! mailboxes of bounded length. To look whether there is mail costs a load.

use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use smoltcp::wire::{
    ArpOperation, ArpPacket, EthernetFrame, EthernetProtocol, Icmpv6Message, Icmpv6Packet, IpAddress, IpCidr,
    IpProtocol, Ipv4Address, Ipv6Packet,
};
use spin::Mutex;

use crate::flow::{Flow, Kind};

/// Bytes of the key of the hash.
pub const HASH_KEY_BYTES: usize = 40;
/// Entries of the device's table of queues.
const TABLE: usize = 128;
/// Frames that wait for a lane; more are lost, as on a wire.
const MAIL_FRAMES: usize = 64;
const NAME_SERVER: u16 = 53;

/// One of several stacks of a device, and what it has in common with the others.
#[derive(Clone, Debug)]
pub struct Lane {
    number: usize,
    shared: Arc<Shared>,
    /// Which of the addresses published it has taken.
    seen: u32,
}

#[derive(Debug)]
struct Shared {
    key: [u8; HASH_KEY_BYTES],
    mailboxes: Vec<Mailbox>,
    given: Mutex<Given>,
    /// How often `given` was changed.
    version: AtomicU32,
}

#[derive(Debug, Default)]
struct Mailbox {
    waiting: AtomicUsize,
    frames: Mutex<VecDeque<Vec<u8>>>,
}

/// What DHCP gives a host.
#[derive(Clone, Debug, Default)]
pub(crate) struct Given {
    pub(crate) address: Option<IpCidr>,
    pub(crate) router: Option<Ipv4Address>,
    pub(crate) name_servers: Vec<IpAddress>,
}

impl Lane {
    /// As many lanes, in the order of their queues. The device hashes with `key`.
    #[must_use]
    pub fn all(count: u16, key: [u8; HASH_KEY_BYTES]) -> Vec<Lane> {
        let shared = Arc::new(Shared {
            key,
            mailboxes: (0..count).map(|_| Mailbox::default()).collect(),
            given: Mutex::default(),
            version: AtomicU32::new(0),
        });
        (0..usize::from(count)).map(|number| Lane { number, shared: shared.clone(), seen: 0 }).collect()
    }

    /// Its number, which is its queue's.
    #[must_use]
    pub fn number(&self) -> usize {
        self.number
    }

    /// What the device hashes with.
    #[must_use]
    pub fn key(&self) -> [u8; HASH_KEY_BYTES] {
        self.shared.key
    }

    /// The queues in the order in which the device's table must have them.
    #[must_use]
    pub fn table(&self) -> Vec<u16> {
        let count = self.shared.mailboxes.len();
        #[expect(clippy::cast_possible_truncation, reason = "less than the count, which came as 16 bits")]
        let table = (0..TABLE).map(|entry| (entry % count) as u16).collect();
        table
    }

    pub(crate) fn is_first(&self) -> bool {
        self.number == 0
    }

    /// Whether the device gives this lane what comes from `flow`.
    pub(crate) fn has(&self, flow: &Flow) -> bool {
        let mut bytes = Vec::with_capacity(36);
        for address in [flow.remote.addr, flow.local.addr] {
            match address {
                IpAddress::Ipv4(address) => bytes.extend(address.octets()),
                IpAddress::Ipv6(address) => bytes.extend(address.octets()),
            }
        }
        bytes.extend(flow.remote.port.to_be_bytes());
        bytes.extend(flow.local.port.to_be_bytes());
        let entry = toeplitz(&self.shared.key, &bytes) as usize % TABLE;
        entry % self.shared.mailboxes.len() == self.number
    }

    /// Hands a frame that is nobody's flow to the first lane.
    pub(crate) fn hand_on(&self, frame: &[u8]) {
        self.shared.mailboxes[0].put(frame);
    }

    /// Tells the others, if a frame that came to the first lane concerns them. `kind` is what is in it.
    pub(crate) fn tell(&self, frame: &[u8], kind: &Kind) {
        let others = &self.shared.mailboxes[1..];
        match kind {
            Kind::Udp { flow, .. } if flow.remote.port == NAME_SERVER => {
                others.iter().for_each(|mailbox| mailbox.put(frame));
            }
            Kind::Other => {
                if let Some(frame) = news_of_a_neighbour(frame) {
                    others.iter().for_each(|mailbox| mailbox.put(&frame));
                }
            }
            Kind::Tcp { .. } | Kind::Udp { .. } | Kind::Unusable => {}
        }
    }

    /// Whether there is anything that another lane has put here.
    #[inline]
    pub(crate) fn has_news(&self) -> bool {
        self.shared.mailboxes[self.number].waiting.load(Ordering::Relaxed) > 0
            || !self.is_first() && self.shared.version.load(Ordering::Relaxed) != self.seen
    }

    /// The frames that other lanes have put here.
    pub(crate) fn take_frames(&self) -> VecDeque<Vec<u8>> {
        let mailbox = &self.shared.mailboxes[self.number];
        let mut frames = mailbox.frames.lock();
        mailbox.waiting.store(0, Ordering::Relaxed);
        core::mem::take(&mut *frames)
    }

    /// Gives the others the address of this host.
    pub(crate) fn publish(&self, given: &Given) {
        *self.shared.given.lock() = given.clone();
        self.shared.version.fetch_add(1, Ordering::Release);
    }

    /// The address, where it has changed.
    pub(crate) fn take_address(&mut self) -> Option<Given> {
        let version = self.shared.version.load(Ordering::Acquire);
        if self.is_first() || version == self.seen {
            return None;
        }
        self.seen = version;
        Some(self.shared.given.lock().clone())
    }
}

impl Mailbox {
    fn put(&self, frame: &[u8]) {
        let mut frames = self.frames.lock();
        if frames.len() < MAIL_FRAMES {
            frames.push_back(frame.to_vec());
            self.waiting.store(frames.len(), Ordering::Relaxed);
        }
    }
}

/// What says where a neighbour is, as an answer, which nobody answers: ARP, also a neighbour's own question, and neighbour
/// advertisements.
fn news_of_a_neighbour(frame: &[u8]) -> Option<Vec<u8>> {
    let mut news = frame.to_vec();
    let mut ethernet = EthernetFrame::new_checked(&mut news[..]).ok()?;
    match ethernet.ethertype() {
        EthernetProtocol::Arp => {
            ArpPacket::new_checked(ethernet.payload_mut()).ok()?.set_operation(ArpOperation::Reply);
        }
        EthernetProtocol::Ipv6 => {
            let ip = Ipv6Packet::new_checked(&*ethernet.payload_mut()).ok()?;
            let icmp = Icmpv6Packet::new_checked(ip.payload()).ok()?;
            let is_news =
                ip.next_header() == IpProtocol::Icmpv6 && icmp.msg_type() == Icmpv6Message::NeighborAdvert;
            is_news.then_some(())?;
        }
        _ => return None,
    }
    Some(news)
}

/// The hash of receive-side scaling (virtio 1.2 §5.1.6.4.3 "Hash calculation for incoming packets"; 82576 §7.1.2.10.1 "RSS Hash
/// Function"). `bytes` are at most 36.
fn toeplitz(key: &[u8; HASH_KEY_BYTES], bytes: &[u8]) -> u32 {
    let mut hash = 0;
    for (at, byte) in bytes.iter().enumerate() {
        let window = key.iter().skip(at).take(5).fold(0_u64, |window, byte| window << 8 | u64::from(*byte));
        for bit in (0..8).filter(|bit| byte & (0x80 >> bit) != 0) {
            #[expect(clippy::cast_possible_truncation, reason = "32 bits of the key, from that bit on")]
            let part = (window >> (8 - bit)) as u32;
            hash ^= part;
        }
    }
    hash
}

#[cfg(test)]
mod tests {
    use super::*;
    use smoltcp::wire::IpEndpoint;

    /// The key and the answers that Microsoft gives for implementors of RSS ("Verifying the RSS Hash Calculation").
    const KEY: [u8; HASH_KEY_BYTES] = [
        0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3, 0x8f, 0xb0, 0xd0,
        0xca, 0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3, 0x80, 0x30, 0xf2, 0x0c, 0x6a, 0x42,
        0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa,
    ];

    #[test]
    fn the_hash_is_the_known_one() {
        let addresses = [66, 9, 149, 187, 161, 142, 100, 80];
        let ports = [2794_u16.to_be_bytes(), 1766_u16.to_be_bytes()].concat();
        assert_eq!(toeplitz(&KEY, &[&addresses[..], &ports].concat()), 0x51cc_c178);
        assert_eq!(toeplitz(&KEY, &addresses), 0x323e_8fc2);
    }

    #[test]
    fn every_flow_has_one_lane() {
        let lanes = Lane::all(3, KEY);
        let mut counts = [0; 3];
        for port in 1..1000 {
            let flow = Flow {
                local: IpEndpoint::new(IpAddress::v4(10, 0, 0, 1), 80),
                remote: IpEndpoint::new(IpAddress::v4(10, 0, 0, 2), port),
            };
            let owners: Vec<_> = lanes.iter().filter(|lane| lane.has(&flow)).map(Lane::number).collect();
            assert_eq!(owners.len(), 1, "{port}");
            counts[owners[0]] += 1;
        }
        assert!(counts.iter().all(|count| *count > 250), "{counts:?}");
        assert_eq!(lanes[0].table()[..4], [0, 1, 2, 0]);
    }

    #[test]
    fn who_asks_is_known_to_all() {
        let lanes = Lane::all(2, KEY);
        let mut question = [0; 42];
        question[12..22].copy_from_slice(&[8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
        lanes[0].tell(&question, &Kind::Other);
        let told = lanes[1].take_frames();
        assert_eq!(told.len(), 1);
        assert_eq!((&told[0][..21], told[0][21]), (&question[..21], 2), "it is an answer");
        lanes[0].tell(&[0; 10], &Kind::Other);
        assert!(!lanes[1].has_news());
    }

    #[test]
    fn mail_has_a_limit() {
        let lanes = Lane::all(2, KEY);
        (0..1000).for_each(|_| lanes[1].hand_on(&[1, 2, 3]));
        assert!(lanes[0].has_news() && !lanes[1].has_news());
        assert_eq!(lanes[0].take_frames().len(), MAIL_FRAMES);
        assert!(!lanes[0].has_news());
    }
}
