//! A started network device over vhost-user, with its back end.
#![allow(dead_code, unreachable_pub, reason = "each test program uses a part of it")]

#[path = "../backend/mod.rs"]
pub mod backend;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use backend::{Backend, Behaviour};
use tempfile::TempDir;
use weir_hal::DmaWindow;
use weir_pool::{BUF_BYTES, Burst, Pool};
use weir_vhost_user::{MonotonicClock, Options, VhostUser, Window};
use weir_virtio::Error;
use weir_virtio::net::{self, Net, RxQueue, TxQueue};

pub const BURST: usize = 32;
pub const ENTRIES: u16 = 64;

/// Far more than any step takes, however loaded the machine is.
const PATIENCE: Duration = Duration::from_secs(60);

pub struct Rig {
    pub folder: TempDir,
    pub backend: Backend,
    pub pool: Pool,
    pub net: Net<VhostUser>,
    pub rx: RxQueue<VhostUser>,
    pub tx: TxQueue<VhostUser>,
}

/// Limits that let a test wait for a failure.
pub fn hasty() -> Options {
    Options { limit: Duration::from_secs(1), ..Options::net() }
}

pub fn patient() -> Options {
    Options { limit: PATIENCE, ..Options::net() }
}

pub fn net_options(interrupt: bool) -> net::Options {
    net::Options { entries: ENTRIES, interrupt, ..net::Options::default() }
}

impl Rig {
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("socket")
    }

    pub fn opened(behaviour: Behaviour, options: Options, interrupt: bool) -> Result<Rig, Error> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("socket");
        let backend = Backend::listen(&path, behaviour);
        let window = Window::new(8 << 20).expect("memory");
        let device = VhostUser::connect(&path, &window, options).map_err(weir_hal::Error::from)?;
        Rig::over(folder, backend, device, &window, interrupt)
    }

    pub fn over(
        folder: TempDir,
        backend: Backend,
        device: VhostUser,
        window: &Window,
        interrupt: bool,
    ) -> Result<Rig, Error> {
        let (net, rx, tx) = Net::over(device, window, &MonotonicClock, &net_options(interrupt))?;
        let buffers = 2 * usize::from(ENTRIES) + 2 * BURST;
        let pool = Pool::new(window.allocate(buffers * usize::from(BUF_BYTES)).expect("memory"))?;
        Ok(Rig { folder, backend, pool, net, rx, tx })
    }

    pub fn started(behaviour: Behaviour, interrupt: bool) -> Rig {
        let mut rig = Rig::opened(behaviour, patient(), interrupt).expect("an honest back end");
        rig.start().expect("an honest back end");
        rig
    }

    pub fn start(&mut self) -> Result<(), Error> {
        self.net.start(&mut self.rx, &mut self.tx, &mut self.pool, &MonotonicClock)
    }

    /// Sends frames; all of them, since the ring has room.
    pub fn send(&mut self, frames: &[Vec<u8>]) {
        let mut burst = Burst::<BURST>::new();
        for frame in frames {
            let mut buf = self.pool.take().expect("a buffer");
            assert!(buf.set_len(u16::try_from(frame.len()).expect("short")));
            buf.frame_mut().copy_from_slice(frame);
            burst.push(buf).expect("room");
        }
        wait_for(|| {
            self.tx.transmit(&mut self.pool, &mut burst).expect("an honest back end");
            burst.is_empty()
        });
    }

    /// Polls until `count` frames have come.
    pub fn receive(&mut self, count: usize) -> Vec<Vec<u8>> {
        let mut frames = Vec::new();
        wait_for(|| {
            self.take_into(&mut frames).expect("an honest back end");
            frames.len() >= count
        });
        frames
    }

    pub fn take_into(&mut self, frames: &mut Vec<Vec<u8>>) -> Result<(), Error> {
        let mut burst = Burst::<BURST>::new();
        let received = self.rx.receive(&mut self.pool, &mut burst);
        while let Some(mut buf) = burst.pop() {
            frames.push(buf.frame_mut().to_vec());
            self.pool.put(buf);
        }
        received.map(|_| ())
    }

    /// Sends frames and gets them back, inverted.
    pub fn assert_works(&mut self) {
        let sent: Vec<Vec<u8>> = (0..10).map(|number| frame(number, 60 + number)).collect();
        self.send(&sent);
        assert_eq!(self.receive(10), sent.iter().map(|frame| inverted(frame)).collect::<Vec<_>>());
    }

    /// Another, honest back end takes the place of this one, and all is well.
    pub fn assert_restarts(&mut self) {
        self.backend.end();
        self.backend = Backend::listen(&self.socket(), Behaviour::default());
        self.start().expect("an honest back end");
        self.assert_works();
        self.assert_none_lost();
    }

    /// Whether every buffer is where it should be: in the pool, or on offer for receiving.
    pub fn assert_none_lost(&mut self) {
        wait_for(|| {
            self.tx.reclaim(&mut self.pool).expect("an honest back end");
            self.tx.in_flight() == 0
        });
        assert_eq!(self.pool.available(), self.pool.buffers() - usize::from(ENTRIES));
    }
}

pub fn wait_for(mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < PATIENCE, "it did not happen");
        std::thread::yield_now();
    }
}

/// A frame whose every byte follows from its number.
pub fn frame(number: usize, len: usize) -> Vec<u8> {
    (0..len).map(|i| (number.wrapping_mul(31) + i).to_le_bytes()[0]).collect()
}

pub fn inverted(frame: &[u8]) -> Vec<u8> {
    frame.iter().map(|byte| !byte).collect()
}
