//! What happens to a frame, and what a connection has to send.
//!
//! Does not know a device: frames come in by [`Stack::input`] and wait in [`Wire`] for whoever sends them.
//!
//! Reading order: this file (frames in, what is sent, when) · `connecting` (connections, from their handshake to their end) · `base`
//! (address, neighbours, names).

mod base;
mod connecting;

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use core::task::Waker;

use smoltcp::iface::{self, Interface, PollResult, SocketHandle, SocketSet};
use smoltcp::socket::{dhcpv4, dns};
use smoltcp::time::Instant;
use smoltcp::wire::{EthernetAddress, HardwareAddress, IpCidr, Ipv6Address, Ipv6Cidr};
use weir_pool::{Buf, Pool};

use crate::announcement;
use crate::connections::{Buffers, Connections, Id, Stage};
use crate::datagram::{self, Datagram, Reply, Service};
use crate::deadlines::Deadlines;
use crate::flow::{Flow, Kind, PROTOCOL_TCP, Packet, classify};
use crate::lanes::Lane;
use crate::wire::{ETHERNET_HEADER, Wire};
use crate::{Config, Error};

/// Segments that one connection sends before others get their turn.
const SEGMENTS_PER_TURN: usize = 16;

/// Who waits for connections to a port.
struct Listening {
    buffers: Buffers,
    backlog: usize,
    waiting: VecDeque<Id>,
    acceptor: Option<Waker>,
}

/// The stack of one device and one thread.
pub(crate) struct Stack {
    iface: Interface,
    pub(crate) wire: Wire,
    mac: EthernetAddress,
    /// The sockets that are few: DHCP and DNS.
    base: SocketSet<'static>,
    dhcp: Option<SocketHandle>,
    lane: Option<Lane>,
    dns: SocketHandle,
    is_base_dirty: bool,
    base_deadline: Option<Instant>,
    pub(crate) connections: Connections,
    deadlines: Deadlines,
    dirty: VecDeque<u32>,
    /// Connections whose packets wait for a hardware address.
    stalled: Vec<Id>,
    listeners: BTreeMap<u16, Listening>,
    services: BTreeMap<u16, Service>,
    sleepers: BTreeMap<(Instant, u64), Waker>,
    sleeps: u64,
    addressed: Vec<Waker>,
    long: Long,
    random: u64,
    pub(crate) now: Instant,
}

impl Stack {
    pub(crate) fn new(config: &Config, pool: Pool, now: Instant) -> Stack {
        let mut wire = Wire::new(pool, config);
        let mut settings = iface::Config::new(HardwareAddress::Ethernet(config.mac));
        settings.random_seed = config.seed;
        let mut iface = Interface::new(settings, &mut wire.with(None), now);
        let mut base = SocketSet::new(Vec::new());
        let dns = base.add(dns::Socket::new(&[], Vec::new()));
        // Of several lanes the first asks for all.
        let is_first = config.lane.as_ref().is_none_or(Lane::is_first);
        let asks = config.address.is_none() && is_first;
        let dhcp = asks.then(|| base.add(dhcpv4::Socket::new()));
        let link_local = IpCidr::Ipv6(Ipv6Cidr::new(link_local(config.mac), 64));
        iface.update_ip_addrs(|addresses| {
            // There is room: nothing else is in it yet.
            let _ = addresses.push(link_local);
            config.address.map(|address| addresses.push(address));
        });
        if let Some(gateway) = config.gateway {
            // As above.
            let _ = iface.routes_mut().add_default_ipv4_route(gateway);
        }
        let bytes = Vec::with_capacity(config.mtu + ETHERNET_HEADER);
        let long = Long { bytes, is_under_way: false, is_wanted: false };
        Stack {
            iface,
            wire,
            mac: config.mac,
            base,
            dhcp,
            lane: config.lane.clone(),
            dns,
            is_base_dirty: true,
            base_deadline: None,
            connections: Connections::new(config.connections, config.half_open, config.seed),
            deadlines: Deadlines::default(),
            dirty: VecDeque::new(),
            stalled: Vec::new(),
            listeners: BTreeMap::new(),
            services: BTreeMap::new(),
            sleepers: BTreeMap::new(),
            sleeps: 0,
            addressed: Vec::new(),
            long,
            random: config.seed | 1,
            now,
        }
    }

