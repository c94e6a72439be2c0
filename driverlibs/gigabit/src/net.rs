//! The network device: everything that is not on the data path.

use alloc::vec::Vec;
use core::marker::PhantomData;
use core::ops::Range;

use weir_hal::{Clock, Device, DmaWindow, Error as HostError, wait_until};
use weir_nic::{Lane, Nic, Opened, OpenedPairs};
use weir_pool::Pool;

use crate::chip::vector;
use crate::regs::{
    AddressHigh, BAR_BYTES, CTRL, CTRL_EXT, Ctrl, EECD, Eecd, FLOW_CONTROL, MRQC, MTA, MTA_REGISTERS, RAH,
    RCTL, RXCSUM, Rctl, RxChecksum, STATUS, Status, TCTL, Tctl,
};
use crate::rx::Manner;
use crate::{CRC_BYTES, Chip, Error, FRAME_LONG_BYTES, Registers, RxQueue, Statistics, TxQueue};

/// How long requests under way may take before the reset (82574 §5.2 and 82576 §5.2.3.3 "Master Disable"): past the
/// limit the device is reset all the same.
const MASTER_LIMIT_US: u64 = 100_000;
/// How long the device must be left alone after a reset.
const RESET_US: u64 = 3_000;
/// How long it may then take to end the reset, and to read its EEPROM.
const RESET_LIMIT_US: u64 = 100_000;
const EEPROM_LIMIT_US: u64 = 20_000;
/// `CTRL_EXT`: a driver runs the device; tells its management firmware.
const DRIVER_LOADED: u32 = 1 << 28;

/// Which frames are received. Broadcasts always are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Filter {
    /// Those to the device's own address.
    #[default]
    Station,
    /// Those, and every multicast.
    Multicast,
    /// Every frame.
    Promiscuous,
}

/// What to open a device with.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Descriptors per queue: a power of two from 8 to 4096; one stays unused.
    pub entries: u16,
    /// Which frames are received.
    pub filter: Filter,
    /// Bind the receive queue's interrupt, for waiting. Without, the device raises none.
    pub interrupt: bool,
    /// The device will have virtual functions: see [`Chip::share`].
    pub is_shared: bool,
    /// Send and receive frames of up to [`FRAME_LONG_BYTES`], in several buffers ([`weir_pool::Buf::continues`]), each filled
    /// from its very start, without headroom.
    pub long_frames: bool,
    /// Let the device check checksums of received frames ([`weir_pool::Buf::is_checksum_good`]; of a frame in several buffers
    /// the last says so).
    pub rx_checksum: bool,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            entries: 256,
            filter: Filter::Station,
            interrupt: false,
            is_shared: false,
            long_frames: false,
            rx_checksum: false,
        }
    }
}

/// A queue each way, in use.
pub(crate) type LaneOf<'a, D, C> = Lane<'a, RxQueue<D, C>, TxQueue<D, C>>;

/// A network device: what is not on the data path.
pub struct Net<D: Device, C: Chip> {
    device: D,
    regs: Registers<D::Mmio>,
    filter: Filter,
    is_shared: bool,
    manner: Manner,
    /// Its queues, in each direction.
    queues: Range<u16>,
    statistics: Statistics,
    chip: PhantomData<C>,
}

impl<D: Device, C: Chip> Net<D, C> {
    /// Finds out what the device is, resets it, and makes its queues. It does not run yet.
    ///
    /// # Errors
    /// `OtherDevice`, `BadRing`, `Host(TimedOut)` or `Host(Gone)` where it does not reset, and the host's.
    pub fn open(
        device: D,
        window: &impl DmaWindow,
        clock: &impl Clock,
        options: &Options,
    ) -> Result<Opened<Self>, Error> {
        let (net, mut pairs) = Self::open_pairs(device, window, clock, options, 1)?;
        let (rx, tx) = pairs.pop().ok_or(HostError::Unsupported)?;
        Ok((net, rx, tx))
    }

