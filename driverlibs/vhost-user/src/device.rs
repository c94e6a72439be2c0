//! A back end as a virtio device.
//!
//! **Invariant: queues are told to a back end in the order memory, addresses, event files, enabling; and a queue counts
//! as stopped only when the back end has answered `GET_VRING_BASE`, or the connection is closed** (vhost-user "Ring
//! states"). Starting anew where the back end is gone connects anew, so that a driver survives a back end's restart by
//! the same call that follows a violation.

use std::cell::Cell;
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use weir_hal::{Clock, Error as HostError, Word};
use weir_virtio::{Error as VirtioError, Features, QueueAddresses, Status, Transport};

use crate::connection::{Connection, Link};
use crate::event::{Event, event};
use crate::message::{
    ConfigField, HAS_PROTOCOL_FEATURES, MemTable, NO_EVENT, Request, VringAddr, VringState, protocol,
};
use crate::{Call, Error, Kick, Window};

/// Most entries a queue can have (virtio 1.2 §2.7 "Split Virtqueues"); the back end is not asked.
const MOST_ENTRIES: u16 = 1 << 15;
/// `VIRTIO_F_RING_PACKED` (virtio 1.2 §6).
const RING_PACKED: u64 = 1 << 34;
/// `SET_VRING_BASE` of a packed ring: both positions 0, both wrap counters 1 (vhost-user, as QEMU and DPDK use it).
const PACKED_BASE: u32 = 0x8000_8000;
/// How long to wait between two tries to connect.
const PAUSE: Duration = Duration::from_millis(10);

/// What to expect of a back end.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Queues the device has: two per pair for a network device.
    pub queues: u16,
    /// Queues that the back end counts as one where it is asked how many it has, and that share an interrupt vector:
    /// two for a network device, which counts pairs.
    pub queues_per_unit: u16,
    /// Features that are not offered to the driver, whatever the back end says.
    pub without: Features,
    /// How long the back end may take for an answer, or to come (back).
    pub limit: Duration,
}

impl Options {
    /// One pair of queues. Without what belongs to the control queue: in vhost-user the front end would have to play it.
    #[must_use]
    pub fn net() -> Options {
        // virtio 1.2 §5.1.3: CTRL_VQ, CTRL_RX, CTRL_VLAN, GUEST_ANNOUNCE, MQ, CTRL_MAC_ADDR, NOTF_COAL, HASH_REPORT, RSS.
        let control = [17, 18, 19, 21, 22, 23, 53, 57, 60].iter().fold(0, |bits, bit| bits | 1 << bit);
        Options {
            queues: 2,
            queues_per_unit: 2,
            without: Features::from_bits_truncate(control),
            limit: Duration::from_secs(2),
        }
    }
}

/// Where the back end is.
enum Place {
    /// It listens here.
    Connect(PathBuf),
    /// It connects to us.
    Accept(UnixListener),
}

/// A queue's doorbell, and whether the back end has it.
struct Queue {
    kick: Event,
    is_given: Cell<bool>,
}

/// A virtio device that another process plays.
pub struct VhostUser {
    place: Place,
    window: Window,
    options: Options,
    link: Arc<Link>,
    queues: Vec<Queue>,
    /// By interrupt vector.
    calls: Vec<Event>,
    /// The back end has no status register in this version of the protocol: kept here.
    status: Cell<Status>,
    has_accepted: Cell<bool>,
    is_packed: Cell<bool>,
}

impl VhostUser {
    /// Connects to a back end that listens on the socket `path`.
    ///
    /// # Errors
    /// It does not come in time, or does not speak the protocol.
    pub fn connect(path: &Path, window: &Window, options: Options) -> Result<VhostUser, Error> {
        VhostUser::new(Place::Connect(path.to_owned()), window, options)
    }

    /// Listens on a new socket `path` and waits for a back end to connect.
    ///
    /// # Errors
    /// It does not come in time, or does not speak the protocol; the path is taken.
    pub fn listen(path: &Path, window: &Window, options: Options) -> Result<VhostUser, Error> {
        let listener = UnixListener::bind(path)?;
        listener.set_nonblocking(true)?;
        VhostUser::new(Place::Accept(listener), window, options)
    }

    fn new(place: Place, window: &Window, options: Options) -> Result<VhostUser, Error> {
        let queue = |_| Ok(Queue { kick: event()?, is_given: Cell::new(false) });
        let vectors = options.queues / options.queues_per_unit.max(1);
        let device = VhostUser {
            place,
            window: window.clone(),
            options,
            link: Arc::default(),
            queues: (0..options.queues).map(queue).collect::<Result<_, Error>>()?,
            calls: (0..vectors).map(|_| event()).collect::<Result<_, _>>()?,
            status: Cell::new(Status::RESET),
            has_accepted: Cell::new(false),
            is_packed: Cell::new(false),
        };
        device.meet()?;
        Ok(device)
    }

