//! What happens to a frame, and what a connection has to send.
//!
//! Does not know a device: frames come in by [`Stack::input`] and wait in [`Wire`] for whoever sends them.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use core::task::Waker;

use smoltcp::iface::{self, Interface, PollResult, SocketHandle, SocketSet};
use smoltcp::socket::{dhcpv4, dns, tcp};
use smoltcp::time::{Duration, Instant};
use smoltcp::wire::{
    DnsQueryType, EthernetAddress, HardwareAddress, IpAddress, IpCidr, IpEndpoint, Ipv4Address, Ipv6Address,
    Ipv6Cidr,
};
use weir_pool::{Buf, Pool};

use crate::announcement;
use crate::connections::{Buffers, Connections, Id, Stage};
use crate::datagram::{self, Datagram, Reply, Service};
use crate::deadlines::Deadlines;
use crate::flow::{Flow, Kind, PROTOCOL_TCP, Packet, classify};
use crate::lanes::{Given, Lane};
use crate::wire::{ETHERNET_HEADER, Wire};
use crate::{Config, Error};

/// Segments that one connection sends before others get their turn.
const SEGMENTS_PER_TURN: usize = 16;
/// How long a connection may take to end after its application has let it go.
const ORPHAN_LIMIT: Duration = Duration::from_secs(60);
/// How long a handshake may take.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(30);
/// How long a peer may be silent. One that has nothing to say is asked before that whether it is still there, because
/// smoltcp also counts the silence of connections on which nothing is under way.
const SILENCE_LIMIT: Duration = Duration::from_secs(150);
const ASK_AFTER: Duration = Duration::from_secs(60);
/// Ports for connections made from here (RFC 6335 §6 "Port Number Ranges").
const EPHEMERAL: core::ops::Range<u16> = 49152..65535;

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

    /// Lets smoltcp deal with what is no connection's.
    fn take_base(&mut self, frame: &[u8]) {
        self.iface.poll_ingress_single(self.now, &mut self.wire.with(Some(frame)), &mut self.base);
        self.is_base_dirty = true;
        self.resume_stalled();
    }

    /// Takes what other lanes have put here.
    fn take_news(&mut self) {
        let Some(mut lane) = self.lane.take_if(|lane| lane.has_news()) else { return };
        if let Some(given) = lane.take_address() {
            self.use_address(&given);
        }
        for frame in lane.take_frames() {
            if lane.is_first() {
                lane.tell(&frame, &classify(&frame));
            }
            self.take_base(&frame);
        }
        self.lane = Some(lane);
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

    /// Gives a segment to its connection, or makes one.
    fn take_segment(&mut self, frame: &[u8], flow: Flow, is_syn: bool) {
        let mut index = self.connections.find(&flow);
        if let Some(old) = index
            && is_syn
            && self.connections.at(old).socket().state() == tcp::State::TimeWait
        {
            // The peer begins anew with the same ports (RFC 9293 §3.6.1 "Half-Closed Connections", on TIME-WAIT).
            self.free(old);
            index = None;
        }
        if index.is_none() && is_syn && self.listeners.contains_key(&flow.local.port) {
            index = self.begin(flow);
            if index.is_none() {
                self.wire.counters.refused += 1;
                return;
            }
        }
        let Some(index) = index else {
            // Nobody's: smoltcp answers with a reset where one is due.
            self.iface.poll_ingress_single(self.now, &mut self.wire.with(Some(frame)), &mut self.base);
            return;
        };
        let sockets = &mut self.connections.at(index).sockets;
        self.iface.poll_ingress_single(self.now, &mut self.wire.with(Some(frame)), sockets);
        self.soil(index);
        self.settle(index);
    }

    /// Makes a connection that waits for the handshake whose first segment has come.
    fn begin(&mut self, flow: Flow) -> Option<u32> {
        let port = flow.local.port;
        let listening = self.listeners.get(&port)?;
        if listening.waiting.len() >= listening.backlog {
            return None;
        }
        let buffers = listening.buffers;
        if self.connections.is_half_open_full() {
            self.evict_half_open();
        }
        let index = self.take_connection(buffers, flow, Stage::HalfOpen { port })?;
        let socket = self.connections.at(index).socket();
        if socket.listen(flow.local).is_err() {
            self.free(index);
            return None;
        }
        Some(index)
    }

    /// A connection with its settings; where all are in use, the place of an orphan or of an old handshake.
    fn take_connection(&mut self, buffers: Buffers, flow: Flow, stage: Stage) -> Option<u32> {
        let index = match self.connections.take(buffers, flow, stage) {
            Some(index) => index,
            None => {
                match self.connections.oldest_orphan() {
                    Some(orphan) => self.free(orphan),
                    None => self.evict_half_open(),
                }
                self.connections.take(buffers, flow, stage)?
            }
        };
        let socket = self.connections.at(index).socket();
        socket.set_timeout(Some(HANDSHAKE_LIMIT));
        socket.set_keep_alive(None);
        socket.set_nagle_enabled(false);
        socket.set_congestion_control(tcp::CongestionControl::Reno);
        Some(index)
    }

    fn evict_half_open(&mut self) {
        if let Some(oldest) = self.connections.oldest_half_open() {
            self.wire.counters.half_open_evicted += 1;
            self.free(oldest);
        }
    }

    fn free(&mut self, index: u32) {
        self.deadlines.set(index, None);
        self.connections.free(index);
    }

    /// Notes that a connection may have something to send.
    pub(crate) fn soil(&mut self, index: u32) {
        let connection = self.connections.at(index);
        if !connection.is_dirty {
            connection.is_dirty = true;
            self.dirty.push_back(index);
        }
    }

    /// Draws the conclusions from what state a connection is in.
    fn settle(&mut self, index: u32) {
        let connection = self.connections.at(index);
        let state = connection.socket().state();
        match connection.stage {
            Stage::HalfOpen { port } => match state {
                tcp::State::SynReceived => {}
                tcp::State::Listen | tcp::State::Closed => self.free(index),
                _ => self.offer(index, port),
            },
            Stage::Orphan { until } => {
                if state == tcp::State::Closed && !connection.is_dirty {
                    self.free(index);
                } else if until <= self.now {
                    connection.socket().abort();
                    self.soil(index);
                }
            }
            Stage::Waiting | Stage::Held | Stage::Free => {}
        }
    }

    /// The handshake is done: whoever accepts has one more.
    fn offer(&mut self, index: u32, port: u16) {
        let id = self.connections.id(index);
        let Some(listening) = self.listeners.get_mut(&port) else { return self.free(index) };
        // Also where enough wait: the peer was told that it is connected.
        listening.waiting.push_back(id);
        if let Some(waker) = listening.acceptor.take() {
            waker.wake();
        }
        self.connections.set_stage(index, Stage::Waiting);
        self.opened(index);
    }

    /// The handshake of a connection is done.
    pub(crate) fn opened(&mut self, index: u32) {
        self.wire.counters.opened += 1;
        let socket = self.connections.at(index).socket();
        socket.set_timeout(Some(SILENCE_LIMIT));
        socket.set_keep_alive(Some(ASK_AFTER));
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

    fn flush_base(&mut self) {
        self.is_base_dirty = false;
        self.iface.poll_maintenance(self.now);
        while self.iface.poll_egress(self.now, &mut self.wire.with(None), &mut self.base) != PollResult::None
        {
        }
        self.base_deadline = self.iface.poll_at(self.now, &self.base);
        self.follow_dhcp();
    }

    /// Takes the address that a server has given.
    fn follow_dhcp(&mut self) {
        let Some(handle) = self.dhcp else { return };
        let given = match self.base.get_mut::<dhcpv4::Socket<'_>>(handle).poll() {
            None => return,
            Some(dhcpv4::Event::Deconfigured) => Given::default(),
            // Whoever answers first is believed, but only what can be: smoltcp panics at a next hop that is no host.
            Some(dhcpv4::Event::Configured(given)) => {
                let is_host = |address: &Ipv4Address| datagram::is_host(IpAddress::Ipv4(*address));
                let address = Some(given.address).filter(|cidr| is_host(&cidr.address()));
                let servers = given.dns_servers.iter().copied().filter(is_host);
                Given {
                    address: address.map(IpCidr::Ipv4),
                    router: given.router.filter(is_host),
                    name_servers: servers.map(IpAddress::Ipv4).collect(),
                }
            }
        };
        if let Some(lane) = &self.lane {
            lane.publish(&given);
        }
        self.use_address(&given);
    }

    /// Is at this address from now on.
    fn use_address(&mut self, given: &Given) {
        let &Given { address, router, ref name_servers } = given;
        self.iface.update_ip_addrs(|addresses| {
            addresses.retain(|address| matches!(address, IpCidr::Ipv6(_)));
            // Room for one more: there were at most as many before.
            address.map(|address| addresses.push(address));
        });
        self.iface.routes_mut().remove_default_ipv4_route();
        if let Some(router) = router {
            // The route that was there is gone, so there is room.
            let _ = self.iface.routes_mut().add_default_ipv4_route(router);
        }
        self.base.get_mut::<dns::Socket<'_>>(self.dns).update_servers(name_servers);
        self.addressed.drain(..).for_each(Waker::wake);
    }

    /// Whoever waited for a hardware address tries again: one may have come.
    fn resume_stalled(&mut self) {
        for id in core::mem::take(&mut self.stalled) {
            if self.connections.named(id).is_some() {
                self.soil(id.index);
            }
        }
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

    /// The IPv4 address, once there is one.
    pub(crate) fn ipv4(&self) -> Option<Ipv4Address> {
        self.iface.ipv4_addr()
    }

    pub(crate) fn addresses(&self) -> &[IpCidr] {
        self.iface.ip_addrs()
    }

    pub(crate) fn wake_when_addressed(&mut self, waker: &Waker) {
        self.addressed.push(waker.clone());
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

    pub(crate) fn listen(&mut self, port: u16, buffers: Buffers, backlog: usize) -> Result<(), Error> {
        if self.listeners.contains_key(&port) {
            return Err(Error::PortTaken { port });
        }
        let listening = Listening { buffers, backlog, waiting: VecDeque::new(), acceptor: None };
        self.listeners.insert(port, listening);
        Ok(())
    }

    /// Listens no more; what nobody has accepted ends.
    pub(crate) fn unlisten(&mut self, port: u16) {
        let Some(listening) = self.listeners.remove(&port) else { return };
        for id in listening.waiting {
            self.let_go(id);
        }
    }

    /// A connection to `port` that nobody has accepted, or who is to be woken when there is one.
    pub(crate) fn accept(&mut self, port: u16, waker: &Waker) -> Option<Id> {
        let listening = self.listeners.get_mut(&port)?;
        let Some(id) = listening.waiting.pop_front() else {
            listening.acceptor = Some(waker.clone());
            return None;
        };
        self.connections.set_stage(id.index, Stage::Held);
        Some(id)
    }

    /// Begins a handshake with `remote`.
    pub(crate) fn connect(&mut self, remote: IpEndpoint, buffers: Buffers) -> Result<Id, Error> {
        let unreachable = Error::Unreachable { remote };
        let source = self.iface.get_source_address(&remote.addr).ok_or(unreachable)?;
        let free_port = |stack: &mut Stack| {
            let port = EPHEMERAL.start + stack.random_below(EPHEMERAL.len());
            let flow = Flow { local: IpEndpoint::new(source, port), remote };
            let is_ours = stack.lane.as_ref().is_none_or(|lane| lane.has(&flow));
            (is_ours && stack.connections.find(&flow).is_none()).then_some(flow)
        };
        let flow = (0..1000).find_map(|_| free_port(self)).ok_or(Error::TooMany)?;
        let index = self.take_connection(buffers, flow, Stage::Held).ok_or(Error::TooMany)?;
        let context = self.iface.context();
        if self.connections.at(index).socket().connect(context, remote, flow.local).is_err() {
            self.free(index);
            return Err(unreachable);
        }
        self.soil(index);
        Ok(self.connections.id(index))
    }

    /// A number below `bound` that peers cannot foresee easily (xorshift64*).
    fn random_below(&mut self, bound: usize) -> u16 {
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        let random = self.random.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        #[expect(clippy::cast_possible_truncation, reason = "below a port's bound")]
        let below = (random % bound as u64) as u16;
        below
    }

    /// The application holds a connection no more: it ends when the peer has everything, or at once where the
    /// application has not read everything (RFC 2525 §2.17 "Failure to RST on close with data pending").
    pub(crate) fn let_go(&mut self, id: Id) {
        let until = self.now + ORPHAN_LIMIT;
        let Some(connection) = self.connections.named(id) else { return };
        let socket = connection.socket();
        if socket.recv_queue() > 0 || !socket.may_send() && socket.state() == tcp::State::SynSent {
            socket.abort();
        } else {
            socket.close();
        }
        self.connections.set_stage(id.index, Stage::Orphan { until });
        self.soil(id.index);
    }

    pub(crate) fn query(&mut self, name: &str, kind: DnsQueryType) -> Result<dns::QueryHandle, Error> {
        let socket = self.base.get_mut::<dns::Socket<'_>>(self.dns);
        let query = socket.start_query(self.iface.context(), name, kind).map_err(|_| Error::BadName)?;
        self.is_base_dirty = true;
        Ok(query)
    }

    pub(crate) fn query_result(
        &mut self,
        query: dns::QueryHandle,
        waker: &Waker,
    ) -> Option<Result<Vec<IpAddress>, Error>> {
        let socket = self.base.get_mut::<dns::Socket<'_>>(self.dns);
        match socket.get_query_result(query) {
            Ok(addresses) => Some(Ok(addresses.to_vec())),
            Err(dns::GetQueryResultError::Pending) => {
                socket.register_query_waker(query, waker);
                None
            }
            Err(dns::GetQueryResultError::Failed) => Some(Err(Error::NoSuchName)),
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