    /// As [`Net::open`], with `count` queues each way that received frames are spread over ([`Chip::spread`]).
    ///
    /// # Errors
    /// As there; `Host(Unsupported)` for more than [`Chip::QUEUES`], none, or several on a device that is shared.
    pub fn open_pairs(
        device: D,
        window: &impl DmaWindow,
        clock: &impl Clock,
        options: &Options,
        count: u16,
    ) -> Result<OpenedPairs<Self>, Error> {
        let info = device.info();
        if !Self::is_for(&info) {
            return Err(Error::OtherDevice { vendor: info.vendor, device: info.device });
        }
        let Options { entries, filter, interrupt, is_shared, long_frames, rx_checksum } = *options;
        let first = if is_shared { C::SHARED_QUEUE.ok_or(HostError::Unsupported)? } else { 0 };
        if count == 0 || count > if is_shared { 1 } else { C::QUEUES } {
            return Err(HostError::Unsupported.into());
        }
        let regs = Registers::map(&device, BAR_BYTES)?;
        let manner = Manner { is_long: long_frames, has_checksums: rx_checksum };
        let pair = |number| {
            let (queue, vector) = (first + number, interrupt.then_some(vector::RX + number));
            let rx = RxQueue::new(&device, &regs, window, queue, entries, vector, manner)?;
            Ok::<_, Error>((rx, TxQueue::new(&regs, window, queue, entries, long_frames)?))
        };
        let pairs = (0..count).map(pair).collect::<Result<Vec<_>, Error>>()?;
        let (queues, statistics, chip) = (first..first + count, Statistics::default(), PhantomData);
        let net = Net { device, regs, filter, is_shared, manner, queues, statistics, chip };
        net.reset(clock)?;
        Ok((net, pairs))
    }

