//! A started driver with its simulated device, for the tests.
#![allow(dead_code, unreachable_pub, reason = "each test program uses a part of it")]

use weir_hal::DmaWindow;
use weir_pool::{BUF_BYTES, Burst, Pool};
use weir_sim::virtio_net::{Behaviour, Malice};
use weir_sim::{SimClock, SimDevice, SimWindow, VirtioNet};
use weir_virtio::net::{Net, Options, RxQueue, TxQueue};
use weir_virtio::{Error, Pci};

pub type Device = SimDevice<VirtioNet>;
pub const BURST: usize = 32;

pub struct Rig {
    pub window: SimWindow,
    pub clock: SimClock,
    pub device: Device,
    pub pool: Pool,
    pub net: Net<Pci<Device>>,
    pub rx: RxQueue<Pci<Device>>,
    pub tx: TxQueue<Pci<Device>>,
}

impl Rig {
    /// A device as `behaviour` says, opened with `options`, not started.
    pub fn open(behaviour: Behaviour, options: &Options) -> Result<Rig, Error> {
        let window = SimWindow::default();
        let device = SimDevice::new(VirtioNet::new(&window, behaviour));
        Rig::open_device(window, device, options)
    }

    pub fn open_device(window: SimWindow, device: Device, options: &Options) -> Result<Rig, Error> {
        let clock = SimClock::default();
        let (net, rx, tx) = Net::open(device.clone(), &window, &clock, options)?;
        let buffers = 2 * usize::from(options.entries) + BURST;
        let memory = window.allocate(buffers * usize::from(BUF_BYTES))?;
        let pool = Pool::new(memory)?;
        Ok(Rig { window, clock, device, pool, net, rx, tx })
    }

    /// The same, started.
    pub fn started(behaviour: Behaviour, options: &Options) -> Rig {
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
}

impl Drop for Rig {
    /// Takes every buffer back, so that the pool's memory is freed.
    fn drop(&mut self) {
        self.device.model().set_malice(Malice::none());
        let stopped = self.net.stop(&mut self.rx, &mut self.tx, &mut self.pool, &self.clock);
        assert!(stopped.is_ok() || std::thread::panicking());
    }
}

/// A frame whose every byte follows from its number.
pub fn frame(number: usize, len: usize) -> Vec<u8> {
    (0..len).map(|i| (number.wrapping_mul(31) + i).to_le_bytes()[0]).collect()
}

pub fn inverted(frame: &[u8]) -> Vec<u8> {
    frame.iter().map(|byte| !byte).collect()
}
