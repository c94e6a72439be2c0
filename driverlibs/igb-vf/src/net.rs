//! The network device: everything that is not on the data path (82576 §4.6 "VF Initialization" and what comes after it).

use alloc::vec;

use weir_gigabit::chip::vector;
use weir_gigabit::regs::{CTRL, Ctrl, STATUS, Status, queue};
use weir_gigabit::rx::Manner;
use weir_gigabit::{Chip, Error, Registers};
use weir_hal::{Clock, Device, DeviceInfo, DmaWindow, wait_until};
use weir_igb::message::{HASHES, Head, address_words, hash, kind, station};
use weir_nic::{Lane, MultiQueue, Nic, Offloads, Opened, OpenedPairs, Queues, Rss};
use weir_pool::Pool;

use crate::regs::{BAR_BYTES, BYTES_RECEIVED, BYTES_SENT, FRAMES_RECEIVED, FRAMES_SENT, RX};
use crate::{I82576Vf, RxQueue, TxQueue, mailbox};

const INTEL: u16 = 0x8086;
/// How long the function must be left alone after its reset.
const RESET_US: u64 = 10_000;
/// Queue control: enabled.
const ENABLED: u32 = 1 << 25;

/// What to open a device with.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Descriptors per queue: a power of two from 8 to 4096; one stays unused.
    pub entries: u16,
    /// Bind the receive queue's interrupt, for waiting.
    pub interrupt: bool,
}

impl Default for Options {
    fn default() -> Options {
        Options { entries: 256, interrupt: false }
    }
}

/// What the device counted since the function was started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Good frames received.
    pub rx_frames: u64,
    /// Their bytes, checksums included.
    pub rx_bytes: u64,
    /// Good frames sent.
    pub tx_frames: u64,
    /// Their bytes, checksums included.
    pub tx_bytes: u64,
}

/// A network device: what is not on the data path.
pub struct Net<D: Device> {
    device: D,
    regs: Registers<D::Mmio>,
    mac: [u8; 6],
    statistics: Statistics,
    /// What the registers said when they were read last.
    counted: [u32; 4],
}

impl<D: Device> Net<D> {
    /// Finds out what the device is, resets it, asks for its address, and makes its queues. It does not run yet.
    ///
    /// # Errors
    /// `OtherDevice`, `BadRing`; `Host(TimedOut)` where the physical function's owner does not answer, `Host(NotPermitted)`
    /// where it refuses; the host's.
    pub fn open(
        device: D,
        window: &impl DmaWindow,
        clock: &impl Clock,
        options: &Options,
    ) -> Result<Opened<Self>, Error> {
        let info = device.info();
        if !Self::is_for(&info) {
            return Err(Error::OtherDevice { vendor: info.vendor, device: info.device });
        }
        let regs = Registers::map(&device, BAR_BYTES)?;
        let vector = options.interrupt.then_some(vector::RX);
        let rx = RxQueue::new(&device, &regs, window, 0, options.entries, vector, Manner::default())?;
        let tx = TxQueue::new(&regs, window, 0, options.entries, false)?;
        let (statistics, counted) = (Statistics::default(), [0; 4]);
        let mut net = Net { device, regs, mac: [0; 6], statistics, counted };
        net.reset(clock)?;
        net.ask_for_address(clock)?;
        Ok((net, rx, tx))
    }

    /// Stops the device: resets it and takes back what the queues had. Asks nobody.
    ///
    /// # Errors
    /// `Host(Gone)`: then the buffers it has stay lost.
    pub fn stop(
        &mut self,
        rx: &mut RxQueue<D>,
        tx: &mut TxQueue<D>,
        pool: &mut Pool,
        clock: &impl Clock,
    ) -> Result<(), Error> {
        self.reset(clock)?;
        rx.empty(pool);
        tx.empty(pool);
        Ok(())
    }

    /// When this returns, the function accesses no memory until it is started again.
    fn reset(&self, clock: &impl Clock) -> Result<(), Error> {
        I82576Vf::mask_interrupts(&self.regs)?;
        self.regs.write(CTRL, Ctrl::new().with_reset(true))?;
        // Nothing may be read meanwhile: a wait for nothing.
        let _ = wait_until(clock, RESET_US, || false);
        if self.regs.is_gone() { Err(weir_hal::Error::Gone.into()) } else { Ok(()) }
    }

    fn ask_for_address(&mut self, clock: &impl Clock) -> Result<(), Error> {
        mailbox::await_physical(&self.regs, clock)?;
        let answer = mailbox::ask(&self.regs, clock, Head::new().with_kind(kind::RESET), &[])?;
        self.mac = station(answer).ok_or(weir_hal::Error::NotPermitted)?;
        Ok(())
    }

    /// Asks for another address, until the next start.
    ///
    /// # Errors
    /// `Host(NotPermitted)` where the physical function's owner refuses; `Host(TimedOut)`, `Host(Gone)`.
    pub fn set_mac(&mut self, mac: [u8; 6], clock: &impl Clock) -> Result<(), Error> {
        let head = Head::new().with_kind(kind::SET_MAC);
        mailbox::ask(&self.regs, clock, head, &address_words(mac))?;
        self.mac = mac;
        Ok(())
    }