    /// The order is that of "Software Initialization" (82574 §4.6, 82576 §4.5).
    pub(crate) fn start_lanes(
        &mut self,
        lanes: &mut [LaneOf<'_, D, C>],
        clock: &impl Clock,
    ) -> Result<(), Error> {
        if lanes.len() != self.queues.len() {
            return Err(HostError::OutOfRange.into());
        }
        self.reset(clock)?;
        for Lane { rx, tx, pool } in lanes.iter_mut() {
            rx.empty(pool);
            tx.empty(pool);
        }
        self.configure(clock)?;
        // "Initialization of Statistics": reading sets the registers to zero.
        self.statistics.collect(&self.regs)?;
        self.statistics = Statistics::default();
        self.device.bus_master(true)?;
        self.set_filters()?;
        lanes.iter().try_for_each(|lane| lane.rx.announce(&self.regs, clock))?;
        self.start_receiver()?;
        lanes.iter().try_for_each(|lane| lane.tx.announce(&self.regs, clock))?;
        C::route_interrupts(&self.regs, self.queues.clone())?;
        lanes.iter_mut().for_each(|lane| lane.rx.refill(lane.pool));
        Ok(())
    }

    /// Stops the device: resets it and takes back what the queues had.
    ///
    /// # Errors
    /// `Host(TimedOut)` or `Host(Gone)` where it does not reset: then the buffers it has stay lost.
    pub fn stop(
        &mut self,
        rx: &mut RxQueue<D, C>,
        tx: &mut TxQueue<D, C>,
        pool: &mut Pool,
        clock: &impl Clock,
    ) -> Result<(), Error> {
        self.reset(clock)?;
        rx.empty(pool);
        tx.empty(pool);
        Ok(())
    }

    /// "Interrupts During Initialization" and "Global Reset" (82574 §4.6, 82576 §4.5). When this returns, the device
    /// accesses no memory until it is started again, and has read its EEPROM.
    fn reset(&self, clock: &impl Clock) -> Result<(), Error> {
        let regs = &self.regs;
        C::mask_interrupts(regs)?;
        regs.write(RCTL, Rctl::new())?;
        regs.write(TCTL, Tctl::new())?;
        let ctrl: Ctrl = regs.read(CTRL)?;
        regs.write(CTRL, ctrl.with_is_master_disabled(true))?;
        let has_requests = |regs: &Registers<_>| Ok(regs.read::<Status>(STATUS)?.is_master_enabled());
        tolerate_timeout(regs.wait(clock, MASTER_LIMIT_US, |regs| has_requests(regs).map(|has| !has)))?;
        regs.write(CTRL, ctrl.with_reset(true))?;
        // Nothing may be read meanwhile: a wait for nothing.
        let _ = wait_until(clock, RESET_US, || false);
        regs.wait(clock, RESET_LIMIT_US, |regs| Ok(!regs.read::<Ctrl>(CTRL)?.reset()))?;
        // QEMU's 82576 never says so. One that was really not read shows as an address that is not valid.
        let is_read = |regs: &Registers<_>| Ok(regs.read::<Eecd>(EECD)?.is_read());
        tolerate_timeout(regs.wait(clock, EEPROM_LIMIT_US, is_read))?;
        C::mask_interrupts(regs)
    }

    /// "General Configuration" and "Link Setup": the link negotiates by itself; no pause frames, no VLAN tags.
    fn configure(&self, clock: &impl Clock) -> Result<(), Error> {
        let ctrl: Ctrl = self.regs.read(CTRL)?;
        let ctrl = ctrl
            .with_set_link_up(true)
            .with_reset(false)
            .with_is_master_disabled(false)
            .with_holds_link(false);
        let ctrl = ctrl.with_forces_speed(false).with_forces_duplex(false).with_inverts_signal(false);
        let ctrl = ctrl.with_receives_flow_control(false).with_sends_flow_control(false);
        self.regs.write(CTRL, ctrl.with_strips_vlan(false).with_reset_phy(false))?;
        self.regs.write(CTRL_EXT, self.regs.read::<u32>(CTRL_EXT)? | DRIVER_LOADED)?;
        FLOW_CONTROL.into_iter().try_for_each(|offset| self.regs.write(offset, 0u32))?;
        C::start_link(&self.regs, clock)
    }

    /// "Receive Initialization": filters and offloads, before the queues.
    fn set_filters(&self) -> Result<(), Error> {
        let checks = self.manner.has_checksums;
        // Address 0 is the EEPROM's; the others may hold anything.
        for number in 1..C::ADDRESSES {
            self.regs.write(RAH + 8 * number, AddressHigh::new())?;
        }
        (0..MTA_REGISTERS).try_for_each(|number| self.regs.write(MTA + 4 * number, 0u32))?;
        self.regs.write(RXCSUM, RxChecksum::new().with_of_ip(checks).with_behind_ip(checks))?;
        self.regs.write(MRQC, 0u32)?;
        let frame_limit = self.manner.is_long.then_some(FRAME_LONG_BYTES + CRC_BYTES);
        if let Some(bytes) = frame_limit {
            C::limit_frames(&self.regs, bytes)?;
        }
        if self.is_shared {
            C::share(&self.regs, frame_limit)?;
        }
        if self.queues.len() > 1 {
            C::spread(&self.regs, self.queues.end)?;
        }
        Ok(())
    }

    /// And after them, the receiver.
    fn start_receiver(&self) -> Result<(), Error> {
        let rctl = Rctl::new().with_is_enabled(true).with_accepts_broadcast(true).with_strips_crc(true);
        let rctl =
            rctl.with_long_packets(self.manner.is_long).with_all_multicast(self.filter != Filter::Station);
        self.regs.write(RCTL, rctl.with_all_unicast(self.filter == Filter::Promiscuous))
    }

    /// How many queues it has, in each direction.
    pub(crate) fn pairs(&self) -> usize {
        self.queues.len()
    }

    pub(crate) fn manner(&self) -> Manner {
        self.manner
    }

    /// The registers, for what only one controller has.
    pub fn registers(&self) -> &Registers<D::Mmio> {
        &self.regs
    }

    /// The function that it is.
    pub fn device(&self) -> &D {
        &self.device
    }

    /// What the device counted since it was started.
    ///
    /// # Errors
    /// `Host(Gone)`.
    pub fn read_statistics(&mut self) -> Result<Statistics, Error> {
        self.statistics.collect(&self.regs)?;
        Ok(self.statistics)
    }
}

impl<D: Device, C: Chip> Drop for Net<D, C> {
    /// Stops its access to memory, as far as that can be done from here; the host confines it in any case.
    fn drop(&mut self) {
        // A device that is gone needs no stopping.
        let _ = self.device.bus_master(false);
    }
}

/// For waits after which one goes on in any case.
fn tolerate_timeout(waited: Result<(), Error>) -> Result<(), Error> {
    match waited {
        Err(Error::Host(HostError::TimedOut { .. })) => Ok(()),
        waited => waited,
    }
}
