//! Block devices.

use std::collections::BTreeSet;

use weir_block::{BlockDevice, BlockError, BlockQueue, Completion, Deque, Disk, Options, Request};
use weir_hal::DmaWindow;
use weir_pool::{BlockBuf, BlockPool};
use weir_sim::nvme::{self, Namespace};
use weir_sim::{Malice, Model, Script, SimClock, SimDevice, SimWindow, virtio_blk};

use crate::{Tally, scribble};

const BUFFERS: usize = 8;
const BUFFER_BYTES: u32 = 16384;
const BURST: usize = 8;
/// Time passes quickly: a wait of a second is a few looks.
const STEP_US: u64 = 100_000;

/// A simulated block device, as a play needs it.
pub trait Stage: Model {
    /// Makes it lie.
    fn set_malice(&mut self, malice: Malice);
    /// Does what waits.
    fn work(&mut self);
}

impl Stage for weir_sim::VirtioBlk {
    fn set_malice(&mut self, malice: Malice) {
        weir_sim::VirtioBlk::set_malice(self, malice);
    }

    fn work(&mut self) {
        weir_sim::VirtioBlk::work(self);
    }
}

impl Stage for weir_sim::Nvme {
    fn set_malice(&mut self, malice: Malice) {
        weir_sim::Nvme::set_malice(self, malice);
    }

    fn work(&mut self) {
        weir_sim::Nvme::work(self);
    }
}

/// A driver and its device.
pub trait Subject {
    /// The device.
    type Model: Stage;
    /// The driver.
    type Driver: BlockDevice<Device = SimDevice<Self::Model>>;

    /// A device of a kind that the script chooses.
    fn model(script: &Script, window: &SimWindow) -> Self::Model;
}

/// virtio-blk.
pub struct VirtioBlk;
/// NVM Express.
pub struct Nvme;

impl Subject for VirtioBlk {
    type Model = weir_sim::VirtioBlk;
    type Driver = weir_virtio::blk::Blk<SimDevice<weir_sim::VirtioBlk>>;

    fn model(script: &Script, window: &SimWindow) -> weir_sim::VirtioBlk {
        let [entries, choices] = script.bytes();
        let behaviour = virtio_blk::Behaviour {
            entries: 4 << (entries % 5),
            sectors: 128,
            works_on_kick: choices & 1 == 0,
            shuffles: choices & 2 != 0,
            ..virtio_blk::Behaviour::default()
        };
        weir_sim::VirtioBlk::new(window, behaviour)
    }
}

impl Subject for Nvme {
    type Model = weir_sim::Nvme;
    type Driver = weir_nvme::Nvme<SimDevice<weir_sim::Nvme>>;

    fn model(script: &Script, window: &SimWindow) -> weir_sim::Nvme {
        let [entries, choices] = script.bytes();
        let namespaces = vec![
            Namespace { blocks: 128, ..Namespace::default() },
            Namespace { id: 3, blocks: 16, block_shift: 12, ..Namespace::default() },
        ];
        let behaviour = nvme::Behaviour {
            entries: 2 << (entries % 5),
            works_on_doorbell: choices & 1 == 0,
            shuffles: choices & 2 != 0,
            doorbell_stride: choices >> 2 & 1,
            namespaces,
            ..nvme::Behaviour::default()
        };
        weir_sim::Nvme::new(window, behaviour)
    }
}

type QueueOf<S> = <<S as Subject>::Driver as BlockDevice>::Queue;

/// A driver, its device, and the program that owns both.
struct Cast<S: Subject> {
    script: Script,
    window: SimWindow,
    clock: SimClock,
    device: SimDevice<S::Model>,
    driver: S::Driver,
    queues: Vec<QueueOf<S>>,
    pool: BlockPool,
    /// Tokens of requests that have not come back.
    under_way: BTreeSet<u64>,
    next_token: u64,
    /// What it said of itself when it was opened was true. Otherwise it may have become another device, which must be
    /// opened again.
    was_opened_honestly: bool,
    tally: Tally,
}

/// Plays what `bytes` say.
pub fn play<S: Subject>(bytes: &[u8]) -> Tally {
    let (script, window) = (Script::new(bytes), SimWindow::default());
    let device = SimDevice::new(S::model(&script, &window));
    let clock = SimClock::by(STEP_US);
    let choices = script.byte();
    let lies_from_the_start = choices & 3 == 0;
    if lies_from_the_start {
        device.model().set_malice(Malice::scripted(&script));
    }
    let options = Options { queues: 1 + u16::from(choices >> 2 & 1), depth: 7, interrupt: choices & 8 != 0 };
    let mut tally = Tally::default();
    let opened = S::Driver::open(device.clone(), &window, &clock, &options);
    tally.count(&opened, BlockError::is_violation);
    let Ok((driver, queues)) = opened else {
        assert!(lies_from_the_start, "an honest device opens");
        assert_eq!(window.allocations(), 0, "a driver that does not open keeps nothing");
        return tally;
    };
    let memory = window.allocate(BUFFERS * BUFFER_BYTES as usize).expect("memory");
    let pool = BlockPool::new(memory, BUFFER_BYTES).expect("buffers");
    let mut cast = Cast::<S> {
        script: script.clone(),
        window: window.clone(),
        clock,
        device,
        driver,
        queues,
        pool,
        under_way: BTreeSet::new(),
        next_token: 0,
        was_opened_honestly: !lies_from_the_start,
        tally,
    };
    if !lies_from_the_start {
        assert!(cast.start(), "an honest device starts");
        cast.device.model().set_malice(Malice::scripted(&script));
    }
    while !script.is_over() {
        cast.step();
    }
    cast.end();
    let tally = cast.tally;
    drop(cast);
    assert_eq!(window.allocations(), 0, "all memory is given back");
    tally
}

