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
use weir_nic::{Nic, Queues};
use weir_port::Drive;
use weir_rt::bell::Doorbell;
use weir_rt::channel::{Reach, Share};
use weir_rt::hal::{Function, TscClock, Window};
use weir_rt::{Env, GrantError, clock};

use crate::receive::Receive;
use crate::transmit::Transmit;
use crate::words::{Role, Words};
use crate::work::Work;

weir_rt::entry!(main);

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
    Virtio(#[from] weir_port::VirtioError),
    #[error("nic: {0}")]
    Gigabit(#[from] weir_port::GigabitError),
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
    let bell = Arc::clone(channels.bell());
    let function = device.map(Function::new).transpose()?.map(|function| function.ringing(&bell));
    weir_port::on_core(core, move |is_alone| {
        let place = Place { share, bell, stats, is_alone };
        match function {
            Some(function) => weir_port::drive(function, Run { place, words }),
            None => stage::run(Work::new(place, words.drop_port), words.role),
        }
    })
}

/// A stage with a device.
struct Run {
    place: Place,
    words: Words,
}

impl Drive for Run {
    type Failure = Failure;

    fn drive<N: Nic<Device = Function>>(self, function: Function) -> Result<(), Failure>
    where
        Failure: From<N::Error>,
    {
        run_with::<N>(function, self.place, self.words)
    }
}

fn run_with<N: Nic<Device = Function>>(
    function: Function,
    mut place: Place,
    words: Words,
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