    /// Waits for the back end and greets it.
    fn meet(&self) -> Result<(), Error> {
        self.link.set(None);
        let deadline = Instant::now() + self.options.limit;
        let stream = match &self.place {
            Place::Connect(path) => connect(path, deadline)?,
            Place::Accept(listener) => accept(listener, deadline)?,
        };
        let connection = Connection::new(stream, self.options.limit)?;
        if connection.has(protocol::MQ) {
            let units: u64 = connection.ask(Request::GetQueueNum, &())?;
            if units.saturating_mul(self.options.queues_per_unit.into()) < self.options.queues.into() {
                return Err(Error::BadQueues { queues: units });
            }
        }
        self.queues.iter().for_each(|queue| queue.is_given.set(false));
        self.link.set(Some(connection));
        Ok(())
    }

    /// Talks to the back end. Where that fails the connection is closed, unless the back end merely refused.
    fn with<R>(&self, talk: impl FnOnce(&Connection) -> Result<R, Error>) -> Result<R, HostError> {
        let connection = self.link.connection().ok_or(HostError::Gone)?;
        talk(&connection).map_err(|error| {
            if !error.leaves_connection() {
                self.link.set(None);
            }
            error.into()
        })
    }

    fn stop(&self, connection: &Connection) -> Result<(), Error> {
        for (index, queue) in (0..).zip(&self.queues).filter(|(_, queue)| queue.is_given.get()) {
            self.set_enabled(connection, index, false)?;
            let state = VringState { index, number: 0 };
            let stopped: VringState = connection.ask(Request::GetVringBase, &state)?;
            if stopped.index != index {
                return Err(Error::Refused { request: Request::GetVringBase as u32 });
            }
            queue.is_given.set(false);
        }
        if connection.has(protocol::RESET_DEVICE) {
            connection.tell(Request::ResetDevice, &(), None)?;
        }
        Ok(())
    }

    fn set_enabled(&self, connection: &Connection, index: u32, on: bool) -> Result<(), Error> {
        // Without protocol features a ring is always enabled ("Ring states").
        if connection.features & HAS_PROTOCOL_FEATURES == 0 {
            return Ok(());
        }
        connection.tell(Request::SetVringEnable, &VringState { index, number: on.into() }, None)
    }

    fn accept_features(&self, connection: &Connection, features: Features) -> Result<(), Error> {
        let bits = features.bits() | connection.features & HAS_PROTOCOL_FEATURES;
        self.is_packed.set(bits & RING_PACKED != 0);
        connection.tell(Request::SetFeatures, &bits, None)?;
        let table = MemTable {
            regions: 1,
            padding: 0,
            guest_address: self.window.address(),
            bytes: self.window.bytes() as u64,
            user_address: self.window.address(),
            offset: 0,
        };
        connection.tell(Request::SetMemTable, &table, Some(self.window.file()))
    }

    fn give(
        &self,
        connection: &Connection,
        index: u16,
        entries: u16,
        at: QueueAddresses,
        call: Option<&Event>,
    ) -> Result<(), Error> {
        let queue = &self.queues[usize::from(index)];
        let index = u32::from(index);
        let state = |number| VringState { index, number };
        let base = if self.is_packed.get() { PACKED_BASE } else { 0 };
        let (desc, used, available) = (at.desc.0, at.device.0, at.driver.0);
        let address = VringAddr { index, flags: 0, desc, used, available, log: 0 };
        queue.is_given.set(true);
        connection.tell(Request::SetVringNum, &state(entries.into()), None)?;
        connection.tell(Request::SetVringBase, &state(base), None)?;
        connection.tell(Request::SetVringAddr, &address, None)?;
        let word = u64::from(index);
        let calls = if call.is_some() { word } else { word | NO_EVENT };
        connection.tell(Request::SetVringCall, &calls, call.map(|event| event.as_fd()))?;
        connection.tell(Request::SetVringKick, &word, Some(queue.kick.as_fd()))
    }

    fn queue(&self, index: u16) -> Result<&Queue, VirtioError> {
        self.queues.get(usize::from(index)).ok_or(HostError::OutOfRange.into())
    }
}

impl Transport for VhostUser {
    /// The back end sees the window only, whatever it says: it needs no further promise.
    const REQUIRED: Features = Features::VERSION_1;
    type Doorbell = Kick;
    type Interrupt = Call;

    /// Stops every queue; where the back end is gone, waits for it to be there again.
    fn reset(&self, _clock: &impl Clock) -> Result<(), VirtioError> {
        self.status.set(Status::RESET);
        self.has_accepted.set(false);
        if self.with(|connection| self.stop(connection)).is_err() {
            self.meet().map_err(HostError::from)?;
        }
        Ok(())
    }

    fn read_status(&self) -> Status {
        if self.link.connection().is_some() { self.status.get() } else { Status::GONE }
    }

    fn write_status(&self, status: Status) {
        let is_agreed = self.has_accepted.get() || !status.contains(Status::FEATURES_OK);
        self.status.set(if is_agreed { status } else { Status(status.0 & !Status::FEATURES_OK.0) });
    }

