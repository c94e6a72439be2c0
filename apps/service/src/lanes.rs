//! Serves on several cores: each has a pair of the device's queues, a network and tasks of its own, and the device spreads
//! connections over them by hash (receive-side scaling). Nothing is shared on the data path.
//!
//! **Invariant: the queues are started together, once.** A device that breaks its protocol, or stops, ends the program, and
//! whoever started it starts it again.

use alloc::format;
use alloc::vec::Vec;

use weir_abi::stats::Stats;
use weir_hal::DmaWindow;
use weir_nic::{HashTypes, Lane as Pair, MultiQueue, Rss};
use weir_pool::Pool;
use weir_port::{Drive, NoMac, drive, start_on};
use weir_rt::hal::{Function, TscClock, Window};
use weir_rt::{Core, Env, clock, log, random};
use weir_sockets::{EthernetAddress, HASH_KEY_BYTES, Lane, Net, Network};

use crate::place::Place;
use crate::rounds::{Care, Rounds};
use crate::{Failure, POOL_BYTES, Spawner, off_path, queues, reserve, run_on, tell_address};

/// As [`crate::run`], on every core granted as `core0`, `core1` and so on, as far as the device has queues for them. `begin`
/// sets up each: what is served is the same on all, and shares nothing. With one core, or none, this is `run`.
///
/// # Errors
/// As for `run`.
pub fn run_on_each_core(
    env: &mut Env,
    network: &Network,
    begin: impl Fn(&Net, &Spawner) -> Result<(), Failure> + Clone + Send + 'static,
) -> Result<(), Failure> {
    let (stats, place) = (env.stats()?, Place::find(env)?);
    let granted = (0..).map_while(|number| env.core(&format!("core{number}")).ok());
    let mut cores: Vec<Core> = if network.sleep { Vec::new() } else { granted.collect() };
    let function = match place {
        Place::Device(function) if cores.len() > 1 => function,
        // A port of a switch has one pair of queues.
        place => {
            cores.truncate(1);
            return run_on(cores.pop(), place, network, stats, begin);
        }
    };
    let others = cores.split_off(1);
    let network = network.clone();
    weir_port::on_core(cores.pop(), move |_| drive(function, Spread { others, network, stats, begin }))
}

/// What is done on the first core.
struct Spread<B> {
    others: Vec<Core>,
    network: Network,
    stats: &'static Stats,
    begin: B,
}

impl<B> Drive for Spread<B>
where
    B: Fn(&Net, &Spawner) -> Result<(), Failure> + Clone + Send + 'static,
{
    type Failure = Failure;

    fn drive<N: MultiQueue<Device = Function>>(self, function: Function) -> Result<(), Failure>
    where
        Failure: From<N::Error>,
    {
        let Spread { others, network, stats, begin } = self;
        let wanted = u16::try_from(others.len() + 1).unwrap_or(u16::MAX);
        let (mut nic, mut pairs) =
            N::open_pairs(function, &Window, &TscClock, wanted, queues(&network, false))?;
        let mac = EthernetAddress(nic.read_mac()?.ok_or(NoMac)?);
        let mut pools = pairs
            .iter()
            .map(|_| Ok(Pool::new(Window.allocate(POOL_BYTES)?)?))
            .collect::<Result<Vec<_>, Failure>>()?;
        let all = pairs.iter_mut().zip(&mut pools);
        let mut started: Vec<_> = all.map(|((rx, tx), pool)| Pair { rx, tx, pool }).collect();
        nic.start_pairs(&mut started, &TscClock)?;
        let lanes = lanes(started.len());
        log!("serving on {} of {wanted} cores, as the device has queues", lanes.len());
        if let [first, _, ..] = &lanes[..] {
            let hashed = HashTypes::TCP4 | HashTypes::TCP6 | HashTypes::UDP4 | HashTypes::UDP6;
            nic.set_rss(&Rss { key: &first.key(), table: &first.table(), hashed }, &TscClock)?;
        }
        reserve(&network);
        let (seed, offloads) = (random::seed(), nic.offloads());
        let settings = move |lane: Lane| {
            let config = network.config(mac, seed.wrapping_add(lane.number() as u64));
            weir_sockets::Config { tx_checksum: offloads.tx_checksum, lane: Some(lane), ..config }
        };
        let mut parts = lanes.into_iter().zip(pairs).zip(pools);
        let first = parts.next();
        for (core, ((lane, (rx, tx)), pool)) in others.iter().zip(parts) {
            let (begin, number, config) = (begin.clone(), lane.number(), settings(lane));
            // It runs until the process ends.
            let _ = start_on(core, move || {
                let net = Net::new(&config, pool, clock::now_ns());
                let rounds = Rounds::<N>::new(Care::Elsewhere, rx, tx, net.clone(), stats, offloads, true);
                rounds.executor.spawner().spawn(tell_first_connection(net.clone(), number));
                begin(&net, &rounds.executor.spawner())?;
                rounds.run()
            })?;
        }
        // There is one: a device without queues was refused.
        let Some(((lane, (rx, tx)), pool)) = first else { return Ok(()) };
        let net = Net::new(&settings(lane), pool, clock::now_ns());
        let rounds = Rounds::<N>::new(Care::Watched(nic), rx, tx, net.clone(), stats, offloads, true);
        rounds.executor.spawner().spawn(tell_first_connection(net.clone(), 0));
        rounds.executor.spawner().spawn(tell_address(net.clone(), mac));
        begin(&net, &rounds.executor.spawner())?;
        rounds.run()
    }
}

/// Time between two looks for the first connection.
const LOOK_NS: u64 = 100_000_000;

/// Says when a core has its first connection, so that one sees whether they are spread.
async fn tell_first_connection(net: Net, number: usize) {
    while net.counters().opened == 0 {
        net.sleep_until(net.now_ns() + LOOK_NS).await;
    }
    off_path(|| log!("core {number} has a connection"));
}

/// Lanes, with a key that peers do not know: else they could choose a core for all of theirs.
fn lanes(count: usize) -> Vec<Lane> {
    let mut key = [0; HASH_KEY_BYTES];
    key.chunks_mut(8).for_each(|part| part.copy_from_slice(&random::seed().to_le_bytes()));
    // No device has that many queues.
    Lane::all(u16::try_from(count).unwrap_or(u16::MAX), key)
}
