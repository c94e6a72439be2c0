//! Owns a network device and sends frames at a pace: UDP datagrams that carry a number and a time (`weir_traffic::stamp`), or those
//! of a pcap file.
//!
//! **Invariant: no frame enters the kernel**, and a frame that could not go out in its time is counted as missed and not made up
//! for, so that what goes out is never faster than asked for.
//!
//! Reading order: `weir_traffic::words` (what it is told) · this file (set-up) · [`source`] (which frame is due) · [`run`] (the loop).
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

extern crate alloc;

mod run;
mod source;

use alloc::string::String;

use weir_abi::bundle;
use weir_abi::stats::Stats;
use weir_nic::Nic;
use weir_port::Drive;
use weir_rt::hal::Function;
use weir_rt::{Env, log};
use weir_station::{Failure, Station};
use weir_traffic::frames::{Frames, Kind, Path};
use weir_traffic::recording::Recording;
use weir_traffic::words::{End, Generate, What};

use crate::source::{Made, Paced, Timed};

weir_rt::entry!(main);

/// The first of the ports that datagrams come from: the first for private use (RFC 6335 §6).
const PORT_FIRST: u16 = 49_152;

fn main(mut env: Env) -> Result<(), Failure> {
    let generate = Generate::parse(env.args().iter().map(String::as_str))?;
    let recording = match &generate.what {
        What::Recording { file, .. } => Some(open(env.files()?, file)?),
        What::Datagrams { .. } => None,
    };
    let (stats, function, core) = (env.stats()?, Function::new(env.device("nic")?)?, env.core("core0")?);
    weir_port::on_core(Some(core), move |_| weir_port::drive(function, Run { generate, recording, stats }))
}

/// The file of that name, read to its end.
fn open(files: &'static [u8], name: &str) -> Result<Recording<'static>, Failure> {
    let file = bundle::find(files, name).ok_or_else(|| Failure::NoFile(name.into()))?;
    Recording::new(file).map_err(|error| Failure::File { name: name.into(), error })
}

/// All that is known before the device is open.
struct Run {
    generate: Generate,
    recording: Option<Recording<'static>>,
    stats: &'static Stats,
}

impl Drive for Run {
    type Failure = Failure;

    fn drive<N: Nic<Device = Function>>(self, function: Function) -> Result<(), Failure>
    where
        Failure: From<N::Error>,
    {
        let Run { generate, recording, stats } = self;
        let Generate { rate, burst, end, what } = generate;
        let own = match &what {
            What::Datagrams { route, .. } => Some(route.own),
            What::Recording { .. } => None,
        };
        let mut station = Station::<N>::open(function, own, stats)?;
        match (what, recording) {
            (What::Datagrams { route, port, flows, sizes }, _) => {
                let next_mac = station.find(&route)?;
                let path = Path { own_mac: station.mac(), own: route.own.address, next_mac, to: route.to };
                log!("sending from {} to {} at {next_mac}, port {port}", route.own, route.to);
                let frames = Frames::new(&path, Kind::Udp { from: PORT_FIRST, to: port, flows });
                run::run(station, Paced::new(Made { frames, sizes, sequence: 0 }, rate, burst), end)
            }
            (What::Recording { file, is_timed }, Some(recording)) => {
                let (frames, ms) = (recording.frames(), recording.length_ns() / 1_000_000);
                log!("sending {file}: {frames} frames, in their own time {ms} ms");
                let is_endless = end == End { frames: u64::MAX, ns: u64::MAX };
                let end = if is_endless { End { frames, ..end } } else { end };
                if is_timed {
                    run::run(station, Timed::new(recording), end)
                } else {
                    run::run(station, Paced::new(recording, rate, burst), end)
                }
            }
            (What::Recording { file, .. }, None) => Err(Failure::NoFile(file)),
        }
    }
}
