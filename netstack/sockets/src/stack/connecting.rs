//! Connections: how they begin, who gets them, how they end.

use alloc::collections::VecDeque;
use core::task::Waker;

use smoltcp::socket::tcp;
use smoltcp::time::Duration;
use smoltcp::wire::IpEndpoint;

use super::{Listening, Stack};
use crate::Error;
use crate::connections::{Buffers, Id, Stage};
use crate::flow::Flow;

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

impl Stack {
    /// Gives a segment to its connection, or makes one.
    pub(super) fn take_segment(&mut self, frame: &[u8], flow: Flow, is_syn: bool) {
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
    pub(super) fn begin(&mut self, flow: Flow) -> Option<u32> {
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
    pub(super) fn take_connection(&mut self, buffers: Buffers, flow: Flow, stage: Stage) -> Option<u32> {
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

    pub(super) fn evict_half_open(&mut self) {
        if let Some(oldest) = self.connections.oldest_half_open() {
            self.wire.counters.half_open_evicted += 1;
            self.free(oldest);
        }
    }

    pub(super) fn free(&mut self, index: u32) {
        self.deadlines.set(index, None);
        self.connections.free(index);
    }

    /// Draws the conclusions from what state a connection is in.
    pub(super) fn settle(&mut self, index: u32) {
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
    pub(super) fn offer(&mut self, index: u32, port: u16) {
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
    pub(super) fn random_below(&mut self, bound: usize) -> u16 {
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
}