    /// Takes one buffer that the device has received.
    pub(crate) fn input(&mut self, mut buf: Buf) {
        if buf.continues() || self.long.is_under_way {
            return self.input_part(buf);
        }
        self.wire.counters.rx_packets += 1;
        self.wire.counters.rx_bytes += u64::from(buf.len());
        if !self.wire.strip_tag(&mut buf) {
            self.wire.counters.rx_dropped += 1;
        } else {
            let is_checksum_good = buf.is_checksum_good();
            match self.take(buf.frame_mut(), is_checksum_good) {
                Some(Answer::InPlace(len)) => return self.send_cut(buf, len),
                Some(Answer::InRoom(room, len)) => self.send_cut(room, len),
                None => {}
            }
        }
        self.wire.pool.put(buf);
    }

    /// A part of a frame that is longer than a buffer.
    fn input_part(&mut self, mut buf: Buf) {
        self.wire.counters.rx_bytes += u64::from(buf.len());
        if !self.long.is_under_way {
            self.wire.counters.rx_packets += 1;
            self.long.is_wanted = self.wire.strip_tag(&mut buf);
            self.long.bytes.clear();
        }
        let (goes_on, is_checksum_good) = (buf.continues(), buf.is_checksum_good());
        self.long.is_under_way = goes_on;
        self.long.is_wanted &= self.long.bytes.len() + usize::from(buf.len()) <= self.long.bytes.capacity();
        if self.long.is_wanted {
            self.long.bytes.extend_from_slice(buf.frame());
        }
        self.wire.pool.put(buf);
        if goes_on {
            return;
        }
        if !self.long.is_wanted {
            self.wire.counters.rx_dropped += 1;
            return;
        }
        let mut frame = core::mem::take(&mut self.long.bytes);
        match self.take(&mut frame, is_checksum_good) {
            Some(Answer::InPlace(len)) => self.wire.send_bytes(&frame[..len]),
            Some(Answer::InRoom(room, len)) => self.send_cut(room, len),
            None => {}
        }
        self.long.bytes = frame;
    }

    fn send_cut(&mut self, mut buf: Buf, len: usize) {
        let fits = u16::try_from(len).is_ok_and(|len| buf.set_len(len));
        if fits { self.wire.send(buf) } else { self.wire.pool.put(buf) }
    }

    /// Gives a frame to whom it concerns; what is to be sent at once is the result.
    fn take(&mut self, frame: &mut [u8], is_checksum_good: bool) -> Option<Answer> {
        if let Some(tap) = &mut self.wire.tap {
            tap(frame);
        }
        let kind = classify(frame);
        match kind {
            Kind::Udp { packet, flow, data } if self.services.contains_key(&flow.local.port) => {
                if !self.is_for_us(&packet) {
                    self.wire.counters.rx_dropped += 1;
                } else if !datagram::is_whole(frame, &packet, is_checksum_good) {
                    self.wire.counters.bad_checksums += 1;
                } else {
                    return self.serve(frame, &packet, &flow, data);
                }
            }
            Kind::Tcp { packet, flow, is_syn } => {
                if !self.is_for_us(&packet) {
                    self.wire.counters.rx_dropped += 1;
                } else if !is_checksum_good
                    && !datagram::is_sum_whole(&packet, PROTOCOL_TCP, &frame[packet.payload.clone()])
                {
                    self.wire.counters.bad_checksums += 1;
                } else {
                    self.take_segment(frame, flow, is_syn);
                }
            }
            Kind::Udp { .. } | Kind::Other => match &self.lane {
                Some(lane) if !lane.is_first() => lane.hand_on(frame),
                lane => {
                    if let Some(own) = self.iface.ipv4_addr() {
                        announcement::aim(frame, own);
                    }
                    if let Some(lane) = lane {
                        lane.tell(frame, &kind);
                    }
                    self.take_base(frame);
                }
            },
            Kind::Unusable => self.wire.counters.rx_dropped += 1,
        }
        None
    }

    fn is_for_us(&self, packet: &Packet) -> bool {
        packet.to == self.mac
            && datagram::is_host(packet.source)
            && packet.source != packet.destination
            && self.iface.has_ip_addr(packet.destination)
    }

