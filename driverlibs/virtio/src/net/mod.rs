//! The network device (virtio 1.2 §5.1 "Network Device"): pairs of receive and transmit queues, and a control queue.
//!
//! **Invariant: a buffer that the device had comes back to the CPU only by a completion, or after the device was
//! reset ([`Net::stop`], with which every start begins).** The queues are values of their own and may move to other
//! threads.
//!
//! Reading order: this file (open, start, stop) · [`rx`](RxQueue), [`tx`](TxQueue) and `header` (the data path) ·
//! `config` (what the device tells of itself) · `control`, `commands`, `rss` (what it is asked for) · `nic` (the face).

mod commands;
mod config;
mod control;
mod header;
mod nic;
mod rss;
mod rx;
mod tx;

pub use rx::RxQueue;
pub use tx::TxQueue;

use alloc::vec::Vec;

use weir_hal::{Clock, Device, DmaWindow, Error as HostError, Interrupt};
use weir_nic::Lane;
use weir_pool::Pool;

use crate::pci::{Identity, Pci};
use crate::queue::Queue;
use crate::transport::{Transport, negotiate, queue_entries};
use crate::{Error, Features};
use control::Control;

/// How PCI shows it; of `struct virtio_net_config` (§5.1.4 "Device configuration layout"), all up to and including
/// `status` must be there.
const IDENTITY: Identity = Identity { devices: [0x1041, 0x1000], config_bytes: 8 };

/// What to open a device with.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Most descriptors per queue; the device may have fewer. A power of two.
    pub entries: u16,
    /// Features to use where the device has them; the required ones are always used. With `MRG_RXBUF`, which is not
    /// usual, long frames arrive in several buffers.
    pub features: Features,
    /// Bind the receive queues' interrupts, for [`RxQueue::wait`], and the configuration's. Without, the device raises
    /// none.
    pub interrupt: bool,
    /// Most pairs of queues, for [`Net::open_pairs`]; the device may have fewer.
    pub pairs: u16,
}

impl Default for Options {
    fn default() -> Options {
        Options { entries: 256, features: Features::USUAL, interrupt: false, pairs: 1 }
    }
}

/// What [`Net::open`] makes: the device, its receive queue, its transmit queue.
pub type Opened<T> = (Net<T>, RxQueue<T>, TxQueue<T>);

/// What [`Net::open_pairs`] makes.
pub type OpenedPairs<T> = (Net<T>, Vec<(RxQueue<T>, TxQueue<T>)>);

/// A network device: what is not on the data path.
pub struct Net<T: Transport> {
    transport: T,
    agreed: Features,
    pairs: u16,
    control: Option<Control<T>>,
    /// Of configuration changes, and how often it had come when they were looked at.
    interrupt: Option<T::Interrupt>,
    seen: u64,
}

impl<D: Device> Net<Pci<D>> {
    /// Finds out what a PCI function is, resets it, and makes its queues. It does not run yet.
    ///
    /// # Errors
    /// `OtherDevice`, `NoCapability`, and those of [`Net::over`].
    pub fn open(
        device: D,
        window: &impl DmaWindow,
        clock: &impl Clock,
        options: &Options,
    ) -> Result<Opened<Pci<D>>, Error> {
        Net::over(Pci::new(device, &IDENTITY)?, window, clock, options)
    }

    /// The same, with several pairs of queues.
    ///
    /// # Errors
    /// As for [`Net::open`].
    pub fn open_pairs(
        device: D,
        window: &impl DmaWindow,
        clock: &impl Clock,
        options: &Options,
    ) -> Result<OpenedPairs<Pci<D>>, Error> {
        Net::pairs_over(Pci::new(device, &IDENTITY)?, window, clock, options)
    }
}

impl<T: Transport> Net<T> {
    /// Resets a network device on any transport, and makes its queues. It does not run yet.
    ///
    /// # Errors
    /// `NoFeature`, `FeaturesRefused`, `BadQueue`, and the host's.
    pub fn over(
        transport: T,
        window: &impl DmaWindow,
        clock: &impl Clock,
        options: &Options,
    ) -> Result<Opened<T>, Error> {
        let options = Options { pairs: 1, ..*options };
        let (net, mut pairs) = Net::pairs_over(transport, window, clock, &options)?;
        let (rx, tx) = pairs.pop().ok_or(HostError::OutOfRange)?;
        Ok((net, rx, tx))
    }

    /// The same, with several pairs of queues.
    ///
    /// # Errors
    /// As for [`Net::over`].
    pub fn pairs_over(
        transport: T,
        window: &impl DmaWindow,
        clock: &impl Clock,
        options: &Options,
    ) -> Result<OpenedPairs<T>, Error> {
        transport.reset(clock)?;
        // With `MQ` the control queue is somewhere else, so it is agreed on only where it is used.
        let several = Features::MQ | Features::RSS;
        let wanted = if options.pairs > 1 { options.features } else { options.features - several };
        let agreed = negotiate(&transport, wanted)?;
        let most = config::pairs_max(&transport, agreed)?;
        let pairs = options.pairs.clamp(1, most);
        let make = |pair| make_pair(&transport, window, agreed, options, pair);
        let queues = (0..pairs).map(make).collect::<Result<Vec<_>, Error>>()?;
        let control = Control::new(&transport, window, 2 * most, agreed)?;
        // Behind those of the queues.
        let interrupt = if options.interrupt { bind(&transport, pairs).ok() } else { None };
        Ok((Net { transport, agreed, pairs, control, interrupt, seen: 0 }, queues))
    }