    /// Asks for frames to these groups, and to no others but by chance, until the next start.
    ///
    /// # Errors
    /// `Host(OutOfRange)` for more than [`HASHES`]; as [`Net::set_mac`].
    pub fn set_groups(&mut self, groups: &[[u8; 6]], clock: &impl Clock) -> Result<(), Error> {
        let count = u8::try_from(groups.len()).ok().filter(|count| usize::from(*count) <= HASHES);
        let count = count.ok_or(weir_hal::Error::OutOfRange)?;
        let mut words = [0; HASHES / 2];
        for (pair, word) in groups.chunks(2).zip(&mut words) {
            let hash_of = |at| pair.get(at).map_or(0, |group: &[u8; 6]| u32::from(hash(*group)));
            *word = hash_of(0) | hash_of(1) << 16;
        }
        let head = Head::new().with_kind(kind::SET_MULTICAST).with_info(count);
        mailbox::ask(&self.regs, clock, head, &words).map(drop)
    }

    /// Asks for frames of a VLAN, or for no more of them.
    ///
    /// # Errors
    /// As [`Net::set_mac`].
    pub fn set_vlan(&mut self, id: u16, is_wanted: bool, clock: &impl Clock) -> Result<(), Error> {
        let head = Head::new().with_kind(kind::SET_VLAN).with_info(is_wanted.into());
        mailbox::ask(&self.regs, clock, head, &[id.into()]).map(drop)
    }

    /// What the device counted since the function was started.
    ///
    /// # Errors
    /// `Host(Gone)`.
    pub fn read_statistics(&mut self) -> Result<Statistics, Error> {
        let sums = &mut self.statistics;
        let counters = [
            (FRAMES_RECEIVED, &mut sums.rx_frames),
            (BYTES_RECEIVED, &mut sums.rx_bytes),
            (FRAMES_SENT, &mut sums.tx_frames),
            (BYTES_SENT, &mut sums.tx_bytes),
        ];
        for ((register, sum), counted) in counters.into_iter().zip(&mut self.counted) {
            let now: u32 = self.regs.read(register)?;
            *sum = sum.wrapping_add(now.wrapping_sub(*counted).into());
            *counted = now;
        }
        Ok(self.statistics)
    }
}

impl<D: Device> Nic for Net<D> {
    type Device = D;
    type Rx = RxQueue<D>;
    type Tx = TxQueue<D>;
    type Error = Error;

    fn is_for(info: &DeviceInfo) -> bool {
        (info.vendor, info.device) == (INTEL, I82576Vf::DEVICE)
    }

    fn open(
        device: D,
        window: &impl DmaWindow,
        clock: &impl Clock,
        queues: Queues,
    ) -> Result<Opened<Self>, Error> {
        let Queues { interrupt, entries, .. } = queues;
        let usual = Options::default();
        let options = Options { interrupt, entries: entries.unwrap_or(usual.entries) };
        Net::open(device, window, clock, &options)
    }

    fn start(
        &mut self,
        rx: &mut RxQueue<D>,
        tx: &mut TxQueue<D>,
        pool: &mut Pool,
        clock: &impl Clock,
    ) -> Result<(), Error> {
        self.stop(rx, tx, pool, clock)?;
        self.ask_for_address(clock)?;
        self.read_statistics()?;
        self.statistics = Statistics::default();
        self.device.bus_master(true)?;
        rx.announce(&self.regs, clock)?;
        tx.announce(&self.regs, clock)?;
        I82576Vf::route_interrupts(&self.regs, 0..1)?;
        rx.refill(pool);
        Ok(())
    }

    fn read_mac(&self) -> Result<Option<[u8; 6]>, Error> {
        Ok(Some(self.mac))
    }

    fn read_link_up(&self) -> Result<bool, Error> {
        Ok(self.regs.read::<Status>(STATUS)?.is_link_up())
    }

    fn offloads(&self) -> Offloads {
        Offloads { tx_checksum: true, ..Offloads::default() }
    }

    /// A reset of the physical function stops its virtual ones: their queues are then off.
    fn has_stopped(&self) -> bool {
        let control = self.regs.read::<u32>(RX + queue::CONTROL);
        control.map_or(true, |control| control & ENABLED == 0)
    }
}

/// One pair of queues.
impl<D: Device + 'static> MultiQueue for Net<D> {
    fn open_pairs(
        device: D,
        window: &impl DmaWindow,
        clock: &impl Clock,
        _pairs: u16,
        queues: Queues,
    ) -> Result<OpenedPairs<Self>, Error> {
        let (net, rx, tx) = <Net<D> as Nic>::open(device, window, clock, queues)?;
        Ok((net, vec![(rx, tx)]))
    }

    fn start_pairs(
        &mut self,
        lanes: &mut [Lane<'_, Self::Rx, Self::Tx>],
        clock: &impl Clock,
    ) -> Result<(), Error> {
        let [Lane { rx, tx, pool }] = lanes else { return Err(weir_hal::Error::OutOfRange.into()) };
        self.start(rx, tx, pool, clock)
    }

    fn set_rss(&mut self, _: &Rss<'_>, _: &impl Clock) -> Result<(), Error> {
        Err(weir_hal::Error::Unsupported.into())
    }
}

impl<D: Device> Drop for Net<D> {
    /// Stops its access to memory, as far as that can be done from here; the host confines it in any case.
    fn drop(&mut self) {
        // A device that is gone needs no stopping.
        let _ = self.device.bus_master(false);
    }
}
