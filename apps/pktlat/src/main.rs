//! Owns a network device and measures round trips: sends probes at a pace, whatever becomes of them, and counts latency from the
//! time at which each was due, so that a stall counts for every probe that it delayed ("coordinated omission").
//!
//! **Invariant: no probe and no answer enters the kernel; every probe is answered or lost, once**, and nothing that comes is believed
//! before every byte of it was looked at (`weir_traffic::reply`).
//!
//! Reading order: `weir_traffic::words` (what it is told) · this file (set-up) · [`run`] (the loop).
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

extern crate alloc;

mod run;

use alloc::string::String;

use weir_abi::stats::Stats;
use weir_nic::Nic;
use weir_port::Drive;
use weir_rt::hal::Function;
use weir_rt::{Env, log};
use weir_station::{Failure, Station};
use weir_traffic::frames::{Kind, Path};
use weir_traffic::words::{Probe, Target};

weir_rt::entry!(main);

/// By what answers are known: the identifier of echo requests, and the port of datagrams, which is one for private use.
const OWN: u16 = 50_007;

fn main(mut env: Env) -> Result<(), Failure> {
    let probe = Probe::parse(env.args().iter().map(String::as_str))?;
    let (stats, function, core) = (env.stats()?, Function::new(env.device("nic")?)?, env.core("core0")?);
    weir_port::on_core(Some(core), move |_| weir_port::drive(function, Run { probe, stats }))
}

/// All that is known before the device is open.
struct Run {
    probe: Probe,
    stats: &'static Stats,
}

impl Drive for Run {
    type Failure = Failure;

    fn drive<N: Nic<Device = Function>>(self, function: Function) -> Result<(), Failure>
    where
        Failure: From<N::Error>,
    {
        let Run { probe, stats } = self;
        let mut station = Station::<N>::open(function, Some(probe.route.own), stats)?;
        let next_mac = station.find(&probe.route)?;
        let (own, to) = (probe.route.own, probe.route.to);
        let path = Path { own_mac: station.mac(), own: own.address, next_mac, to };
        let kind = match probe.target {
            Target::Ping => Kind::Ping { identifier: OWN },
            Target::Udp(to) => Kind::Udp { from: OWN, to, flows: 1 },
        };
        log!("probing {to} at {next_mac} from {own}: {:?}, {} a second", probe.target, probe.rate);
        run::Prober::new(station, &path, kind, &probe).run()
    }
}
