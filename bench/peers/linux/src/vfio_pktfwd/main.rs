//! Owns one or two network devices by VFIO and forwards frames as its words say: `apps/pktfwd` as a process of Linux, from
//! the same library (`netstack/forward`). Here there are files, so frames come from pcap files and go to them.
//!
//! **Invariant: what is said to the runner is what Weir says** (`weir-init-logic`).
#![forbid(unsafe_code)]

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use weir_abi::stats::Stats;
use weir_forward::forwarder;
use weir_forward::pcap::{self, Replay};
use weir_forward::statistics::{self, OfAll};
use weir_forward::{BadWords, Forwarder, HELP, Settings};
use weir_forward_files::PcapFile;
use weir_hal::Device;
use weir_linux_guest::talk;
use weir_nic::Nic;
use weir_vfio::{Address, Function, MonotonicClock, Window};

/// Bursts of each stream between two looks at what else there is.
const BURSTS_PER_LOOK: usize = 1 << 10;
/// Ports that are used: as many as make a pair.
const PORTS_MAX: usize = 2;

/// Why the program ended.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("{0}")]
    Words(#[from] BadWords),
    #[error("{0}")]
    Vfio(#[from] weir_vfio::Error),
    #[error("vfio-pci has no network device")]
    NoDevice,
    #[error("{0}")]
    Virtio(#[from] forwarder::Error<weir_virtio::Error>),
    #[error("{0}")]
    Gigabit(#[from] forwarder::Error<weir_e1000e::Error>),
    #[error("{file}: {error}")]
    Pcap { file: String, error: pcap::Error },
    #[error("{file}: {error}")]
    File { file: String, error: std::io::Error },
    #[error("{0}")]
    Io(#[from] std::io::Error),
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if words.iter().any(|word| word == "--help") {
        print!("Forwards frames between the network devices that vfio-pci has.\n\nvfio-pktfwd {HELP}");
        return ExitCode::SUCCESS;
    }
    match run(&words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("vfio-pktfwd: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn run(words: &[String]) -> Result<(), Failure> {
    let settings = Settings::parse(words.iter().map(String::as_str))?;
    let mut addresses = Address::bound();
    addresses.truncate(PORTS_MAX);
    let (window, functions) = weir_vfio::open(&addresses)?;
    let info = functions.first().ok_or(Failure::NoDevice)?.info();
    if weir_e1000e::Net::<Function>::is_for(&info) {
        forward::<weir_e1000e::Net<Function>>(functions, &window, &settings)
    } else if weir_igb::Net::<Function>::is_for(&info) {
        forward::<weir_igb::Net<Function>>(functions, &window, &settings)
    } else {
        forward::<weir_virtio::net::Net<weir_virtio::Pci<Function>>>(functions, &window, &settings)
    }
}

/// Forwards until all streams are done.
fn forward<N: Nic<Device = Function>>(
    functions: Vec<Function>,
    window: &Window,
    settings: &Settings,
) -> Result<(), Failure>
where
    Failure: From<forwarder::Error<N::Error>>,
{
    // First, so that a wrong file leaves the devices alone.
    let replayed = settings.replay.as_deref().map(read).transpose()?;
    let replay = replayed.as_ref().map(|(file, bytes)| replay(file, bytes)).transpose()?;
    let mut forwarder = Forwarder::<N, _, _>::open(functions, window, MonotonicClock, settings)?;
    if let Some(replay) = &replay {
        forwarder.set_replay(replay);
    }
    if let Some(file) = &settings.capture {
        forwarder.set_capture(PcapFile::create(file).map_err(|error| of_file(file, error))?);
    }
    let stats = Arc::new(Stats::default());
    stats.ready.store(1, Ordering::Release);
    talk::begin("pktfwd", Arc::clone(&stats))?;
    while !forwarder.is_done() {
        let is_busy = forwarder.look(BURSTS_PER_LOOK).map_err(forwarder::Error::Nic)?;
        if !is_busy {
            forwarder.restart_stopped().map_err(forwarder::Error::Nic)?;
        }
        statistics::publish(&forwarder.statistics(), &stats);
        stats.device_errors.store(forwarder.restarts(), Ordering::Relaxed);
    }
    let ports = forwarder.statistics();
    ports.iter().for_each(|port| println!("{port}"));
    println!("{}", OfAll(&ports));
    let capture = forwarder.stream(0).capture().take();
    let file = settings.capture.as_deref().unwrap_or_default();
    capture.map_or(Ok(()), PcapFile::close).map_err(|error| of_file(file, error))
}

fn of_file(file: &str, error: std::io::Error) -> Failure {
    Failure::File { file: file.to_owned(), error }
}

/// A file's name and its bytes.
fn read(file: &str) -> Result<(String, Vec<u8>), Failure> {
    let bytes = std::fs::read(file).map_err(|error| of_file(file, error))?;
    Ok((file.to_owned(), bytes))
}

fn replay<'a>(file: &str, bytes: &'a [u8]) -> Result<Replay<'a>, Failure> {
    Replay::new(bytes).map_err(|error| Failure::Pcap { file: file.to_owned(), error })
}
