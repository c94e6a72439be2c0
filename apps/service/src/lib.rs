//! Runs an application's network services on the device that it owns, or on a port of a switch: opens the device with its driver, makes the
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
//! Reading order: [`weir_sockets::words`] (what the manifest says of the network) · `place` (device or channel) · this file (set-up) · `rounds` (the loop) ·
//! `blocking` (waiting in between) · `lanes` (several cores) · `counts` (what the supervisor sees).
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod blocking;
mod counts;
mod failure;
mod lanes;
mod place;
mod rounds;

pub use blocking::Host;
pub use counts::off_path;
pub use failure::Failure;
pub use lanes::run_on_each_core;
pub use weir_executor::Spawner;
pub use weir_sockets as sockets;
pub use weir_sockets::{BadWord, Network};

use weir_abi::stats::Stats;
use weir_nic::{Nic, Queues};
use weir_pool::FRAME_BYTES;
use weir_port::{Drive, NoMac, Port};
use weir_rt::channel::nic::ChannelNic;
use weir_rt::hal::Function;
use weir_rt::{Core, Env, log, random};
use weir_sockets::{Config, EthernetAddress, Net};

use crate::place::Place;
use crate::rounds::{Care, Rounds};

/// Buffers for the device's rings, and for what waits: two large pages.
const POOL_BYTES: usize = 4 << 20;
/// Bytes of an Ethernet header with a tag.
const ETHERNET_BYTES: usize = 18;

/// Serves on the device granted as `nic`, or on the end of its first channel, a port of a switch, where there is none; on the core
/// granted as `core0` if there is one. `begin` sets up what is served;
/// its tasks run for ever. Returns only when something fails.
///
/// # Errors
/// A grant is missing, the device fails, or `begin` does.
pub fn run(
    env: &mut Env,
    network: &Network,
    begin: impl FnOnce(&Net, &Spawner) -> Result<(), Failure> + Send + 'static,
) -> Result<(), Failure> {
    let (core, place) = (first_core(env, network), Place::find(env)?);
    run_on(core, place, network, env.stats()?, begin)
}

/// Runs `work`, which waits for one thing after the other ([`Host::wait`]), on the device granted as `nic`, on the core granted as
/// `core0` if there is one.
///
/// # Errors
/// A grant is missing, the device fails, or `work` does.
pub fn run_blocking(
    env: &mut Env,
    network: &Network,
    work: impl FnOnce(&mut Host<'_>) -> Result<(), Failure> + Send + 'static,
) -> Result<(), Failure> {
    let (core, place) = (first_core(env, network), Place::find(env)?);
    drive_on(core, place, network, env.stats()?, |host| {
        host.begin();
        work(host)
    })
}

/// The core granted first, if it is not to sleep.
fn first_core(env: &mut Env, network: &Network) -> Option<Core> {
    if network.sleep { None } else { env.core("core0").ok() }
}

/// Serves on a core of its own, if there is one.
fn run_on(
    core: Option<Core>,
    place: Place,
    network: &Network,
    stats: &'static Stats,
    begin: impl FnOnce(&Net, &Spawner) -> Result<(), Failure> + Send + 'static,
) -> Result<(), Failure> {
    drive_on(core, place, network, stats, |host| {
        begin(host.net(), host.spawner())?;
        host.begin();
        host.wait(core::future::pending())
    })
}

/// Does `work` on a core of its own, if there is one, with the driver that the device has.
fn drive_on(
    core: Option<Core>,
    place: Place,
    network: &Network,
    stats: &'static Stats,
    work: impl FnOnce(&mut Host<'_>) -> Result<(), Failure> + Send + 'static,
) -> Result<(), Failure> {
    let network = network.clone();
    weir_port::on_core(core, move |is_alone| {
        let whole = Whole { network, stats, is_alone, work };
        match place {
            Place::Device(function) => weir_port::drive(function, whole),
            Place::Port(port) => whole.serve::<ChannelNic>(port),
        }
    })
}

/// The whole device, for one thread.
struct Whole<W> {
    network: Network,
    stats: &'static Stats,
    is_alone: bool,
    work: W,
}

impl<W: FnOnce(&mut Host<'_>) -> Result<(), Failure>> Drive for Whole<W> {
    type Failure = Failure;

    fn drive<N: Nic<Device = Function>>(self, function: Function) -> Result<(), Failure>
    where
        Failure: From<N::Error>,
    {
        self.serve::<N>(function)
    }
}

impl<W: FnOnce(&mut Host<'_>) -> Result<(), Failure>> Whole<W> {
    fn serve<N: Nic>(self, device: N::Device) -> Result<(), Failure>
    where
        Failure: From<N::Error>,
    {
        let Whole { network, stats, is_alone, work } = self;
        let queues = queues(&network, !is_alone);
        let Port { nic, rx, tx, pool } = Port::<N>::open::<Failure>(device, queues, POOL_BYTES)?;
        if queues.long_frames && !nic.offloads().several_buffers {
            return Err(Failure::NoLongFrames);
        }
        let mac = EthernetAddress(nic.read_mac()?.ok_or(NoMac)?);
        let offloads = nic.offloads();
        let config = Config { tx_checksum: offloads.tx_checksum, ..network.config(mac, random::seed()) };
        let net = Net::new(&config, pool, weir_rt::clock::now_ns());
        reserve(&network);
        let mut rounds = Rounds::new(Care::Own(nic), rx, tx, net.clone(), stats, offloads, is_alone);
        rounds.start()?;
        let spawner = rounds.executor.spawner();
        spawner.spawn(tell_address(net.clone(), mac));
        work(&mut Host::new(net, spawner, &mut rounds))
    }
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

/// Tells the address once there is one, that there is none, and that it is lost.
async fn tell_address(net: Net, mac: EthernetAddress) {
    let mut known = None;
    loop {
        let patience_ns = if known.is_none() { net.now_ns() + PATIENCE_NS } else { u64::MAX };
        let address = net.within(patience_ns, net.addressed_anew(known)).await;
        off_path(|| match (known, address.flatten()) {
            (_, Some(address)) => log!("serving at {address}, {mac}"),
            (None, None) => log!(
                "no DHCP server answers; give an address (10.0.2.15/24 in the manifest's args), or look at the network"
            ),
            (Some(lost), None) => {
                log!("the DHCP server does not renew {lost}: nothing is served until one gives an address")
            }
        });
        known = address.flatten();
    }
}
