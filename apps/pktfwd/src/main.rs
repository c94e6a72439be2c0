//! Owns two network devices that are connected with each other, and swaps the addresses of every frame that one of
//! them receives and sends it back: what a packet costs, where nothing else is done with it.
//!
//! **Invariant: between the marks of a region there is nothing but a receive, the swap and a transmit**, and a region
//! counts only where the burst was full: `weir measure packets` counts its instructions from outside
//! (`qemu/plugin`).
//!
//! Reading order: [`words`] (what it is told) · this file (set-up) · [`forward`].
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

extern crate alloc;

mod forward;
mod words;

use core::sync::atomic::Ordering;

use weir_hal::{Device, DmaWindow};
use weir_net::MacAddress;
use weir_nic::Nic;
use weir_pool::Pool;
use weir_rt::hal::{Function, TscClock, Window};
use weir_rt::{Env, GrantError, log, process, thread};

use crate::forward::Forwarder;
use crate::words::Words;

weir_rt::entry!(main);

/// Buffers for both rings of a device, and as many again: one large page.
const POOL_BYTES: usize = 2 << 20;
/// Deep enough for the vector instructions of a debug build, too.
const STACK_BYTES: u64 = 256 << 10;
/// How long both links may take to come up.
const LINK_LIMIT_US: u64 = 10_000_000;

/// Why the application ended.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("{0}")]
    Words(#[from] words::BadWord),
    #[error("{0}")]
    Grant(#[from] GrantError),
    #[error("kernel: {0}")]
    Kernel(#[from] weir_rt::Error),
    #[error("nic: {0}")]
    Virtio(#[from] weir_virtio::Error),
    #[error("nic: {0}")]
    Gigabit(#[from] weir_e1000e::Error),
    #[error("nic: {0}")]
    Host(#[from] weir_hal::Error),
    #[error("nic: it has no MAC address")]
    NoMac,
    #[error("the two devices are of different kinds")]
    DifferentKinds,
    #[error("no frame arrived for {0} s; are the devices connected with each other?")]
    Silence(u64),
}

/// A device and what goes with it.
struct Port<N: Nic> {
    net: N,
    rx: N::Rx,
    tx: N::Tx,
    pool: Pool,
    mac: MacAddress,
}

fn main(mut env: Env) -> Result<(), Failure> {
    let words = Words::parse(env.args())?;
    let stats = env.stats()?;
    let devices = [env.device("left")?, env.device("right")?];
    let core = env.core("core0")?;
    let work = move || {
        let [left, right] = devices;
        let functions = [Function::new(left)?, Function::new(right)?];
        stats.ready.store(1, Ordering::Release);
        forward_any(functions, words)
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

/// Forwards with the driver that the devices have; those that have none are refused by the last.
fn forward_any(functions: [Function; 2], words: Words) -> Result<(), Failure> {
    type Virtio = weir_virtio::net::Net<weir_virtio::Pci<Function>>;
    type E1000e = weir_e1000e::Net<Function>;
    type Igb = weir_igb::Net<Function>;
    let [left, right] = [functions[0].info(), functions[1].info()];
    if (left.vendor, left.device) != (right.vendor, right.device) {
        return Err(Failure::DifferentKinds);
    }
    if E1000e::is_for(&left) {
        forward::<E1000e>(functions, words)
    } else if Igb::is_for(&left) {
        forward::<Igb>(functions, words)
    } else {
        forward::<Virtio>(functions, words)
    }
}

fn forward<N: Nic<Device = Function>>(functions: [Function; 2], words: Words) -> Result<(), Failure>
where
    Failure: From<N::Error>,
{
    let [left, right] = functions;
    let mut ports = [Port::<N>::open(left)?, Port::<N>::open(right)?];
    for port in &mut ports {
        port.start()?;
    }
    weir_hal::wait_until(&TscClock, LINK_LIMIT_US, || {
        ports.iter().all(|port| matches!(port.net.read_link_up(), Ok(true)))
    })?;
    let mut forwarder = Forwarder::new(ports);
    forwarder.fill(words.circulating)?;
    forwarder.measure::<1, 0, 1>(words.frames_in(1))?;
    forwarder.measure::<8, 2, 3>(words.frames_in(8))?;
    forwarder.measure::<32, 4, 5>(words.frames_in(32))
}

impl<N: Nic<Device = Function>> Port<N>
where
    Failure: From<N::Error>,
{
    fn open(function: Function) -> Result<Port<N>, Failure> {
        let (net, rx, tx) = N::open(function, &Window, &TscClock, false)?;
        let pool = Pool::new(Window.allocate(POOL_BYTES)?)?;
        let mac = MacAddress(net.read_mac()?.ok_or(Failure::NoMac)?);
        Ok(Port { net, rx, tx, pool, mac })
    }

    fn start(&mut self) -> Result<(), Failure> {
        Ok(self.net.start(&mut self.rx, &mut self.tx, &mut self.pool, &TscClock)?)
    }
}
