//! The face shared with other network devices.

use weir_hal::{Clock, Device, DeviceInfo, DmaWindow};
use weir_nic::{Lane, MultiQueue, Nic, Offloads, Opened, OpenedPairs, Queues, Rss};
use weir_pool::Pool;

use crate::regs::{AddressHigh, RAH, RAL, STATUS, Status};
use crate::rx::Manner;
use crate::{Chip, Error, Net, Options, RxQueue, TxQueue};

const INTEL: u16 = 0x8086;

impl From<Queues> for Options {
    fn from(Queues { interrupt, entries, long_frames }: Queues) -> Options {
        let usual = Options::default();
        Options { interrupt, entries: entries.unwrap_or(usual.entries), long_frames, ..usual }
    }
}

impl<D: Device, C: Chip> Nic for Net<D, C> {
    type Device = D;
    type Rx = RxQueue<D, C>;
    type Tx = TxQueue<D, C>;
    type Error = Error;

    fn is_for(info: &DeviceInfo) -> bool {
        (info.vendor, info.device) == (INTEL, C::DEVICE)
    }

    fn open(
        device: D,
        window: &impl DmaWindow,
        clock: &impl Clock,
        queues: Queues,
    ) -> Result<Opened<Self>, Error> {
        Net::open(device, window, clock, &queues.into())
    }

    fn start(
        &mut self,
        rx: &mut RxQueue<D, C>,
        tx: &mut TxQueue<D, C>,
        pool: &mut Pool,
        clock: &impl Clock,
    ) -> Result<(), Error> {
        self.start_lanes(&mut [Lane { rx, tx, pool }], clock)
    }

    /// From receive address 0, where the device put it after its reset (82574 §10.2.5.21, 82576 §8.10.16 "Receive
    /// Address Low"). A group's address is none.
    fn read_mac(&self) -> Result<Option<[u8; 6]>, Error> {
        let [a, b, c, d] = self.registers().read::<u32>(RAL)?.to_le_bytes();
        let high: AddressHigh = self.registers().read(RAH)?;
        let [e, f] = high.bytes().to_le_bytes();
        let mac = [a, b, c, d, e, f];
        let is_usable = high.is_valid() && a & 1 == 0 && mac != [0; 6];
        Ok(is_usable.then_some(mac))
    }

    fn read_link_up(&self) -> Result<bool, Error> {
        Ok(self.registers().read::<Status>(STATUS)?.is_link_up())
    }

    fn offloads(&self) -> Offloads {
        let Manner { is_long, has_checksums } = self.manner();
        let offloads = Offloads { rx_checksum: has_checksums, tx_checksum: true, ..Offloads::default() };
        Offloads { several_buffers: is_long, ..offloads }
    }

    fn has_stopped(&self) -> bool {
        self.registers().is_gone()
    }
}

impl<D: Device + 'static, C: Chip + 'static> MultiQueue for Net<D, C> {
    fn open_pairs(
        device: D,
        window: &impl DmaWindow,
        clock: &impl Clock,
        pairs: u16,
        queues: Queues,
    ) -> Result<OpenedPairs<Self>, Error> {
        Net::open_pairs(device, window, clock, &queues.into(), pairs.clamp(1, C::QUEUES))
    }

    fn start_pairs(
        &mut self,
        lanes: &mut [Lane<'_, Self::Rx, Self::Tx>],
        clock: &impl Clock,
    ) -> Result<(), Error> {
        self.start_lanes(lanes, clock)
    }

    fn set_rss(&mut self, rss: &Rss<'_>, _clock: &impl Clock) -> Result<(), Error> {
        let has_queue = |queue: &u16| usize::from(*queue) < self.pairs();
        if !rss.table.iter().all(has_queue) {
            return Err(weir_hal::Error::OutOfRange.into());
        }
        C::set_rss(self.registers(), rss)
    }
}
