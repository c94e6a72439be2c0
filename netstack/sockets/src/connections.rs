//! The connections there are, and the table that finds the one a segment belongs to.
//!
//! smoltcp looks through a whole set of sockets for each packet. So each connection is a set of its own, and this table
//! stands in front: the cost of a segment does not depend on how many connections there are.
//!
//! **Invariants: at most `limit` connections have memory, and at most `half_open_limit` of them have not finished their
//! handshake · a connection that has a flow is the one that `flows` names · an [`Id`] names one connection, or none
//! once that is gone.**

use alloc::collections::VecDeque;
use alloc::vec;
use alloc::vec::Vec;

use hashbrown::HashMap;
use siphasher::sip::SipHasher13;
use smoltcp::iface::{SocketHandle, SocketSet};
use smoltcp::socket::tcp;
use smoltcp::time::Instant;

use crate::flow::Flow;

/// How much a connection remembers in each direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Buffers {
    /// Bytes received that nobody has read yet: the window that the peer is shown.
    pub rx_bytes: usize,
    /// Bytes written that the peer has not acknowledged yet.
    pub tx_bytes: usize,
}

impl Default for Buffers {
    fn default() -> Buffers {
        Buffers { rx_bytes: 16 << 10, tx_bytes: 16 << 10 }
    }
}

/// Names a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Id {
    pub(crate) index: u32,
    generation: u32,
}

/// Who cares for a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Nobody: it is not in use.
    Free,
    /// Its handshake with the listener of this port is under way.
    HalfOpen { port: u16 },
    /// It waits to be accepted.
    Waiting,
    /// An application holds it.
    Held,
    /// The application has let it go; given up at the latest then.
    Orphan { until: Instant },
}

/// One connection.
pub(crate) struct Connection {
    /// The socket alone.
    pub(crate) sockets: SocketSet<'static>,
    handle: SocketHandle,
    buffers: Buffers,
    flow: Option<Flow>,
    generation: u32,
    pub(crate) stage: Stage,
    /// It is in the queue of those that may have something to send.
    pub(crate) is_dirty: bool,
}

impl Connection {
    fn new(buffers: Buffers) -> Connection {
        let buffer = |bytes| tcp::SocketBuffer::new(vec![0; bytes]);
        let mut sockets = SocketSet::new(Vec::with_capacity(1));
        let handle = sockets.add(tcp::Socket::new(buffer(buffers.rx_bytes), buffer(buffers.tx_bytes)));
        Connection {
            sockets,
            handle,
            buffers,
            flow: None,
            generation: 0,
            stage: Stage::Free,
            is_dirty: false,
        }
    }

    pub(crate) fn socket(&mut self) -> &mut tcp::Socket<'static> {
        self.sockets.get_mut(self.handle)
    }
}

/// All connections.
pub(crate) struct Connections {
    slots: Vec<Connection>,
    free: Vec<u32>,
    flows: HashMap<Flow, u32, Keyed>,
    /// Handshakes in the order in which they began, and what were such.
    half_open: VecDeque<Id>,
    half_open_count: usize,
    half_open_limit: usize,
    /// Orphans, the oldest first, and what were such.
    orphans: VecDeque<Id>,
    limit: usize,
}

/// Hashes with a secret key, so that nobody can choose flows that collide.
struct Keyed(u64, u64);

impl core::hash::BuildHasher for Keyed {
    type Hasher = SipHasher13;
    fn build_hasher(&self) -> SipHasher13 {
        SipHasher13::new_with_keys(self.0, self.1)
    }
}

impl Connections {
    pub(crate) fn new(limit: usize, half_open_limit: usize, seed: u64) -> Connections {
        Connections {
            slots: Vec::new(),
            free: Vec::new(),
            flows: HashMap::with_hasher(Keyed(seed, seed.rotate_left(32) ^ 0x9e37_79b9_7f4a_7c15)),
            half_open: VecDeque::new(),
            half_open_count: 0,
            half_open_limit,
            orphans: VecDeque::new(),
            limit,
        }
    }

    pub(crate) fn find(&self, flow: &Flow) -> Option<u32> {
        self.flows.get(flow).copied()
    }

    pub(crate) fn at(&mut self, index: u32) -> &mut Connection {
        &mut self.slots[index as usize]
    }

