//! Owns a network device and sends every frame back with its addresses swapped: frames longer than a buffer
//! and what the device does with checksums, for a host at the other end that checks every byte.
//!
//! Words: `long`, for frames in several buffers; `checksums`: where the device says that a frame's checksum is right, the last
//! byte is changed and the device fills in the checksum anew, so that the host sees both; `fill`: the same with every frame,
//! whatever the device says; `segments`: the device cuts what is TCP, too; `pairs=N`: so many pairs of queues, over which frames
//! are spread by hash, and what is added to a last byte is one more than the queue's number.
//!
//! Reading order: this file (set-up, loop) · [`frame`] (what is done to a frame).
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

extern crate alloc;

mod frame;

use alloc::string::String;
use alloc::vec::Vec;
use core::sync::atomic::Ordering;

use weir_abi::stats::Stats;
use weir_hal::{Device, DmaWindow, wait_until};
use weir_nic::{
    HashTypes, Lane, MultiQueue, Nic, OpenedPairs, RSS_KEY_BYTES, Rss, RxQueue as _, TxOffload, TxQueue as _,
};
use weir_pool::{Burst, Pool};
use weir_rt::hal::{Function, TscClock, Window};
use weir_rt::{Env, GrantError, log};
use weir_virtio::Features;

weir_rt::entry!(main);

/// Buffers for both rings, and as many again: one large page.
const POOL_BYTES: usize = 2 << 20;
/// How long the link may take to come up.
const LINK_LIMIT_US: u64 = 10_000_000;
/// Buffers taken at once, and of one frame at most.
const BURST: usize = 32;
const PARTS: usize = 16;

/// The key that Microsoft's "Verifying the RSS Hash Calculation" has its examples for.
const KEY: [u8; RSS_KEY_BYTES] = [
    0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3, 0x8f, 0xb0, 0xd0,
    0xca, 0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3, 0x80, 0x30, 0xf2, 0x0c, 0x6a, 0x42,
    0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa,
];

/// Why the application ended.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("unknown word `{0}`; there are: long, checksums, fill, segments, pairs=N")]
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
    #[error("the device has {count} pairs of queues, not {asked}; a power of two of them is wanted")]
    Pairs { asked: u16, count: usize },
}

/// What is asked of the device beyond ordinary frames.
#[derive(Clone, Copy, Default)]
struct Words {
    long: bool,
    checksums: bool,
    fill: bool,
    segments: bool,
    pairs: u16,
}

impl Words {
    fn take(&mut self, word: &str) -> Option<()> {
        match word.split_once('=') {
            None if word == "long" => self.long = true,
            None if word == "checksums" => self.checksums = true,
            None if word == "fill" => self.fill = true,
            None if word == "segments" => self.segments = true,
            Some(("pairs", number)) => self.pairs = number.parse().ok()?,
            _ => return None,
        }
        Some(())
    }
}

fn main(mut env: Env) -> Result<(), Failure> {
    let mut words = Words { pairs: 1, ..Words::default() };
    for word in env.args() {
        words.take(word).ok_or_else(|| Failure::Word(word.clone()))?;
    }
    let (stats, device, core) = (env.stats()?, env.device("nic")?, env.core("core0")?);
    weir_port::on_core(Some(core), move |_| serve_any(Function::new(device)?, words, stats))
}

/// Serves with the driver that the device has; one that has none is refused by the last.
fn serve_any(function: Function, words: Words, stats: &'static Stats) -> Result<(), Failure> {
    let Words { long, checksums, pairs, .. } = words;
    let info = function.info();
    let intel =
        weir_igb::Options { long_frames: long, rx_checksum: checksums, ..weir_igb::Options::default() };
    if weir_igb::Net::<Function>::is_for(&info) {
        let opened = weir_igb::Net::open_pairs(function, &Window, &TscClock, &intel, pairs)?;
        return serve(opened, words, stats);
    }
    if weir_e1000e::Net::<Function>::is_for(&info) {
        let opened = weir_e1000e::Net::open_pairs(function, &Window, &TscClock, &intel, pairs)?;
        return serve(opened, words, stats);
    }
    let mut virtio = weir_virtio::net::Options { pairs, ..weir_virtio::net::Options::default() };
    virtio.features.set(Features::MRG_RXBUF, long);
    virtio.features.set(Features::GUEST_CSUM, checksums);
    serve(weir_virtio::net::Net::open_pairs(function, &Window, &TscClock, &virtio)?, words, stats)
}

/// Starts the device and sends frames back until something fails.
fn serve<N: MultiQueue>(
    (mut net, queues): OpenedPairs<N>,
    words: Words,
    stats: &'static Stats,
) -> Result<(), Failure>
where
    Failure: From<N::Error>,
{
    let count = queues.len();
    if count != usize::from(words.pairs) {
        return Err(Failure::Pairs { asked: words.pairs, count });
    }
    let swapper = |((rx, tx), added)| {
        let pool = Pool::new(Window.allocate(POOL_BYTES)?)?;
        Ok(Swapper::<N> { rx, tx, pool, frame: Burst::new(), added, words, stats })
    };
    let mut swappers = queues.into_iter().zip(1..).map(swapper).collect::<Result<Vec<_>, Failure>>()?;
    let mut lanes: Vec<_> = swappers.iter_mut().map(Swapper::lane).collect();
    net.start_pairs(&mut lanes, &TscClock)?;
    if count > 1 {
        let table: Vec<u16> = (0..words.pairs).collect();
        net.set_rss(&Rss { key: &KEY, table: &table, hashed: HashTypes::all() }, &TscClock)?;
    }
    wait_until(&TscClock, LINK_LIMIT_US, || matches!(net.read_link_up(), Ok(true)))?;
    log!("swapping addresses; the device can {:?}", net.offloads());
    stats.ready.store(1, Ordering::Release);
    loop {
        swappers.iter_mut().try_for_each(Swapper::turn)?;
    }
}

/// A pair of queues.
struct Swapper<N: Nic> {
    rx: N::Rx,
    tx: N::Tx,
    pool: Pool,
    /// The frame under way, whose end may come with the next burst.
    frame: Burst<PARTS>,
    /// What is added to the last byte of frames that are changed.
    added: u8,
    words: Words,
    stats: &'static Stats,
}

impl<N: Nic> Swapper<N>
where
    Failure: From<N::Error>,
{
    fn lane(&mut self) -> Lane<'_, N::Rx, N::Tx> {
        Lane { rx: &mut self.rx, tx: &mut self.tx, pool: &mut self.pool }
    }

    fn turn(&mut self) -> Result<(), Failure> {
        let mut received = Burst::<BURST>::new();
        self.rx.receive(&mut self.pool, &mut received)?;
        while let Some(buf) = received.pop() {
            let is_whole = !buf.continues();
            self.frame.push(buf).map_err(|_| Failure::Parts)?;
            if is_whole {
                self.send_back()?;
            }
        }
        Ok(())
    }

    fn send_back(&mut self) -> Result<(), Failure> {
        let is_good = self.frame.iter().last().is_some_and(weir_pool::Buf::is_checksum_good);
        let offload = if is_good || self.words.fill {
            frame::change(&mut self.frame, self.added, self.words.segments)
        } else {
            TxOffload::NONE
        };
        frame::swap(&mut self.frame);
        while !self.frame.is_empty() {
            self.tx.transmit_with(&mut self.pool, &mut self.frame, |_| offload)?;
        }
        self.stats.tx_packets.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}