impl<S: Subject> Cast<S> {
    fn start(&mut self) -> bool {
        let result = self.driver.start(&mut self.queues, &self.clock);
        self.tally.count(&result, BlockError::is_violation);
        result.is_ok()
    }

    /// One thing that the program, the device or the world does.
    fn step(&mut self) {
        let [what, queue] = self.script.bytes();
        let queue = usize::from(queue) % self.queues.len();
        let violations = self.tally.violations;
        match what % 16 {
            0..=3 => self.submit(queue),
            4..=7 => drop(self.complete(queue)),
            8 | 9 => self.device.model().work(),
            10 => scribble(&self.script, &self.window),
            11 => drop(self.start()),
            12 => self.start_honestly(),
            13 => {
                let result = self.queues[queue].wait(0);
                self.tally.count(&result, BlockError::is_violation);
            }
            14 => {
                self.queues[queue].tick();
                let result = self.driver.abort_late(&mut self.queues[queue], &self.clock);
                self.tally.count(&result, BlockError::is_violation);
            }
            _ => {
                self.driver.has_stopped();
            }
        }
        assert!(self.pool.available() <= self.pool.buffers());
        // What a program should do, and mostly does.
        if self.tally.violations > violations && self.script.byte() & 3 != 0 {
            self.start_honestly();
        }
    }

    fn submit(&mut self, queue: usize) {
        let [kind, length] = self.script.bytes();
        let block = u64::from(self.script.byte() % 160);
        // Mostly one that there is.
        let disks = self.driver.disks();
        let disk = if kind >> 4 == 15 { disks.len() } else { usize::from(kind >> 4) % disks.len() };
        let unit = disks.get(disk).map_or(512, Disk::block_bytes);
        let disk = u16::try_from(disk).expect("few");
        let token = self.next_token;
        let request = match (kind % 8, self.pool.take()) {
            (0, buffer) => {
                buffer.into_iter().for_each(|buf| self.pool.put(buf));
                Request::flush(disk, token)
            }
            (1, buffer) => {
                buffer.into_iter().for_each(|buf| self.pool.put(buf));
                Request::trim(disk, block, length.into(), token)
            }
            (_, None) => return,
            (kind, Some(mut buffer)) => {
                // A few blocks, or an odd length.
                let length = u32::from(length);
                let bytes = if length < 0xf0 { unit * (length % 4 + 1) } else { 16 * length };
                let _ = buffer.set_len(bytes);
                if kind & 1 == 0 {
                    Request::read(disk, block, buffer, token)
                } else {
                    Request::write(disk, block, buffer, token)
                }
            }
        };
        let mut requests = Deque::<Request, BURST>::new();
        assert!(requests.push_back(request).is_ok());
        let result = self.queues[queue].submit(&mut requests);
        self.tally.count(&result, BlockError::is_violation);
        self.next_token += 1;
        if requests.is_empty() {
            self.under_way.insert(token);
        }
        for request in requests {
            request.buffer.into_iter().for_each(|buf| self.pool.put(buf));
        }
    }

    /// Takes what a queue completes; whether that was anything.
    fn complete(&mut self, queue: usize) -> bool {
        let mut done = Deque::<Completion, BURST>::new();
        let result = self.queues[queue].complete(&mut done);
        self.tally.count(&result, BlockError::is_violation);
        let is_something = !done.is_empty();
        for mut completion in done {
            assert!(self.under_way.remove(&completion.token), "a request came back twice");
            if let Some(buffer) = &mut completion.buffer {
                // Its bytes are the program's alone.
                buffer.bytes_mut().fill(0);
            }
            completion.buffer.into_iter().for_each(|buf| self.pool.put(buf));
        }
        is_something
    }

    /// Starts it while it is honest.
    fn start_honestly(&mut self) {
        self.device.model().set_malice(Malice::none());
        let is_started = self.start();
        assert!(is_started || !self.was_opened_honestly, "a device that is honest again starts");
        self.device.model().set_malice(Malice::scripted(&self.script));
    }

    /// The device is honest from now on: everything works again, and every buffer comes home.
    fn end(&mut self) {
        self.start_honestly();
        (0..self.queues.len()).for_each(|queue| while self.complete(queue) {});
        assert!(self.under_way.is_empty(), "every request came back");
        if self.was_opened_honestly {
            self.assert_works();
        }
        let home: Vec<BlockBuf> = std::iter::from_fn(|| self.pool.take()).collect();
        assert_eq!(home.len(), self.pool.buffers(), "every buffer came home");
        home.into_iter().for_each(|buf| self.pool.put(buf));
    }

    /// What is written is read again, by every queue.
    fn assert_works(&mut self) {
        for queue in 0..self.queues.len() {
            for (is_read, byte) in [(false, 0xa5), (true, 0)] {
                let mut buffer = self.pool.take().expect("a buffer");
                assert!(buffer.set_len(512));
                buffer.bytes_mut().fill(byte);
                let request = if is_read { Request::read } else { Request::write };
                let mut requests = Deque::<Request, BURST>::new();
                assert!(requests.push_back(request(0, 5, buffer, 0)).is_ok());
                let submitted = self.queues[queue].submit(&mut requests);
                self.tally.count(&submitted, BlockError::is_violation);
                self.device.model().work();
                let mut done = Deque::<Completion, BURST>::new();
                let completed = self.queues[queue].complete(&mut done);
                self.tally.count(&completed, BlockError::is_violation);
                let completion = done.pop_front().expect("it is done");
                assert_eq!(completion.result, Ok(()));
                let buffer = completion.buffer.expect("with its buffer");
                assert!(buffer.bytes().iter().all(|&byte| byte == 0xa5), "the data came back");
                self.pool.put(buffer);
            }
        }
    }
}