    /// Starts the device, or starts it again after a violation: resets it, takes back what the queues had, offers
    /// buffers of `pool` for receiving. `pool` is the one that the queues were used with before.
    ///
    /// # Errors
    /// `Host(TimedOut)` or `Host(Gone)` where it does not reset: then the buffers it has stay lost. `NoFeature`,
    /// `FeaturesRefused`, `NoVector`, `BadQueue` (it shrank), and the host's.
    pub fn start(
        &mut self,
        rx: &mut RxQueue<T>,
        tx: &mut TxQueue<T>,
        pool: &mut Pool,
        clock: &impl Clock,
    ) -> Result<(), Error> {
        self.start_pairs(&mut [Lane { rx, tx, pool }], clock)
    }

    /// The same, with all pairs of queues that it was opened with.
    ///
    /// # Errors
    /// As for [`Net::start`]; `Host(OutOfRange)` where these are not all; and those of a command, where there are
    /// several.
    pub fn start_pairs(
        &mut self,
        lanes: &mut [Lane<'_, RxQueue<T>, TxQueue<T>>],
        clock: &impl Clock,
    ) -> Result<(), Error> {
        if lanes.len() != usize::from(self.pairs) {
            return Err(HostError::OutOfRange.into());
        }
        self.stop_pairs(lanes, clock)?;
        // The queues were made for what was agreed on when it was opened.
        let agreed = negotiate(&self.transport, self.agreed)?;
        if agreed != self.agreed {
            return Err(Error::FeaturesRefused);
        }
        for lane in &mut *lanes {
            self.enable_pair(lane)?;
        }
        if let Some(control) = &mut self.control {
            control.enable(&self.transport, agreed)?;
        }
        if self.interrupt.is_some() {
            self.transport.enable_config_interrupt(self.pairs)?;
        }
        self.transport.run()?;
        for lane in lanes {
            lane.rx.refill(lane.pool)?;
        }
        if self.pairs > 1 { self.use_pairs(clock) } else { Ok(()) }
    }

    fn enable_pair(&self, lane: &mut Lane<'_, RxQueue<T>, TxQueue<T>>) -> Result<(), Error> {
        lane.rx.set_features(self.agreed);
        lane.tx.queue.set_features(self.agreed);
        let vector = lane.rx.interrupt.as_ref().map(|_| lane.rx.index / 2);
        self.enable(lane.rx.index, &lane.rx.queue, vector)?;
        self.enable(lane.tx.index, &lane.tx.queue, None)
    }

    fn enable(&self, index: u16, queue: &Queue, vector: Option<u16>) -> Result<(), Error> {
        let entries = queue_entries(&self.transport, index, queue.entries())?;
        if entries != queue.entries() {
            return Err(Error::BadQueue { index, entries });
        }
        self.transport.enable_queue(index, entries, queue.addresses(), vector)
    }

    /// Stops the device: resets it and takes back what the queues had.
    ///
    /// # Errors
    /// `Host(TimedOut)` or `Host(Gone)` where it does not reset: then the buffers it has stay lost.
    pub fn stop(
        &mut self,
        rx: &mut RxQueue<T>,
        tx: &mut TxQueue<T>,
        pool: &mut Pool,
        clock: &impl Clock,
    ) -> Result<(), Error> {
        self.stop_pairs(&mut [Lane { rx, tx, pool }], clock)
    }

    /// The same, with several pairs of queues.
    ///
    /// # Errors
    /// As for [`Net::stop`].
    pub fn stop_pairs(
        &mut self,
        lanes: &mut [Lane<'_, RxQueue<T>, TxQueue<T>>],
        clock: &impl Clock,
    ) -> Result<(), Error> {
        self.transport.reset(clock)?;
        for lane in lanes {
            lane.rx.queue.empty(lane.pool);
            lane.tx.empty(lane.pool);
        }
        if let Some(control) = &mut self.control {
            control.empty();
        }
        Ok(())
    }
}

/// Makes the queues of a pair: numbers 2 × pair and the one after (§5.1.2 "Virtqueues").
fn make_pair<T: Transport>(
    transport: &T,
    window: &impl DmaWindow,
    agreed: Features,
    options: &Options,
    pair: u16,
) -> Result<(RxQueue<T>, TxQueue<T>), Error> {
    let (rx, tx) = (2 * pair, 2 * pair + 1);
    let queue = |index| {
        let entries = queue_entries(transport, index, options.entries)?;
        Ok::<_, Error>((Queue::new(window, entries, agreed)?, transport.doorbell(index)?))
    };
    let interrupt = options.interrupt.then(|| bind(transport, pair)).transpose()?;
    let (rx_queue, rx_doorbell) = queue(rx)?;
    let (tx_queue, tx_doorbell) = queue(tx)?;
    let rx = RxQueue::new(rx_queue, rx, rx_doorbell, interrupt);
    Ok((rx, TxQueue::new(window, tx_queue, tx, tx_doorbell, agreed)?))
}

/// Binds an interrupt and lets it through.
fn bind<T: Transport>(transport: &T, vector: u16) -> Result<T::Interrupt, Error> {
    let interrupt = transport.interrupt(vector)?;
    interrupt.unmask()?;
    Ok(interrupt)
}
