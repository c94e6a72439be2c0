//! Owns a network device and gives applications without one a port of it each, by channels: a bridge.
//!
//! **Invariant: what leaves a port has that port's address, is in memory that only the switch writes, and was checked
//! there.** So each frame is copied once, between the port's pool and the switch's: a pool shared by all ports would show
//! each the others' frames, and a frame sent from the port's own memory could be changed after its source was checked.
//! No port waits for another: each has its turn, of a burst at most, and its limit.
//!
//! Reading order: [`words`] · this file (set-up) · [`port`] · [`switch`](mod@switch) (the loop).
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

extern crate alloc;

mod port;
mod switch;
mod words;

use alloc::vec::Vec;

use weir_bridge::Limit;
use weir_hal::{Device as _, DmaWindow};
use weir_nic::{Nic, Queues};
use weir_pool::Pool;
use weir_rt::channel::Reach;
use weir_rt::hal::{Function, TscClock, Window};
use weir_rt::{Core, Env, GrantError, log, process, thread};

use crate::port::Port;
use crate::switch::{Switch, Uplink};
use crate::words::Words;

weir_rt::entry!(main);

/// Buffers for both rings of the device, and as many again.
const POOL_BYTES: usize = 2 << 20;
/// Deep enough for the vector instructions of a debug build, too.
const STACK_BYTES: u64 = 256 << 10;

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
}

fn main(mut env: Env) -> Result<(), Failure> {
    let words = Words::parse(env.args())?;
    let stats = env.stats()?;
    let device = env.device("nic")?;
    let mut channels = env.channels()?;
    let mut ports = Vec::new();
    for name in channels.pools() {
        let limit = Limit::new(words.limit(&name));
        ports.push(Port::new(channels.join(&name, Reach::Threads)?, limit));
    }
    let core = env.core("core0").ok();
    let function = Function::new(device)?.ringing(channels.bell());
    let (bell, is_alone) = (channels.bell().clone(), core.is_some());
    let work = move || {
        let info = function.info();
        if weir_e1000e::Net::<Function>::is_for(&info) {
            Switch::new(open::<weir_e1000e::Net<Function>>(function, is_alone)?, ports, bell, stats)
                .run(is_alone)
        } else if weir_igb::Net::<Function>::is_for(&info) {
            Switch::new(open::<weir_igb::Net<Function>>(function, is_alone)?, ports, bell, stats)
                .run(is_alone)
        } else {
            type Virtio = weir_virtio::net::Net<weir_virtio::Pci<Function>>;
            Switch::new(open::<Virtio>(function, is_alone)?, ports, bell, stats).run(is_alone)
        }
    };
    match core {
        Some(core) => run_on(&core, work),
        None => work(),
    }
}

/// Runs `work` on a core of its own; the process ends with it.
fn run_on(core: &Core, work: impl FnOnce() -> Result<(), Failure> + Send + 'static) -> Result<(), Failure> {
    let thread = thread::spawn(STACK_BYTES, Some(core), move || {
        if let Err(failure) = work() {
            log!("{failure}");
            process::exit(1)
        }
    })?;
    thread.join();
    Ok(())
}

/// Opens and starts the device.
fn open<N: Nic<Device = Function>>(function: Function, is_alone: bool) -> Result<Uplink<N>, Failure>
where
    Failure: From<N::Error>,
{
    let queues = Queues { interrupt: !is_alone, ..Queues::default() };
    let (mut net, mut rx, mut tx) = N::open(function, &Window, &TscClock, queues)?;
    let mut pool = Pool::new(Window.allocate(POOL_BYTES)?)?;
    net.start(&mut rx, &mut tx, &mut pool, &TscClock)?;
    Ok(Uplink { net, rx, tx, pool })
}
