//! The face shared with other network devices.

use weir_hal::{Clock, Device, DeviceInfo, DmaWindow, Iova};
use weir_nic::{Lane, MultiQueue, Nic, NicError, Offloads, OpenedPairs, Queues, Rss, TxOffload};
use weir_pool::{Buf, Burst, Pool};

use super::{IDENTITY, Net, Opened, Options, RxQueue, TxQueue};
use crate::Features;
use crate::{Error, Pci, Transport};

impl NicError for Error {
    fn is_violation(&self) -> bool {
        matches!(self, Error::Violation(_))
    }
}

impl From<Queues> for Options {
    fn from(Queues { interrupt, entries, long_frames }: Queues) -> Options {
        let mut options = Options { interrupt, ..Options::default() };
        options.entries = entries.unwrap_or(options.entries);
        options.features.set(Features::MRG_RXBUF, long_frames);
        options
    }
}

impl<D: Device> Nic for Net<Pci<D>> {
    type Device = D;
    type Rx = RxQueue<Pci<D>>;
    type Tx = TxQueue<Pci<D>>;
    type Error = Error;

    fn is_for(info: &DeviceInfo) -> bool {
        IDENTITY.is(info)
    }

    fn open(
        device: D,
        window: &impl DmaWindow,
        clock: &impl Clock,
        queues: Queues,
    ) -> Result<Opened<Pci<D>>, Error> {
        Net::open(device, window, clock, &queues.into())
    }

    fn start(
        &mut self,
        rx: &mut RxQueue<Pci<D>>,
        tx: &mut TxQueue<Pci<D>>,
        pool: &mut Pool,
        clock: &impl Clock,
    ) -> Result<(), Error> {
        Net::start(self, rx, tx, pool, clock)
    }

    fn read_mac(&self) -> Result<Option<[u8; 6]>, Error> {
        Net::read_mac(self)
    }

    fn read_link_up(&self) -> Result<bool, Error> {
        Net::read_link_up(self)
    }

    fn offloads(&self) -> Offloads {
        Net::offloads(self)
    }

    fn has_news(&mut self) -> bool {
        Net::has_news(self)
    }

    fn has_stopped(&self) -> bool {
        Net::has_stopped(self)
    }
}

impl<D: Device + 'static> MultiQueue for Net<Pci<D>> {
    fn open_pairs(
        device: D,
        window: &impl DmaWindow,
        clock: &impl Clock,
        pairs: u16,
        queues: Queues,
    ) -> Result<OpenedPairs<Self>, Error> {
        Net::open_pairs(device, window, clock, &Options { pairs, ..queues.into() })
    }

    fn start_pairs(
        &mut self,
        lanes: &mut [Lane<'_, Self::Rx, Self::Tx>],
        clock: &impl Clock,
    ) -> Result<(), Error> {
        Net::start_pairs(self, lanes, clock)
    }

    fn set_rss(&mut self, rss: &Rss<'_>, clock: &impl Clock) -> Result<(), Error> {
        Net::set_rss(self, rss, clock)
    }
}

impl<T: Transport> weir_nic::RxQueue for RxQueue<T> {
    type Error = Error;

    #[inline]
    fn receive<const N: usize>(&mut self, pool: &mut Pool, burst: &mut Burst<N>) -> Result<usize, Error> {
        RxQueue::receive(self, pool, burst)
    }

    fn wait(&mut self, deadline_ns: u64) -> Result<bool, Error> {
        RxQueue::wait(self, deadline_ns)
    }

    fn offer_wrong_address(&mut self, pool: &mut Pool, iova: Iova) -> Result<bool, Error> {
        RxQueue::offer_wrong_address(self, pool, iova)
    }
}

impl<T: Transport> weir_nic::TxQueue for TxQueue<T> {
    type Error = Error;

    #[inline]
    fn transmit_with<const N: usize>(
        &mut self,
        pool: &mut Pool,
        burst: &mut Burst<N>,
        offload: impl FnMut(&Buf) -> TxOffload,
    ) -> Result<usize, Error> {
        TxQueue::transmit_with(self, pool, burst, offload)
    }

    #[inline]
    fn reclaim(&mut self, pool: &mut Pool) -> Result<(), Error> {
        TxQueue::reclaim(self, pool)
    }

    fn send_wrong_address(&mut self, pool: &mut Pool, iova: Iova, len: u16) -> Result<bool, Error> {
        TxQueue::send_wrong_address(self, pool, iova, len)
    }
}
