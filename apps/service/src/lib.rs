//! Runs an application's network services on the device that it owns: opens the device with its driver, makes the
//! network over it, and goes round: receive, tasks, send; and sleep where nothing else is to do.
//!
//! **Invariant: on a granted core the kernel is not entered for a packet; on a shared one, once per sleep.**
//!
//! ```ignore
//! fn main(mut env: Env) -> Result<(), weir_service::Failure> {
//!     let (network, rest) = Network::parse(env.args())?;
//!     weir_service::run(&mut env, &network, move |net, spawner| {
//!         let listener = net.listen(7, Buffers::default(), 64)?;
//!         spawner.spawn(async move { /* accept */ });
//!         Ok(())
//!     })
//! }
//! ```
//!
//! Reading order: [`weir_sockets::words`] (what the manifest says of the network) · this file (set-up) · `rounds` (the loop) ·
//! `lanes` (several cores) · `counts` (what the supervisor sees).
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod counts;
mod failure;
mod lanes;
mod rounds;

pub use counts::off_path;
pub use failure::Failure;
pub use lanes::run_on_each_core;
pub use weir_executor::Spawner;
pub use weir_sockets as sockets;
pub use weir_sockets::{BadWord, Network};

use weir_abi::stats::Stats;
use weir_hal::DmaWindow;
use weir_nic::{Nic, Queues};
use weir_pool::{FRAME_BYTES, Pool};
use weir_port::{Drive, NoMac};
use weir_rt::hal::{Function, TscClock, Window};
use weir_rt::{Core, Env, log, random};
use weir_sockets::{Config, EthernetAddress, Net};

use crate::rounds::{Care, Rounds};

/// Buffers for the device's rings, and for what waits: two large pages.
const POOL_BYTES: usize = 4 << 20;
/// Bytes of an Ethernet header with a tag.
const ETHERNET_BYTES: usize = 18;

/// Serves on the device granted as `nic`, on the core granted as `core0` if there is one. `begin` sets up what is served;
/// its tasks run for ever. Returns only when something fails.
///
/// # Errors
/// A grant is missing, the device fails, or `begin` does.
pub fn run(
    env: &mut Env,
    network: &Network,
    begin: impl FnOnce(&Net, &Spawner) -> Result<(), Failure> + Send + 'static,
) -> Result<(), Failure> {
    let stats = env.stats()?;
    let function = Function::new(env.device("nic")?)?;
    let core = if network.sleep { None } else { env.core("core0").ok() };
    run_on(core, function, network, stats, begin)
}

/// Serves on a core of its own, if there is one.
fn run_on(
    core: Option<Core>,
    function: Function,
    network: &Network,
    stats: &'static Stats,
    begin: impl FnOnce(&Net, &Spawner) -> Result<(), Failure> + Send + 'static,
) -> Result<(), Failure> {
    let network = network.clone();
    weir_port::on_core(core, move |is_alone| {
        weir_port::drive(function, Serve { network, stats, is_alone, begin })
    })
}

/// What is served, and how.
struct Serve<B> {
    network: Network,
    stats: &'static Stats,
    is_alone: bool,
    begin: B,
}

impl<B: FnOnce(&Net, &Spawner) -> Result<(), Failure>> Drive for Serve<B> {
    type Failure = Failure;

    fn drive<N: Nic<Device = Function>>(self, function: Function) -> Result<(), Failure>
    where
        Failure: From<N::Error>,
    {
        serve::<N>(function, &self.network, self.stats, self.is_alone, self.begin)
    }
}

fn serve<N: Nic<Device = Function>>(
    function: Function,
    network: &Network,
    stats: &'static Stats,
    is_alone: bool,
    begin: impl FnOnce(&Net, &Spawner) -> Result<(), Failure>,
) -> Result<(), Failure>
where
    Failure: From<N::Error>,
{
    let queues = queues(network, !is_alone);
    let (nic, rx, tx) = N::open(function, &Window, &TscClock, queues)?;
    if queues.long_frames && !nic.offloads().several_buffers {
        return Err(Failure::NoLongFrames);
    }
    let mac = EthernetAddress(nic.read_mac()?.ok_or(NoMac)?);
    let pool = Pool::new(Window.allocate(POOL_BYTES)?)?;
    let offloads = nic.offloads();
    let config = Config { tx_checksum: offloads.tx_checksum, ..network.config(mac, random::seed()) };
    let net = Net::new(&config, pool, weir_rt::clock::now_ns());
    let mut rounds = Rounds::new(Care::Own(nic), rx, tx, net.clone(), stats, offloads, is_alone);
    rounds.start()?;
    rounds.executor.spawner().spawn(tell_address(net.clone(), mac));
    begin(&net, &rounds.executor.spawner())?;
    reserve(network);
    rounds.run()
}

/// Memory of a connection, roughly: its buffers, its task.
const CONNECTION_BYTES: usize = 48 << 10;
/// What is reserved for connections at most.
const RESERVE_BYTES: usize = 8 << 20;

/// Has memory for connections at hand, so that the kernel is not entered for it.
fn reserve(network: &Network) {
    weir_rt::heap::reserve((network.connections * CONNECTION_BYTES).min(RESERVE_BYTES));
}

/// What the device's queues must be like.
fn queues(network: &Network, interrupt: bool) -> Queues {
    let long_frames = network.mtu > usize::from(FRAME_BYTES) - ETHERNET_BYTES;
    Queues { interrupt, long_frames, ..Queues::default() }
}

/// How long nobody may answer before that is told.
const PATIENCE_NS: u64 = 5_000_000_000;

/// Tells the address once there is one, and that there is none.
async fn tell_address(net: Net, mac: EthernetAddress) {
    let address = loop {
        match net.within(net.now_ns() + PATIENCE_NS, net.addressed()).await {
            Some(address) => break address,
            None => off_path(|| {
                log!(
                    "no DHCP server answers; give an address (10.0.2.15/24 in the manifest's args), or look at the network"
                );
            }),
        }
    };
    off_path(|| log!("serving at {address}, {mac}"));
}