    fn read_features(&self) -> Features {
        let Some(connection) = self.link.connection() else { return Features::all() };
        // Bits 3, 5 and 16 of a network device, MTU, MAC address and link, are fields of the configuration.
        let fields = Features::from_bits_truncate(1 << 3 | 1 << 5 | 1 << 16);
        let unreadable = if connection.has(protocol::CONFIG) { Features::empty() } else { fields };
        let offered = Features::from_bits_truncate(connection.features & !HAS_PROTOCOL_FEATURES);
        offered - Features::ACCESS_PLATFORM - self.options.without - unreadable
    }

    fn write_features(&self, features: Features) {
        let told = self.with(|connection| self.accept_features(connection, features));
        self.has_accepted.set(told.is_ok());
    }

    fn read_queue_entries(&self, index: u16) -> u16 {
        if index < self.options.queues { MOST_ENTRIES } else { 0 }
    }

    fn doorbell(&self, index: u16) -> Result<Kick, VirtioError> {
        Ok(Kick { event: self.queue(index)?.kick.clone() })
    }

    /// There is a vector per pair of queues of a network device, else one per queue; none for the configuration.
    fn interrupt(&self, vector: u16) -> Result<Call, VirtioError> {
        let call = self.calls.get(usize::from(vector)).ok_or(HostError::OutOfRange)?;
        Ok(Call::new(call.clone(), self.link.clone()))
    }

    fn enable_queue(
        &self,
        index: u16,
        entries: u16,
        addresses: QueueAddresses,
        vector: Option<u16>,
    ) -> Result<(), VirtioError> {
        self.queue(index)?;
        let call =
            vector.map(|vector| self.calls.get(usize::from(vector)).ok_or(VirtioError::NoVector { index }));
        let call = call.transpose()?;
        Ok(self.with(|connection| self.give(connection, index, entries, addresses, call))?)
    }

    fn run(&self) -> Result<(), VirtioError> {
        self.with(|connection| {
            let given = (0..).zip(&self.queues).filter(|(_, queue)| queue.is_given.get());
            given.map(|(index, _)| index).try_for_each(|index| self.set_enabled(connection, index, true))
        })?;
        self.status.set(Status::RUNS);
        Ok(())
    }

    fn read_config<W: Word>(&self, offset: u64) -> Result<W, VirtioError> {
        Ok(self.with(|connection| read_field(connection, offset, size_of::<W>())).map(W::truncated)?)
    }

    /// The protocol has none: a field is read by one message.
    fn read_generation(&self) -> u8 {
        0
    }
}

impl Drop for VhostUser {
    /// Ends the connection, with which a back end stops, and wakes who sleeps.
    fn drop(&mut self) {
        self.link.set(None);
    }
}

/// A field of 1, 2, 4 or 8 bytes; the device's configuration is little-endian.
fn read_field(connection: &Connection, offset: u64, bytes: usize) -> Result<u64, Error> {
    match bytes {
        1 => read_bytes::<1>(connection, offset).map(|[byte]| byte.into()),
        2 => read_bytes(connection, offset).map(|value| u16::from_le_bytes(value).into()),
        4 => read_bytes(connection, offset).map(|value| u32::from_le_bytes(value).into()),
        _ => read_bytes(connection, offset).map(u64::from_le_bytes),
    }
}

fn read_bytes<const N: usize>(connection: &Connection, offset: u64) -> Result<[u8; N], Error> {
    let refused = Error::Refused { request: Request::GetConfig as u32 };
    if !connection.has(protocol::CONFIG) {
        return Err(refused);
    }
    let offset = u32::try_from(offset).map_err(|_| refused)?;
    let bytes = u32::try_from(N).map_err(|_| refused)?;
    let field = ConfigField { offset, bytes, flags: 0, value: [0; N] };
    let answer: ConfigField<N> = connection.ask(Request::GetConfig, &field)?;
    if (answer.offset, answer.bytes) == (offset, bytes) { Ok(answer.value) } else { Err(refused) }
}

fn connect(path: &Path, deadline: Instant) -> Result<UnixStream, Error> {
    loop {
        match UnixStream::connect(path) {
            Ok(stream) => return Ok(stream),
            Err(error) if Instant::now() >= deadline => return Err(error.into()),
            Err(_) => sleep(PAUSE),
        }
    }
}

fn accept(listener: &UnixListener, deadline: Instant) -> Result<UnixStream, Error> {
    let left = Timespec::try_from(deadline.saturating_duration_since(Instant::now()));
    let left = left.map_err(|_| Error::System(std::io::ErrorKind::InvalidInput))?;
    poll(&mut [PollFd::from_borrowed_fd(listener.as_fd(), PollFlags::IN)], Some(&left))?;
    let (stream, _) = listener.accept()?;
    stream.set_nonblocking(false)?;
    Ok(stream)
}
