//! Owns one or two network devices and forwards frames as its words say, in the modes of DPDK's `testpmd`
//! (`netstack/forward`); or measures what a packet costs, where nothing else is done with it than a swap of addresses.
//!
//! **Invariant: no frame enters the kernel**; with `measure`, between the marks of a region there is nothing but a
//! receive, the swap and a transmit, and a region counts only where the burst was full: `weir measure packets` counts
//! its instructions from outside (`qemu/plugin`).
//!
//! Reading order: [`words`] (what it is told) · this file (set-up) · [`run`] (forwards) · [`measure`].
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

extern crate alloc;

mod measure;
mod run;
mod words;

use alloc::vec::Vec;
use core::fmt::Display;
use core::sync::atomic::Ordering;

use weir_abi::stats::Stats;
use weir_forward::forwarder;
use weir_forward::{Forwarder, Mode, Settings};
use weir_hal::Device;
use weir_nic::Nic;
use weir_rt::hal::{Function, TscClock, Window};
use weir_rt::{Env, GrantError, log};

use crate::words::Task;

weir_rt::entry!(main);

/// Why the application ended.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("{0}")]
    Words(#[from] words::BadWord),
    #[error("{0}")]
    Grant(#[from] GrantError),
    #[error("kernel: {0}")]
    Kernel(#[from] weir_rt::Error),
    #[error("{0}")]
    Virtio(#[from] forwarder::Error<weir_virtio::Error>),
    #[error("{0}")]
    Gigabit(#[from] forwarder::Error<weir_e1000e::Error>),
    #[error("the devices are of different kinds")]
    DifferentKinds,
    #[error("measuring needs two devices that are connected with each other")]
    NoPair,
    #[error("no frame arrived for {0} s; are the devices connected with each other?")]
    Silence(u64),
}

/// What forwards here.
type Forwards<N> = Forwarder<'static, N, TscClock>;

fn main(mut env: Env) -> Result<(), Failure> {
    let task = Task::parse(env.args())?;
    let stats = env.stats()?;
    let first = env.device("port0")?;
    let devices: Vec<_> = [first].into_iter().chain(env.device("port1")).collect();
    let core = env.core("core0")?;
    weir_port::on_core(Some(core), move |_| {
        let functions = devices.into_iter().map(Function::new).collect::<Result<_, _>>()?;
        forward_any(functions, &task, stats)
    })
}

/// Forwards with the driver that the devices have; those that have none are refused by the last.
fn forward_any(functions: Vec<Function>, task: &Task, stats: &Stats) -> Result<(), Failure> {
    type Virtio = weir_virtio::net::Net<weir_virtio::Pci<Function>>;
    type E1000e = weir_e1000e::Net<Function>;
    type Igb = weir_igb::Net<Function>;
    let info = functions[0].info();
    let is_same = |other: &Function| (other.info().vendor, other.info().device) == (info.vendor, info.device);
    if !functions.iter().all(is_same) {
        return Err(Failure::DifferentKinds);
    }
    if E1000e::is_for(&info) {
        forward::<E1000e>(functions, task, stats)
    } else if Igb::is_for(&info) {
        forward::<Igb>(functions, task, stats)
    } else {
        forward::<Virtio>(functions, task, stats)
    }
}

fn forward<N: Nic<Device = Function>>(
    functions: Vec<Function>,
    task: &Task,
    stats: &Stats,
) -> Result<(), Failure>
where
    Failure: From<forwarder::Error<N::Error>>,
{
    let open = |settings: &Settings| {
        let forwarder: Forwards<N> = Forwarder::open(functions, &Window, TscClock, settings)?;
        stats.ready.store(1, Ordering::Release);
        Ok::<_, Failure>(forwarder)
    };
    match task {
        Task::Forward(settings) => run::forward(open(settings)?, stats),
        Task::Measure(measure) => measure::measure(open(&Settings::of(Mode::Macswap))?, *measure),
    }
}

/// Says a text of several lines.
fn say(text: impl Display) {
    alloc::format!("{text}").lines().for_each(|line| log!("{line}"));
}
