//! An application in three processes: one receives, one works on frames, one transmits.
//!
//! **Invariant: a frame is never copied**: the first device writes it into a buffer of the pool that all three map, the
//! second reads it there. Which of the three this process is, its first word says. On cores of their own they poll, and
//! nobody enters the kernel for a frame; with the word `sleep` they sleep when idle, and ring each other's bell.
//!
//! Reading order: [`words`] · this file (set-up) · [`stage`] (the loop) · [`receive`] · [`work`] · [`transmit`].
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

extern crate alloc;

mod receive;
mod stage;
mod transmit;
mod words;
mod work;

use alloc::sync::Arc;

use weir_abi::stats::Stats;
use weir_hal::Device as _;
use weir_nic::{Nic, Queues};
use weir_rt::bell::Doorbell;
use weir_rt::channel::{Reach, Share};
use weir_rt::hal::{Function, TscClock, Window};
use weir_rt::{Core, Env, GrantError, clock, log, process, thread};

use crate::receive::Receive;
use crate::transmit::Transmit;
use crate::words::{Role, Words};
use crate::work::Work;

weir_rt::entry!(main);

/// Deep enough for the vector instructions of a debug build, too.
const STACK_BYTES: u64 = 256 << 10;

/// Time between two looks whether the others have let go.
const JOINING_NS: u64 = 1_000_000;

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
    #[error("nic: it does not give back the frames that it was told to send")]
    Stuck,
    #[error("the manifest connects this stage to {0} channel(s) on its pool instead of {1}")]
    Channels(usize, usize),
}

/// A device with its queues.
struct Port<N: Nic> {
    net: N,
    rx: N::Rx,
    tx: N::Tx,
}

/// What every stage has.
struct Place {
    share: Share,
    bell: Arc<Doorbell>,
    stats: &'static Stats,
    /// Nothing else runs on this core.
    is_alone: bool,
}

fn main(mut env: Env) -> Result<(), Failure> {
    let words = Words::parse(env.args())?;
    let stats = env.stats()?;
    let device = if words.role == Role::Work { None } else { Some(env.device("nic")?) };
    let mut channels = env.channels()?;
    let reach = if device.is_some() { Reach::Devices } else { Reach::Threads };
    let name = channels.pools().first().cloned().unwrap_or_default();
    let share = channels.join(&name, reach)?;
    let wanted = if words.role == Role::Work { 2 } else { 1 };
    if share.ends.len() != wanted {
        return Err(Failure::Channels(share.ends.len(), wanted));
    }
    let core = if words.sleep { None } else { env.core("core0").ok() };
    let place = Place { share, bell: Arc::clone(channels.bell()), stats, is_alone: core.is_some() };
    let function = device.map(Function::new).transpose()?;
    let work = move || run(function, place, &words);
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

/// Runs the stage with the driver that its device has; one that has none is refused by the last.
fn run(function: Option<Function>, place: Place, words: &Words) -> Result<(), Failure> {
    let Some(function) = function else {
        return stage::run(Work::new(place, words.drop_port), words.role);
    };
    let function = function.ringing(&place.bell);
    let info = function.info();
    if weir_e1000e::Net::<Function>::is_for(&info) {
        run_with::<weir_e1000e::Net<Function>>(function, place, words)
    } else if weir_igb::Net::<Function>::is_for(&info) {
        run_with::<weir_igb::Net<Function>>(function, place, words)
    } else {
        run_with::<weir_virtio::net::Net<weir_virtio::Pci<Function>>>(function, place, words)
    }
}

fn run_with<N: Nic<Device = Function>>(
    function: Function,
    mut place: Place,
    words: &Words,
) -> Result<(), Failure>
where
    Failure: From<N::Error>,
{
    let interrupt = words.role == Role::Receive && !place.is_alone;
    let queues = Queues { interrupt, ..Queues::default() };
    let (mut net, mut rx, mut tx) = N::open(function, &Window, &TscClock, queues)?;
    // The others may still use what an earlier life had lent. Who only transmits has no buffer of its own, so its device
    // receives nothing.
    while words.role == Role::Receive && !place.share.look() {
        clock::sleep(JOINING_NS);
    }
    net.start(&mut rx, &mut tx, &mut place.share.pool, &TscClock)?;
    let port = Port { net, rx, tx };
    match words.role {
        Role::Transmit => stage::run(Transmit::new(place, port), words.role),
        _ => stage::run(Receive::new(place, port), words.role),
    }
}