    /// Lets a service answer a datagram.
    fn serve(
        &mut self,
        frame: &mut [u8],
        packet: &Packet,
        flow: &Flow,
        data: core::ops::Range<usize>,
    ) -> Option<Answer> {
        let service = self.services.get_mut(&flow.local.port)?;
        let mut room = self.wire.pool.take()?;
        // The answer has the request's headers, turned round.
        let fits = room.set_len(weir_pool::FRAME_BYTES);
        debug_assert!(fits, "a fresh buffer has that many bytes");
        let (head, space) = room.frame_mut().split_at_mut(data.start);
        let most = self.wire.payload_bytes(data.start);
        let request = Datagram {
            from: flow.remote,
            to: flow.local,
            data: &mut frame[data.clone()],
            room: &mut space[..most.min(weir_pool::FRAME_BYTES as usize - data.start)],
            now_ns: u64::try_from(self.now.total_micros()).unwrap_or(0) * 1000,
        };
        let room_bytes = request.room.len();
        let answer = match service(request) {
            Reply::InPlace(bytes) if bytes <= data.len() => {
                Answer::InPlace(datagram::turn_round(frame, self.mac, packet, flow, &data, bytes))
            }
            Reply::InRoom(bytes) if bytes <= room_bytes => {
                head.copy_from_slice(&frame[..data.start]);
                let len = datagram::turn_round(room.frame_mut(), self.mac, packet, flow, &data, bytes);
                return Some(Answer::InRoom(room, len));
            }
            _ => {
                self.wire.pool.put(room);
                return None;
            }
        };
        self.wire.pool.put(room);
        Some(answer)
    }

    /// Notes that a connection may have something to send.
    pub(crate) fn soil(&mut self, index: u32) {
        let connection = self.connections.at(index);
        if !connection.is_dirty {
            connection.is_dirty = true;
            self.dirty.push_back(index);
        }
    }

    /// Sends what there is to send, and does what is due.
    pub(crate) fn flush(&mut self) {
        self.take_news();
        while let Some(entry) = self.sleepers.first_entry().filter(|entry| entry.key().0 <= self.now) {
            entry.remove().wake();
        }
        if self.is_base_dirty || self.base_deadline.is_some_and(|deadline| deadline <= self.now) {
            self.flush_base();
        }
        while let Some(index) = self.deadlines.take_due(self.now) {
            self.soil(index);
        }
        for _ in 0..self.dirty.len() {
            let Some(index) = self.dirty.pop_front() else { break };
            self.flush_one(index);
        }
    }

    fn flush_one(&mut self, index: u32) {
        let connection = self.connections.at(index);
        connection.is_dirty = false;
        if connection.stage == Stage::Free {
            return;
        }
        self.wire.has_asked = false;
        for _ in 0..SEGMENTS_PER_TURN {
            let sockets = &mut connection.sockets;
            if self.iface.poll_egress(self.now, &mut self.wire.with(None), sockets) == PollResult::None {
                break;
            }
        }
        let mut deadline = self.iface.poll_at(self.now, &connection.sockets);
        if let Stage::Orphan { until } = connection.stage {
            deadline = deadline.min(Some(until)).or(Some(until));
        }
        if deadline.is_some_and(|deadline| deadline <= self.now) {
            self.soil(index);
            deadline = None;
        }
        self.deadlines.set(index, deadline);
        if self.wire.has_asked {
            self.stalled.push(self.connections.id(index));
        }
        self.settle(index);
    }

    /// When to call [`Stack::flush`] at the latest; `None`: when a frame has come.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let has_news = self.lane.as_ref().is_some_and(Lane::has_news);
        if !self.dirty.is_empty() || self.is_base_dirty || has_news {
            return Some(self.now);
        }
        let sleeper = self.sleepers.first_key_value().map(|(key, _)| key.0);
        [self.deadlines.first(), self.base_deadline, sleeper].into_iter().flatten().min()
    }

    /// Wakes whoever waits then. The number takes it back.
    pub(crate) fn sleep(&mut self, until: Instant, waker: &Waker) -> u64 {
        self.sleeps += 1;
        self.sleepers.insert((until, self.sleeps), waker.clone());
        self.sleeps
    }

    pub(crate) fn forget_sleep(&mut self, until: Instant, number: u64) {
        self.sleepers.remove(&(until, number));
    }

    pub(crate) fn serve_udp(&mut self, port: u16, service: Service) -> Result<(), Error> {
        match self.services.contains_key(&port) {
            true => Err(Error::PortTaken { port }),
            false => {
                self.services.insert(port, service);
                Ok(())
            }
        }
    }
}

/// A frame longer than a buffer, as far as it has come.
struct Long {
    bytes: Vec<u8>,
    is_under_way: bool,
    /// It is of this virtual LAN and not too long.
    is_wanted: bool,
}

/// What is to be sent at once.
enum Answer {
    InPlace(usize),
    InRoom(Buf, usize),
}

/// The address that every host gives itself on a link (RFC 4291 §2.5.6 and appendix A).
fn link_local(mac: EthernetAddress) -> Ipv6Address {
    let [a, b, c, d, e, f] = mac.0;
    let half = |high, low| u16::from_be_bytes([high, low]);
    Ipv6Address::new(0xfe80, 0, 0, 0, half(a ^ 2, b), half(c, 0xff), half(0xfe, d), half(e, f))
}
