//! Owns a network device and sends every frame back with its addresses swapped: frames longer than a buffer
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
use weir_hal::{Device, DmaWindow, wait_until};
use weir_nic::{Nic, OffloadingTxQueue, Opened, RxQueue as _};
use weir_pool::{Burst, Pool};
use weir_rt::hal::{Function, TscClock, Window};
use weir_rt::{Env, GrantError, log, process, thread};
use weir_virtio::Features;

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
    Gigabit(#[from] weir_igb::Error),
    #[error("nic: {0}")]
    Virtio(#[from] weir_virtio::Error),
    #[error("nic: {0}")]
    Host(#[from] weir_hal::Error),
    #[error("a frame in more buffers than any has")]
    Parts,
}

/// What is asked of the device beyond ordinary frames.
#[derive(Clone, Copy, Default)]
struct Words {
    long: bool,
    checksums: bool,
}

fn main(mut env: Env) -> Result<(), Failure> {
    let mut words = Words::default();
    for word in env.args() {
        match word.as_str() {
            "long" => words.long = true,
            "checksums" => words.checksums = true,
            _ => return Err(Failure::Word(word.clone())),
        }
    }
    let (stats, device, core) = (env.stats()?, env.device("nic")?, env.core("core0")?);
    let work = move || serve_any(Function::new(device)?, words, stats);
    let thread = thread::spawn(STACK_BYTES, Some(&core), move || {
        if let Err(failure) = work() {
            log!("{failure}");
            process::exit(1)
        }
    })?;
    thread.join();
    Ok(())
}

/// Serves with the driver that the device has; one that has none is refused by the last.
fn serve_any(function: Function, words: Words, stats: &'static Stats) -> Result<(), Failure> {
    let Words { long, checksums } = words;
    let info = function.info();
    let intel =
        weir_igb::Options { long_frames: long, rx_checksum: checksums, ..weir_igb::Options::default() };
    if weir_igb::Net::<Function>::is_for(&info) {
        return serve(weir_igb::Net::open(function, &Window, &TscClock, &intel)?, stats);
    }
    if weir_e1000e::Net::<Function>::is_for(&info) {
        return serve(weir_e1000e::Net::open(function, &Window, &TscClock, &intel)?, stats);
    }
    let mut virtio = weir_virtio::net::Options::default();
    virtio.features.set(Features::MRG_RXBUF, long);
    virtio.features.set(Features::GUEST_CSUM, checksums);
    serve(weir_virtio::net::Net::open(function, &Window, &TscClock, &virtio)?, stats)
}

/// Starts the device and sends frames back until something fails.
fn serve<N: Nic>((mut net, mut rx, mut tx): Opened<N>, stats: &'static Stats) -> Result<(), Failure>
where
    N::Tx: OffloadingTxQueue,
    Failure: From<N::Error>,
{
    let mut pool = Pool::new(Window.allocate(POOL_BYTES)?)?;
    net.start(&mut rx, &mut tx, &mut pool, &TscClock)?;
    wait_until(&TscClock, LINK_LIMIT_US, || matches!(net.read_link_up(), Ok(true)))?;
    log!("swapping addresses; the device can {:?}", net.offloads());
    stats.ready.store(1, Ordering::Release);
    Swapper::<N> { rx, tx, pool, frame: Burst::new(), stats }.run()
}

struct Swapper<N: Nic> {
    rx: N::Rx,
    tx: N::Tx,
    pool: Pool,
    /// The frame under way, whose end may come with the next burst.
    frame: Burst<PARTS>,
    stats: &'static Stats,
}

impl<N: Nic> Swapper<N>
where
    N::Tx: OffloadingTxQueue,
    Failure: From<N::Error>,
{
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
