//! Forwards frames natively on one core, as `apps/pktfwd` does on Weir and from the same library (`netstack/forward`):
//! its port is Weir's virtio driver against a vhost-user back end. It works until its standard input ends, or its frames
//! are through; then it says what it did, and last, in one JSON object, what only it knows: cycles of polls that found
//! or moved packets. The rate is what the *back end* counts.
#![forbid(unsafe_code)]

mod port;
mod tally;

use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::{Parser, ValueEnum};
use rustix::thread::{CpuSet, sched_setaffinity};
use weir_forward::pcap::Replay;
use weir_forward::statistics::OfPort;
use weir_forward::{Capture, HELP, Settings, Stream, Topology};
use weir_forward_files::PcapFile;
use weir_hal::DmaWindow;
use weir_pool::{BUF_BYTES, Pool};
use weir_vhost_user::{MonotonicClock, Options, VhostUser, Window};
use weir_virtio::Features;
use weir_virtio::net::{self, Net};

use port::Port;

/// Which rings to agree on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Rings {
    /// Split
    Split,
    /// Packed
    Packed,
}

/// Forwards frames by Weir's virtio driver against a vhost-user back end, until standard input ends.
#[derive(Debug, Parser)]
#[command(after_help = HELP)]
struct Arguments {
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
    /// Packets to send first in the modes that forward, so that they circulate
    #[arg(long, default_value_t = 0)]
    circulating: u16,
    /// A mode and its words, see below
    #[arg(required = true)]
    words: Vec<String>,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let settings = Settings::parse(arguments.words.iter().map(String::as_str))?;
    ensure!(settings.topology == Topology::Loop, "there is one port here");
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
    match &settings.capture {
        None => forward(&arguments, &settings, (), &ends).map(drop),
        Some(path) => {
            let file = PcapFile::create(path).with_context(|| format!("cannot create {path}"))?;
            let file = forward(&arguments, &settings, file, &ends)?;
            file.close().with_context(|| format!("cannot write {path}"))
        }
    }
}

/// Forwards until it ends; gives the capture back.
fn forward<C: Capture>(
    arguments: &Arguments,
    settings: &Settings,
    capture: C,
    ends: &AtomicBool,
) -> Result<C> {
    let file = settings.replay.as_deref().map(|path| std::fs::read(path).context(path.to_owned()));
    let file = file.transpose()?;
    let replay = file.as_deref().map(Replay::new).transpose()?;
    let mut port = open(arguments)?;
    let mut stream = Stream::new(settings, port.ends(settings)?, capture);
    if let Some(replay) = replay {
        stream.replay(replay);
    }
    match (arguments.circulating, settings.mode.forwards()) {
        (0, _) => {}
        (_, false) => bail!("nothing circulates in {}", settings.mode),
        (packets, true) => port.inject(packets.into())?,
    }
    let tally = port.run(&mut stream, ends)?;
    println!("{}", OfPort { number: 0, received: stream.received(), sent: stream.sent() });
    println!("{}", tally.json());
    port.close()?;
    Ok(stream.into_capture())
}

fn open(arguments: &Arguments) -> Result<Port> {
    let buffers = 2 * usize::from(arguments.entries) + usize::from(arguments.circulating) + 2 * port::BURST;
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
