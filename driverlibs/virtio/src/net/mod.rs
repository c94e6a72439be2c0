//! The network device (virtio 1.2 §5.1 "Network Device"): one receive and one transmit queue.
//!
//! **Invariant: a buffer that the device had comes back to the CPU only by a completion, or after the device was
//! reset ([`Net::stop`], with which every start begins).** The queues are values of their own and may move to other
//! threads. Frames are plain: no checksum or segmentation offload, no merged buffers.

mod nic;
mod rx;
mod tx;

pub use rx::RxQueue;
pub use tx::TxQueue;

use weir_hal::{Clock, Device, DmaWindow, Interrupt};
use weir_pool::Pool;

use crate::pci::{Identity, Pci};
use crate::queue::SplitQueue;
use crate::transport::{Status, Transport, negotiate, queue_entries, read_whole};
use crate::{Error, Features};

/// How PCI shows it; of `struct virtio_net_config` (§5.1.4 "Device configuration layout"), all up to and including
/// `status` must be there.
const IDENTITY: Identity = Identity { devices: [0x1041, 0x1000], config_bytes: 8 };
/// Queue numbers (§5.1.2 "Virtqueues").
const RX: u16 = 0;
const TX: u16 = 1;
/// MSI-X table entry of the receive queue; the others raise no interrupts.
const RX_VECTOR: u16 = 0;
/// Offset of `status` in the configuration.
const CONFIG_STATUS: u64 = 6;
const STATUS_LINK_UP: u16 = 1;
/// `struct virtio_net_hdr` without hash report (§5.1.6 "Device Operation").
const HEADER_BYTES: u16 = 12;

/// What to open a device with.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Most descriptors per queue; the device may have fewer. A power of two.
    pub entries: u16,
    /// Features to use where the device has them; the required ones are always used.
    pub features: Features,
    /// Bind the receive queue's interrupt, for [`RxQueue::wait`]. Without, the device raises none.
    pub interrupt: bool,
}

impl Default for Options {
    fn default() -> Options {
        Options { entries: 256, features: Features::all(), interrupt: false }
    }
}

/// What [`Net::open`] makes: the device, its receive queue, its transmit queue.
pub type Opened<T> = (Net<T>, RxQueue<T>, TxQueue<T>);

/// A network device: what is not on the data path.
pub struct Net<T: Transport> {
    transport: T,
    wanted: Features,
    agreed: Features,
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
        transport.reset(clock)?;
        let agreed = negotiate(&transport, options.features)?;
        let queue = |index| {
            let entries = queue_entries(&transport, index, options.entries)?;
            Ok::<_, Error>((SplitQueue::new(window, entries)?, transport.doorbell(index)?))
        };
        let (rx_queue, rx_doorbell) = queue(RX)?;
        let (tx_queue, tx_doorbell) = queue(TX)?;
        let interrupt = options.interrupt.then(|| transport.interrupt(RX_VECTOR)).transpose()?;
        if let Some(interrupt) = &interrupt {
            interrupt.unmask()?;
        }
        let rx = RxQueue::new(rx_queue, rx_doorbell, interrupt);
        let tx = TxQueue::new(tx_queue, tx_doorbell);
        Ok((Net { transport, wanted: options.features, agreed }, rx, tx))
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
        self.stop(rx, tx, pool, clock)?;
        self.agreed = negotiate(&self.transport, self.wanted)?;
        rx.queue.set_features(self.agreed);
        tx.queue.set_features(self.agreed);
        tx.is_in_order = self.agreed.contains(Features::IN_ORDER);
        let vector = rx.interrupt.as_ref().map(|_| RX_VECTOR);
        self.enable(RX, &rx.queue, vector)?;
        self.enable(TX, &tx.queue, None)?;
        self.transport.run()?;
        rx.refill(pool)
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
        self.transport.reset(clock)?;
        rx.queue.empty(pool);
        tx.queue.empty(pool);
        Ok(())
    }

    fn enable(&self, index: u16, queue: &SplitQueue, vector: Option<u16>) -> Result<(), Error> {
        let entries = queue_entries(&self.transport, index, queue.entries())?;
        if entries != queue.entries() {
            return Err(Error::BadQueue { index, entries });
        }
        self.transport.enable_queue(index, entries, queue.addresses(), vector)
    }

    /// What driver and device agreed on.
    #[must_use]
    pub fn features(&self) -> Features {
        self.agreed
    }

    /// The device's MAC address; `None` where it has none (virtio 1.2 §5.1.5 "Device Initialization").
    ///
    /// # Errors
    /// The host's.
    pub fn read_mac(&self) -> Result<Option<[u8; 6]>, Error> {
        if !self.agreed.contains(Features::NET_MAC) {
            return Ok(None);
        }
        let mac = read_whole(&self.transport, |transport| {
            let mut mac = [0; 6];
            for (offset, byte) in mac.iter_mut().enumerate() {
                *byte = transport.read_config(offset as u64)?;
            }
            Ok(mac)
        })?;
        Ok(Some(mac))
    }

    /// Whether the link is up; a device that does not tell is taken to have one (§5.1.4.2). Costs a register read.
    ///
    /// # Errors
    /// The host's.
    pub fn read_link_up(&self) -> Result<bool, Error> {
        if !self.agreed.contains(Features::NET_STATUS) {
            return Ok(true);
        }
        let status: u16 = read_whole(&self.transport, |transport| transport.read_config(CONFIG_STATUS))?;
        Ok(status & STATUS_LINK_UP != 0)
    }

    /// Whether the device says that it stopped after an error, or is gone. Costs a register read.
    #[must_use]
    pub fn has_stopped(&self) -> bool {
        self.transport.read_status().contains(Status::NEEDS_RESET)
    }
}
