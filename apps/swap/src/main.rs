//! Owns one of Intel's gigabit controllers and sends every frame back with its addresses swapped: frames longer than a buffer
//! and what the device does with checksums, for a host at the other end that checks every byte.
//!
//! Words: `long`, for frames in several buffers; `checksums`: where the device says that a frame's checksum is right, the last
//! byte is changed and the device fills in the checksum anew, so that the host sees both.
//!
//! Reading order: this file (set-up, loop) · [`frame`] (what is done to a frame).
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

extern crate alloc;

mod frame;

use alloc::string::String;
use core::sync::atomic::Ordering;

use weir_abi::stats::Stats;
use weir_gigabit::{Chip, Net, Options, RxQueue, TxQueue};
use weir_hal::{Device, DmaWindow, wait_until};
use weir_nic::{Nic, OffloadingTxQueue, RxQueue as _};
use weir_pool::{Burst, Pool};
use weir_rt::hal::{Function, TscClock, Window};
use weir_rt::{Env, GrantError, log, process, thread};

weir_rt::entry!(main);

/// Buffers for both rings, and as many again: one large page.
const POOL_BYTES: usize = 2 << 20;
/// Deep enough for the vector instructions of a debug build, too.
const STACK_BYTES: u64 = 256 << 10;
/// How long the link may take to come up.
const LINK_LIMIT_US: u64 = 10_000_000;
/// Buffers taken at once, and of one frame at most.
const BURST: usize = 32;
const PARTS: usize = 16;

/// Why the application ended.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("unknown word `{0}`; there are: long, checksums")]
    Word(String),
    #[error("{0}")]
    Grant(#[from] GrantError),
    #[error("kernel: {0}")]
    Kernel(#[from] weir_rt::Error),
    #[error("nic: {0}")]
    Nic(#[from] weir_gigabit::Error),
    #[error("nic: {0}")]
    Host(#[from] weir_hal::Error),
    #[error("a frame in more buffers than any has")]
    Parts,
}

fn main(mut env: Env) -> Result<(), Failure> {
    let mut options = Options::default();
    for word in env.args() {
        match word.as_str() {
            "long" => options.long_frames = true,
            "checksums" => options.rx_checksum = true,
            _ => return Err(Failure::Word(word.clone())),
        }
    }
    let (stats, device, core) = (env.stats()?, env.device("nic")?, env.core("core0")?);
    let work = move || {
        let function = Function::new(device)?;
        if weir_igb::Net::<Function>::is_for(&function.info()) {
            serve::<weir_igb::I82576>(function, &options, stats)
        } else {
            serve::<weir_e1000e::I82574>(function, &options, stats)
        }
    };
    let thread = thread::spawn(STACK_BYTES, Some(&core), move || {
        if let Err(failure) = work() {
            log!("{failure}");
            process::exit(1)
        }
    })?;
    thread.join();
    Ok(())
}

/// Opens the device and sends frames back until something fails.
fn serve<C: Chip>(function: Function, options: &Options, stats: &'static Stats) -> Result<(), Failure> {
    let (mut net, mut rx, mut tx) = Net::<Function, C>::open(function, &Window, &TscClock, options)?;
    let mut pool = Pool::new(Window.allocate(POOL_BYTES)?)?;
    net.start(&mut rx, &mut tx, &mut pool, &TscClock)?;
    wait_until(&TscClock, LINK_LIMIT_US, || matches!(net.read_link_up(), Ok(true)))?;
    log!("swapping addresses; the device can {:?}", net.offloads());
    stats.ready.store(1, Ordering::Release);
    Swapper { rx, tx, pool, frame: Burst::new(), stats }.run()
}

struct Swapper<C: Chip> {
    rx: RxQueue<Function, C>,
    tx: TxQueue<Function, C>,
    pool: Pool,
    /// The frame under way, whose end may come with the next burst.
    frame: Burst<PARTS>,
    stats: &'static Stats,
}

impl<C: Chip> Swapper<C> {
    fn run(mut self) -> Result<(), Failure> {
        let mut received = Burst::<BURST>::new();
        loop {
            self.rx.receive(&mut self.pool, &mut received)?;
            while let Some(buf) = received.pop() {
                let is_whole = !buf.continues();
                self.frame.push(buf).map_err(|_| Failure::Parts)?;
                if is_whole {
                    self.send_back()?;
                }
            }
        }
    }

    fn send_back(&mut self) -> Result<(), Failure> {
        let is_good = self.frame.iter().last().is_some_and(weir_pool::Buf::is_checksum_good);
        let offload = if is_good { frame::change(&mut self.frame) } else { weir_nic::TxOffload::NONE };
        frame::swap(&mut self.frame);
        while !self.frame.is_empty() {
            self.tx.transmit_with(&mut self.pool, &mut self.frame, |_| offload)?;
        }
        self.stats.tx_packets.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}
