//! A started driver with its simulated device, for the tests: each runs on both controllers.
#![allow(dead_code, unreachable_pub, unused_macros, reason = "each test program uses a part of it")]

use weir_gigabit::{Chip, Error, Net, Options, RxQueue, TxQueue};
use weir_hal::DmaWindow;
use weir_nic::{Nic, RxQueue as _, TxQueue as _};
use weir_pool::{BUF_BYTES, Burst, Pool};
use weir_sim::gigabit::{Behaviour, Kind, MAC};
use weir_sim::{Gigabit, Malice, SimClock, SimDevice, SimWindow};

pub type Device = SimDevice<Gigabit>;
pub const BURST: usize = 32;

pub struct Rig<C: Chip> {
    pub window: SimWindow,
    pub clock: SimClock,
    pub device: Device,
    pub pool: Pool,
    pub net: Net<Device, C>,
    pub rx: RxQueue<Device, C>,
    pub tx: TxQueue<Device, C>,
}

/// Makes a test for each controller of functions that take a [`Kind`] and are generic over the chip.
macro_rules! on_both {
    ($($test:ident),* $(,)?) => {
        mod i82574 { $(#[test] fn $test() { super::$test::<weir_e1000e::I82574>(weir_sim::gigabit::Kind::I82574) })* }
        mod i82576 { $(#[test] fn $test() { super::$test::<weir_igb::I82576>(weir_sim::gigabit::Kind::I82576) })* }
    };
}
pub(crate) use on_both;

impl<C: Chip> Rig<C> {
    /// Opened, not started.
    pub fn open(behaviour: Behaviour, options: &Options) -> Result<Rig<C>, Error> {
        let window = SimWindow::default();
        let device = SimDevice::new(Gigabit::new(&window, behaviour));
        Rig::open_device(window, device, options)
    }

    pub fn open_device(window: SimWindow, device: Device, options: &Options) -> Result<Rig<C>, Error> {
        let clock = SimClock::default();
        let (net, rx, tx) = Net::<Device, C>::open(device.clone(), &window, &clock, options)?;
        let buffers = 2 * usize::from(options.entries) + BURST;
        let pool = Pool::new(window.allocate(buffers * usize::from(BUF_BYTES))?)?;
        Ok(Rig { window, clock, device, pool, net, rx, tx })
    }

    /// Started, with `entries` descriptors each way; it transmits at tail writes.
    pub fn started(kind: Kind, entries: u16) -> Rig<C> {
        Rig::started_with(kind, &Options { entries, ..Options::default() })
    }

    pub fn started_with(kind: Kind, options: &Options) -> Rig<C> {
        let behaviour = Behaviour { kind, works_on_kick: true };
        let mut rig = Rig::open(behaviour, options).expect("an honest device opens");
        rig.start().expect("an honest device starts");
        rig
    }

    pub fn start(&mut self) -> Result<(), Error> {
        self.net.start(&mut self.rx, &mut self.tx, &mut self.pool, &self.clock)
    }

    /// Sends back what arrived, its bytes inverted.
    pub fn forward(&mut self) -> Result<usize, Error> {
        let mut burst = Burst::<BURST>::new();
        let received = self.rx.receive(&mut self.pool, &mut burst);
        for buf in burst.iter_mut() {
            buf.frame_mut().iter_mut().for_each(|byte| *byte = !*byte);
        }
        let sent = self.tx.transmit(&mut self.pool, &mut burst);
        while let Some(buf) = burst.pop() {
            self.pool.put(buf);
        }
        received.and(sent)
    }

    /// Every buffer of the pool that neither ring nor pool has.
    pub fn lost(&mut self) -> usize {
        self.net
            .stop(&mut self.rx, &mut self.tx, &mut self.pool, &self.clock)
            .expect("an honest device stops");
        self.pool.buffers() - self.pool.available()
    }
}

impl<C: Chip> Drop for Rig<C> {
    /// Takes every buffer back, so that the pool's memory is freed.
    fn drop(&mut self) {
        self.device.model().set_malice(Malice::none());
        // A device that was pulled out keeps its buffers.
        let _ = self.net.stop(&mut self.rx, &mut self.tx, &mut self.pool, &self.clock);
    }
}

/// A frame to the device's address whose every other byte follows from its number.
pub fn frame(number: usize, len: usize) -> Vec<u8> {
    let rest = (6..len).map(|i| (number.wrapping_mul(31) + i).to_le_bytes()[0]);
    MAC.into_iter().chain(rest).collect()
}

pub fn inverted(frame: &[u8]) -> Vec<u8> {
    frame.iter().map(|byte| !byte).collect()
}
