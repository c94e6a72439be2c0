//! The control queue (virtio 1.2 §5.1.6.5 "Control Virtqueue"): what is asked of the device, one command at a time.
//!
//! **Invariant: a command is answered, or its buffers stay with the device until it is reset.** Never on the data path:
//! a command waits.

use weir_hal::{Clock, DmaWindow, Error as HostError, wait_until};
use weir_pool::{BUF_BYTES, Buf, HEADROOM_BYTES, InFlight, Pool};

use crate::queue::{Access, Offer, Queue, Tables, Virtqueue, with_queue};
use crate::transport::queue_entries;
use crate::{Error, Features, Transport, Violation};

/// Commands are one at a time.
const ENTRIES: u16 = 4;
/// A question and its answer.
const BUFFERS: usize = 2;
/// How long a device may take for a command: a busy machine's software device takes its time.
const LIMIT_US: u64 = 5_000_000;
/// `VIRTIO_NET_OK`.
const OK: u8 = 0;
const NO_ANSWER: u8 = 0xff;

/// A command: its class, and its number in that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Command(pub(super) u8, pub(super) u8);

impl Command {
    /// `VIRTIO_NET_CTRL_RX` (§5.1.6.5.1).
    pub(super) const PROMISCUOUS: Command = Command(0, 0);
    pub(super) const ALL_MULTICAST: Command = Command(0, 1);
    /// `VIRTIO_NET_CTRL_MAC` (§5.1.6.5.2).
    pub(super) const MAC_ADDRESS: Command = Command(1, 1);
    /// `VIRTIO_NET_CTRL_ANNOUNCE` (§5.1.6.5.4).
    pub(super) const ANNOUNCED: Command = Command(3, 0);
    /// `VIRTIO_NET_CTRL_MQ` (§5.1.6.5.5).
    pub(super) const PAIRS: Command = Command(4, 0);
    pub(super) const RSS: Command = Command(4, 1);
}

/// The queue, with buffers of its own.
pub(super) struct Control<T: Transport> {
    queue: Queue,
    index: u16,
    doorbell: T::Doorbell,
    tables: Tables,
    pool: Pool,
}

impl<T: Transport> Control<T> {
    /// Makes queue `index`; `None` where the device has none, or takes no tables.
    pub(super) fn new(
        transport: &T,
        window: &impl DmaWindow,
        index: u16,
        features: Features,
    ) -> Result<Option<Control<T>>, Error> {
        let needed = Features::CTRL_VQ | Features::INDIRECT_DESC;
        if !features.contains(needed) || transport.read_queue_entries(index) == 0 {
            return Ok(None);
        }
        let queue = Queue::new(window, queue_entries(transport, index, ENTRIES)?, features)?;
        let tables = Tables::new(window, &queue, 1)?;
        let pool = Pool::new(window.allocate(BUFFERS * usize::from(BUF_BYTES))?)?;
        Ok(Some(Control { queue, index, doorbell: transport.doorbell(index)?, tables, pool }))
    }

    pub(super) fn empty(&mut self) {
        self.queue.empty(&mut self.pool);
        self.tables.empty(&mut self.pool, self.queue.entries());
    }

    /// Gives it to a device that has been reset.
    pub(super) fn enable(&mut self, transport: &T, features: Features) -> Result<(), Error> {
        self.queue.set_features(features);
        let entries = self.queue.entries();
        if queue_entries(transport, self.index, entries)? != entries {
            return Err(Error::BadQueue { index: self.index, entries });
        }
        transport.enable_queue(self.index, entries, self.queue.addresses(), None)
    }

    /// Gives a command to the device and waits for its answer.
    pub(super) fn send(&mut self, command: Command, data: &[u8], clock: &impl Clock) -> Result<(), Error> {
        let Command(class, number) = command;
        if !self.tables.has_free() {
            // One that was never answered has the buffers, until the next start.
            return Err(HostError::Busy.into());
        }
        let question = self.buffer(&[&[class, number], data].concat())?;
        let answer = self.buffer(&[NO_ANSWER])?;
        self.offer(question, answer)?;
        let mut seen = Ok(false);
        wait_until(clock, LIMIT_US, || {
            seen = self.queue.has_completed();
            seen != Ok(false)
        })?;
        seen?;
        if self.take_answer()? == OK { Ok(()) } else { Err(Error::Refused { class, number }) }
    }

    fn buffer(&mut self, bytes: &[u8]) -> Result<Buf, Error> {
        let mut buf = self.pool.take().ok_or(HostError::NoMemory)?;
        let len = u16::try_from(bytes.len()).map_err(|_| HostError::OutOfRange)?;
        if !buf.set_len(len) {
            self.pool.put(buf);
            return Err(HostError::OutOfRange.into());
        }
        buf.frame_mut().copy_from_slice(bytes);
        Ok(buf)
    }

    fn offer(&mut self, question: Buf, answer: Buf) -> Result<(), Error> {
        let pool = &self.pool;
        let lend = |(buf, access): (Buf, Access)| {
            let len = buf.len().into();
            pool.lend(buf).ok().map(|(buffer, addr)| (Offer { buffer, addr, len }, access))
        };
        let parts = [(question, Access::Reads), (answer, Access::Writes)].into_iter().filter_map(lend);
        let (offer, table) = self.tables.fill(parts).ok_or(HostError::Busy)?;
        let mut offer = Some(offer);
        with_queue!(&mut self.queue, queue => {
            let id = queue.add(1, Access::Table, || offer.take());
            self.tables.belongs_to(table, id);
            queue.publish(&self.doorbell, self.index);
        });
        Ok(())
    }

    /// The first byte of the answer.
    fn take_answer(&mut self) -> Result<u8, Error> {
        let (tables, pool) = (&mut self.tables, &mut self.pool);
        let mut answer = None;
        with_queue!(&mut self.queue, queue => queue.reclaim(|id, question| {
            pool.put(question.complete_empty());
            tables.take_back(id, |buffer| answer = first_byte(buffer, pool));
        }))?;
        answer.ok_or(Violation::UsedLength { len: 0 }.into())
    }
}

fn first_byte(buffer: InFlight, pool: &mut Pool) -> Option<u8> {
    let buf = buffer.complete(HEADROOM_BYTES, 1).unwrap_or_else(InFlight::complete_empty);
    let byte = buf.frame().first().copied();
    pool.put(buf);
    byte
}
