//! Simulated virtio devices on one pool, and frames to send through them.
#![allow(dead_code, unreachable_pub, reason = "each test program uses a part of it")]

use weir_forward::{Capture, Ends, Passed, Stream};
use weir_hal::DmaWindow;
use weir_net::MacAddress;
use weir_pool::{BUF_BYTES, Pool};
use weir_sim::virtio_net::{Behaviour, Malice};
use weir_sim::{SimClock, SimDevice, SimWindow, VirtioNet};
use weir_virtio::net::{Net, Options, RxQueue, TxQueue};
use weir_virtio::{Error, Pci};

pub const BURST: usize = 32;
pub const ENTRIES: u16 = 64;
pub const OWN: MacAddress = MacAddress([0x52, 0x54, 0, 0xaa, 0xbb, 0xcc]);
pub const PEER: MacAddress = MacAddress([2, 0, 0, 0, 0, 9]);
pub const ENDS: Ends = Ends { own: OWN, peer: PEER };

type Device = SimDevice<VirtioNet>;

pub struct Port {
    pub device: Device,
    pub net: Net<Pci<Device>>,
    pub rx: RxQueue<Pci<Device>>,
    pub tx: TxQueue<Pci<Device>>,
}

impl Port {
    /// Everything that was sent.
    pub fn sent(&self) -> Vec<Vec<u8>> {
        let mut model = self.device.model();
        model.transmit();
        std::iter::from_fn(|| model.next_sent()).collect()
    }

    pub fn deliver(&self, frame: &[u8]) {
        assert!(self.device.model().deliver(frame), "the ring has room");
    }
}

/// Started devices that share a pool.
pub struct Rig {
    pub ports: Vec<Port>,
    pub pool: Pool,
    clock: SimClock,
}

impl Rig {
    pub fn with_ports(count: usize) -> Rig {
        let (window, clock) = (SimWindow::default(), SimClock::default());
        let buffers = count * (2 * usize::from(ENTRIES) + BURST);
        let mut pool =
            Pool::new(window.allocate(buffers * usize::from(BUF_BYTES)).expect("memory")).expect("aligned");
        let open = |_| {
            let behaviour = Behaviour { entries: ENTRIES, ..Behaviour::default() };
            let device = SimDevice::new(VirtioNet::new(&window, behaviour));
            let options = Options { entries: ENTRIES, ..Options::default() };
            let (mut net, mut rx, mut tx) =
                Net::open(device.clone(), &window, &clock, &options).expect("an honest device opens");
            net.start(&mut rx, &mut tx, &mut pool, &clock).expect("an honest device starts");
            Port { device, net, rx, tx }
        };
        let ports = (0..count).map(open).collect();
        Rig { ports, pool, clock }
    }

    /// What comes in at the first port goes out there.
    pub fn pass<C: Capture>(&mut self, stream: &mut Stream<'_, C>) -> Result<Passed, Error> {
        let Port { rx, tx, .. } = &mut self.ports[0];
        stream.pass::<_, _, BURST>(rx, tx, &mut self.pool)
    }

    /// Buffers that are neither in the pool nor with a device.
    pub fn lost(&mut self) -> usize {
        for Port { device, net, rx, tx } in &mut self.ports {
            device.model().set_malice(Malice::none());
            net.stop(rx, tx, &mut self.pool, &self.clock).expect("an honest device stops");
        }
        self.pool.buffers() - self.pool.available()
    }
}

impl Drop for Rig {
    /// Takes every buffer back, so that the pool's memory is freed.
    fn drop(&mut self) {
        assert!(std::thread::panicking() || self.lost() == 0, "a buffer is lost");
    }
}
