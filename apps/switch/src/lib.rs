//! Owns a network device and gives applications without one a port of it each, by channels: a bridge.
//!
//! **Invariant: what leaves a port has that port's address, is in memory that only the switch writes, and was checked
//! there.** So each frame is copied once, between the port's pool and the switch's: a pool shared by all ports would show
//! each the others' frames, and a frame sent from the port's own memory could be changed after its source was checked.
//! No port waits for another: each has its turn, of a burst at most, and its limit.
//!
//! It is a library, so that there can be programs of several versions: the supervisor lets one take the place of another
//! while applications behind it go on (`replace`). Nothing of the former one's is used: the device is reset, and the
//! channels begin a new generation.
//!
//! Reading order: `words` · this file (set-up) · `port` · `switch` (the loop) · `bin/` (the programs).
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod port;
mod switch;
mod words;

use alloc::sync::Arc;
use alloc::vec::Vec;

use weir_abi::stats::Stats;
use weir_bridge::Limit;
use weir_nic::{Nic, Queues};
use weir_port::Drive;
use weir_rt::bell::Doorbell;
use weir_rt::channel::Reach;
use weir_rt::hal::Function;
use weir_rt::{Env, GrantError, log};

use crate::port::Port;
use crate::switch::Switch;
pub use crate::words::BadWord;
use crate::words::Words;

/// Buffers for both rings of the device, and as many again.
const POOL_BYTES: usize = 2 << 20;

/// Why the application ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// A word of the manifest's.
    #[error("{0}")]
    Words(#[from] BadWord),
    /// A grant.
    #[error("{0}")]
    Grant(#[from] GrantError),
    /// The kernel refused something.
    #[error("kernel: {0}")]
    Kernel(#[from] weir_rt::Error),
    /// The driver.
    #[error("nic: {0}")]
    Virtio(#[from] weir_port::VirtioError),
    /// The driver.
    #[error("nic: {0}")]
    Gigabit(#[from] weir_port::GigabitError),
    /// The driver's host.
    #[error("nic: {0}")]
    Host(#[from] weir_hal::Error),
}

/// Switches, as version `version` of this program.
///
/// # Errors
/// A grant is missing, a word is wrong, or the device fails.
pub fn run(mut env: Env, version: u32) -> Result<(), Failure> {
    let words = Words::parse(env.args())?;
    let stats = env.stats()?;
    let device = env.device("nic")?;
    let mut channels = env.channels()?;
    let mut ports = Vec::new();
    for name in channels.pools() {
        let limit = Limit::new(words.limit(&name));
        ports.push(Port::new(channels.join(&name, Reach::Threads)?, limit));
    }
    log!("version {version}, in its life {}", env.restarts() + 1);
    let core = env.core("core0").ok();
    let function = Function::new(device)?.ringing(channels.bell());
    let bell = channels.bell().clone();
    weir_port::on_core(core, move |is_alone| weir_port::drive(function, Run { ports, bell, stats, is_alone }))
}

/// A switch without its device.
struct Run {
    ports: Vec<Port>,
    bell: Arc<Doorbell>,
    stats: &'static Stats,
    is_alone: bool,
}

impl Drive for Run {
    type Failure = Failure;

    fn drive<N: Nic<Device = Function>>(self, function: Function) -> Result<(), Failure>
    where
        Failure: From<N::Error>,
    {
        let queues = Queues { interrupt: !self.is_alone, ..Queues::default() };
        let uplink = weir_port::Port::<N>::open::<Failure>(function, queues, POOL_BYTES)?;
        Switch::new(uplink, self.ports, self.bell, self.stats).run(self.is_alone)
    }
}
