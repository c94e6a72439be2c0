//! A started block driver with its simulated device, for the tests.
#![allow(dead_code, unreachable_pub, reason = "each test program uses a part of it")]

use weir_block::{BlockDevice, BlockQueue, Completion, Deque, Options, Request};
use weir_hal::DmaWindow;
use weir_pool::{BlockBuf, BlockPool};
use weir_sim::virtio_blk::{Behaviour, Malice};
use weir_sim::{SimClock, SimDevice, SimWindow, VirtioBlk};
use weir_virtio::blk::{Blk, Error, Queue};

pub type Device = SimDevice<VirtioBlk>;
pub const BURST: usize = 32;

pub struct Rig {
    pub window: SimWindow,
    pub clock: SimClock,
    pub device: Device,
    pub pool: BlockPool,
    pub blk: Blk<Device>,
    pub queues: Vec<Queue<Device>>,
}

impl Rig {
    pub fn open(behaviour: Behaviour, options: &Options) -> Result<Rig, Error> {
        let window = SimWindow::default();
        let device = SimDevice::new(VirtioBlk::new(&window, behaviour));
        Rig::open_device(window, device, options)
    }

    pub fn open_device(window: SimWindow, device: Device, options: &Options) -> Result<Rig, Error> {
        let clock = SimClock::default();
        let (blk, queues) = Blk::open(device.clone(), &window, &clock, options)?;
        let pool = BlockPool::new(window.allocate(64 * 16384)?, 16384)?;
        Ok(Rig { window, clock, device, pool, blk, queues })
    }

    /// The same, started.
    pub fn started(behaviour: Behaviour, options: &Options) -> Rig {
        let mut rig = Rig::open(behaviour, options).expect("an honest device opens");
        rig.start().expect("an honest device starts");
        rig
    }

    pub fn start(&mut self) -> Result<(), Error> {
        self.blk.start(&mut self.queues, &self.clock)
    }

    pub fn buffer(&mut self, bytes: &[u8]) -> BlockBuf {
        let mut buf = self.pool.take().expect("a buffer");
        assert!(buf.set_len(u32::try_from(bytes.len()).expect("short")));
        buf.bytes_mut().copy_from_slice(bytes);
        buf
    }

    /// Submits one request to the first queue; what is not taken goes back.
    pub fn submit(&mut self, request: Request) -> Result<usize, Error> {
        let mut requests = Deque::<Request, BURST>::new();
        requests.push_back(request).expect("room");
        let result = self.queues[0].submit(&mut requests);
        for request in requests {
            request.buffer.into_iter().for_each(|buf| self.pool.put(buf));
        }
        result
    }

    /// What the first queue completes.
    pub fn complete(&mut self) -> Result<Vec<Completion>, Error> {
        let mut done = Deque::<Completion, BURST>::new();
        let result = self.queues[0].complete(&mut done);
        let done: Vec<_> = done.into_iter().collect();
        match result {
            Ok(_) => Ok(done),
            Err(error) => {
                done.into_iter().for_each(|completion| self.put_back(completion));
                Err(error)
            }
        }
    }

    /// Has one request done, alone.
    pub fn perform(&mut self, request: Request) -> Completion {
        assert_eq!(self.submit(request), Ok(1));
        let mut done = self.complete().expect("honest");
        assert_eq!(done.len(), 1);
        done.remove(0)
    }

    pub fn put_back(&mut self, completion: Completion) {
        completion.buffer.into_iter().for_each(|buf| self.pool.put(buf));
    }

    /// Takes everything back that the first queue hands out.
    pub fn drain(&mut self) {
        while let Ok(done) = self.complete()
            && !done.is_empty()
        {
            done.into_iter().for_each(|completion| self.put_back(completion));
        }
    }
}

impl Drop for Rig {
    /// Takes every buffer back, so that the pool's memory is freed.
    fn drop(&mut self) {
        self.device.model().set_malice(Malice::none());
        let started = self.start();
        self.drain();
        assert!(started.is_ok() || std::thread::panicking());
        assert!(self.pool.available() == self.pool.buffers() || std::thread::panicking(), "a buffer is lost");
    }
}

/// Data whose every byte follows from a number.
pub fn data(number: usize, len: usize) -> Vec<u8> {
    (0..len).map(|i| (number.wrapping_mul(31) + i + i / 256).to_le_bytes()[0]).collect()
}
