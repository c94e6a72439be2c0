//! A started driver with its simulated controller, for the tests.
#![allow(dead_code, unreachable_pub, reason = "each test program uses a part of it")]

use std::sync::atomic::{AtomicU64, Ordering};

use weir_block::{BlockDevice, BlockQueue, Completion, Deque, Options, Request};
use weir_hal::{Clock, DmaWindow};
use weir_nvme::{Error, Nvme, Queue};
use weir_pool::{BlockBuf, BlockPool};
use weir_sim::nvme::{Behaviour, Malice};
use weir_sim::{Nvme as Model, SimDevice, SimWindow};

pub type Device = SimDevice<Model>;
pub const BURST: usize = 32;

/// A clock that each reading moves on by 100 ms: no wait takes long.
#[derive(Default)]
pub struct FastClock(AtomicU64);

impl Clock for FastClock {
    fn now_ns(&self) -> u64 {
        self.0.fetch_add(100_000_000, Ordering::Relaxed)
    }
}

pub struct Rig {
    pub window: SimWindow,
    pub clock: FastClock,
    pub device: Device,
    pub pool: BlockPool,
    pub nvme: Nvme<Device>,
    pub queues: Vec<Queue<Device>>,
}

impl Rig {
    pub fn open(behaviour: Behaviour, options: &Options) -> Result<Rig, Error> {
        let window = SimWindow::default();
        let device = SimDevice::new(Model::new(&window, behaviour));
        Rig::open_device(window, device, options)
    }

    pub fn open_device(window: SimWindow, device: Device, options: &Options) -> Result<Rig, Error> {
        let clock = FastClock::default();
        let (nvme, queues) = Nvme::open(device.clone(), &window, &clock, options)?;
        let pool = BlockPool::new(window.allocate(64 * 65536)?, 65536)?;
        Ok(Rig { window, clock, device, pool, nvme, queues })
    }

    /// The same, started.
    pub fn started(behaviour: Behaviour, options: &Options) -> Rig {
        let mut rig = Rig::open(behaviour, options).expect("an honest controller opens");
        rig.start().expect("an honest controller starts");
        rig
    }

    pub fn start(&mut self) -> Result<(), Error> {
        self.nvme.start(&mut self.queues, &self.clock)
    }

    pub fn buffer(&mut self, bytes: &[u8]) -> BlockBuf {
        let mut buf = self.pool.take().expect("a buffer");
        assert!(buf.set_len(u32::try_from(bytes.len()).expect("short")));
        buf.bytes_mut().copy_from_slice(bytes);
        buf
    }

    /// Submits one request to the first queue.
    pub fn submit(&mut self, request: Request) -> Result<usize, Error> {
        let mut requests = one(request);
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

    /// Takes everything back that queues hand out.
    pub fn drain(&mut self) {
        for number in 0..self.queues.len() {
            loop {
                let mut done = Deque::<Completion, BURST>::new();
                let result = self.queues[number].complete(&mut done);
                let is_over = done.is_empty() || result.is_err();
                done.into_iter().for_each(|completion| self.put_back(completion));
                if is_over {
                    break;
                }
            }
        }
    }
}

impl Drop for Rig {
    /// Takes every buffer back, so that the pool's memory is freed.
    fn drop(&mut self) {
        self.device.model().set_malice(Malice::none());
        self.device.model().set_stuck(false);
        let started = self.nvme.start(&mut self.queues, &self.clock);
        self.drain();
        assert!(started.is_ok() || std::thread::panicking());
        assert!(self.pool.available() == self.pool.buffers() || std::thread::panicking(), "a buffer is lost");
    }
}

pub fn one(request: Request) -> Deque<Request, BURST> {
    let mut requests = Deque::new();
    requests.push_back(request).expect("room");
    requests
}

/// Data whose every byte follows from a number.
pub fn data(number: usize, len: usize) -> Vec<u8> {
    (0..len).map(|i| (number.wrapping_mul(31) + i + i / 256).to_le_bytes()[0]).collect()
}
