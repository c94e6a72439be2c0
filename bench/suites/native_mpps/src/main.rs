//! Runs Weir's virtio library natively on one core against a vhost-user back end, until its standard input ends; then
//! says in one JSON object what it did. The rate is what the *back end* counts; this program adds what only it knows:
//! cycles of polls that found or moved packets.
#![forbid(unsafe_code)]

mod modes;
mod tally;

use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::{Parser, ValueEnum};
use rustix::thread::{CpuSet, sched_setaffinity};
use weir_hal::DmaWindow;
use weir_pool::{BUF_BYTES, Pool};
use weir_vhost_user::{MonotonicClock, Options, VhostUser, Window};
use weir_virtio::Features;
use weir_virtio::net::{self, Net};

use modes::{Mode, Port};

/// Which rings to agree on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Rings {
    /// Split
    Split,
    /// Packed
    Packed,
}

/// Runs Weir's virtio library against a vhost-user back end until standard input ends.
#[derive(Debug, Parser)]
struct Arguments {
    /// What to do with packets
    mode: Mode,
    /// The back end's socket
    socket: PathBuf,
    /// CPU to run on
    #[arg(long)]
    cpu: usize,
    /// Which rings to agree on
    #[arg(long, default_value = "split")]
    rings: Rings,
    /// Descriptors per queue
    #[arg(long, default_value_t = 256)]
    entries: u16,
    /// Packets that circulate in the modes that send back what they receive
    #[arg(long, default_value_t = 128)]
    circulating: usize,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let ends = Arc::new(AtomicBool::new(false));
    let flag = ends.clone();
    // Started before this thread is pinned, so that it does not share the CPU.
    std::thread::spawn(move || {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        flag.store(true, Ordering::Relaxed);
    });
    let mut cpus = CpuSet::new();
    cpus.set(arguments.cpu);
    sched_setaffinity(None, &cpus).with_context(|| format!("there is no CPU {}", arguments.cpu))?;
    let mut port = open(&arguments)?;
    let tally = port.run(arguments.mode, arguments.circulating, &ends)?;
    println!("{}", tally.json());
    Ok(port.close()?)
}

fn open(arguments: &Arguments) -> Result<Port> {
    let buffers = 2 * usize::from(arguments.entries) + arguments.circulating + 2 * modes::BURST;
    let bytes = buffers * usize::from(BUF_BYTES);
    let window = Window::new(bytes + (1 << 20)).context("no memory")?;
    let options = Options { limit: Duration::from_secs(10), ..Options::net() };
    let device = VhostUser::connect(&arguments.socket, &window, options).context("no back end")?;
    let is_packed = arguments.rings == Rings::Packed;
    let without = if is_packed { Features::empty() } else { Features::RING_PACKED };
    let features = Features::USUAL - without;
    let options = net::Options { entries: arguments.entries, features, ..net::Options::default() };
    let (net, rx, tx) = Net::over(device, &window, &MonotonicClock, &options)?;
    ensure!(net.features().contains(Features::RING_PACKED) == is_packed, "the back end has no such rings");
    let pool = Pool::new(window.allocate(bytes).context("the window is too small")?)?;
    Ok(Port::start(net, rx, tx, pool)?)
}