    /// The connection that `id` names, if it is still there.
    pub(crate) fn named(&mut self, id: Id) -> Option<&mut Connection> {
        self.slots.get_mut(id.index as usize).filter(|connection| connection.generation == id.generation)
    }

    pub(crate) fn id(&self, index: u32) -> Id {
        Id { index, generation: self.slots[index as usize].generation }
    }

    /// How many are in use.
    pub(crate) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// How many have not finished their handshake.
    pub(crate) fn half_open(&self) -> usize {
        self.half_open_count
    }

    /// Whether a handshake has to make room for another one.
    pub(crate) fn is_half_open_full(&self) -> bool {
        self.half_open_count >= self.half_open_limit
    }

    /// A connection for `flow`, closed; `None` where all are in use.
    pub(crate) fn take(&mut self, buffers: Buffers, flow: Flow, stage: Stage) -> Option<u32> {
        let index = match self.free.pop() {
            Some(index) => index,
            None if self.slots.len() < self.limit => {
                self.slots.push(Connection::new(buffers));
                u32::try_from(self.slots.len() - 1).ok()?
            }
            None => return None,
        };
        let connection = self.at(index);
        if connection.buffers != buffers {
            let generation = connection.generation;
            *connection = Connection { generation, ..Connection::new(buffers) };
        }
        connection.flow = Some(flow);
        connection.stage = stage;
        self.flows.insert(flow, index);
        if is_half_open(stage) {
            self.half_open_count += 1;
            let id = self.id(index);
            note(&mut self.half_open, id, self.limit, |id| is_at(&self.slots, *id, is_half_open));
        }
        Some(index)
    }

    /// Gives the connection to somebody else's care.
    pub(crate) fn set_stage(&mut self, index: u32, stage: Stage) {
        let was = core::mem::replace(&mut self.at(index).stage, stage);
        if is_half_open(was) {
            self.half_open_count -= 1;
        }
        if is_orphan(stage) {
            let id = self.id(index);
            note(&mut self.orphans, id, self.limit, |id| is_at(&self.slots, *id, is_orphan));
        }
    }

    /// Forgets the connection; whoever names it finds nothing.
    pub(crate) fn free(&mut self, index: u32) {
        self.set_stage(index, Stage::Free);
        let connection = self.at(index);
        connection.generation = connection.generation.wrapping_add(1);
        connection.socket().abort();
        // The set remembers which neighbour a socket's packets wait for, and would have the next peer's wait as long.
        let socket = connection.sockets.remove(connection.handle);
        connection.handle = connection.sockets.add(socket);
        if let Some(flow) = connection.flow.take() {
            self.flows.remove(&flow);
        }
        self.free.push(index);
    }

    /// The handshake that has taken longest.
    pub(crate) fn oldest_half_open(&mut self) -> Option<u32> {
        first(&mut self.half_open, |id| is_at(&self.slots, id, is_half_open))
    }

    /// The connection that nobody has held for longest.
    pub(crate) fn oldest_orphan(&mut self) -> Option<u32> {
        first(&mut self.orphans, |id| is_at(&self.slots, id, is_orphan))
    }
}

fn is_half_open(stage: Stage) -> bool {
    matches!(stage, Stage::HalfOpen { .. })
}

fn is_orphan(stage: Stage) -> bool {
    matches!(stage, Stage::Orphan { .. })
}

/// Whether `id` still names a connection, and one at such a stage.
fn is_at(slots: &[Connection], id: Id, is_meant: fn(Stage) -> bool) -> bool {
    let slot = &slots[id.index as usize];
    slot.generation == id.generation && is_meant(slot.stage)
}

/// Takes out the first that is what the queue is of.
fn first(queue: &mut VecDeque<Id>, is_current: impl Fn(Id) -> bool) -> Option<u32> {
    while let Some(id) = queue.pop_front() {
        if is_current(id) {
            return Some(id.index);
        }
    }
    None
}

/// Appends to a queue in which what has gone stays until it is met; sweeps it before it becomes long.
fn note(queue: &mut VecDeque<Id>, id: Id, limit: usize, is_current: impl Fn(&Id) -> bool) {
    if queue.len() >= 2 * limit {
        queue.retain(is_current);
    }
    queue.push_back(id);
}
