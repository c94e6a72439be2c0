//! Owns a network device by VFIO: the driver libraries of Weir, as they are, in a process of Linux.
//!
//! `vfio-net ADDRESS/PREFIX` answers ARP, ping and UDP echo (port 7) as `apps/echo` does on Weir. `sleep` behind it: sleep
//! when idle, else poll.
//!
//! **Invariant: what is said to the runner is what Weir says** (`weir-init-logic`), so that the same tests judge both.
//!
//! Reading order: this file (set-up) · [`data_path`] · `talk` of the library (commands and reports).
#![forbid(unsafe_code)]

mod data_path;

use std::process::ExitCode;
use std::sync::Arc;

use weir_abi::stats::Stats;
use weir_hal::{Device, DmaMemory, DmaWindow};
use weir_linux_guest::talk;
use weir_net::{EchoResponder, Ipv4Network, MacAddress};
use weir_nic::{Nic, Queues};
use weir_pool::Pool;
use weir_vfio::{Address, Function, MonotonicClock, Window};

use crate::data_path::DataPath;

/// Buffers for both rings, and as many again: one large page.
const POOL_BYTES: usize = 2 << 20;

/// Why the program ended.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("say whom to answer for: vfio-net ADDRESS/PREFIX [sleep]")]
    Words,
    #[error("{0}")]
    Vfio(#[from] weir_vfio::Error),
    #[error("vfio-pci has no network device")]
    NoDevice,
    #[error("nic: {0}")]
    Virtio(#[from] weir_virtio::Error),
    #[error("nic: {0}")]
    Gigabit(#[from] weir_e1000e::Error),
    #[error("nic: {0}")]
    Host(#[from] weir_hal::Error),
    #[error("nic: it has no MAC address")]
    NoMac,
    #[error("{0}")]
    Io(#[from] std::io::Error),
}

/// What the words say.
struct Words {
    /// Whom to answer for.
    network: Ipv4Network,
    is_sleeping: bool,
}

/// The device and what goes with it.
struct Port<N: Nic> {
    net: N,
    rx: N::Rx,
    tx: N::Tx,
    pool: Pool,
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("vfio-net: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Failure> {
    let words = words(std::env::args().skip(1))?;
    let address = *Address::bound().first().ok_or(Failure::NoDevice)?;
    let (window, functions) = weir_vfio::open(&[address])?;
    let function = functions.into_iter().next().ok_or(Failure::NoDevice)?;
    println!("vfio-net: {address}");
    let info = function.info();
    if weir_e1000e::Net::<Function>::is_for(&info) {
        serve::<weir_e1000e::Net<Function>>(function, &window, &words)
    } else if weir_igb::Net::<Function>::is_for(&info) {
        serve::<weir_igb::Net<Function>>(function, &window, &words)
    } else {
        serve::<weir_virtio::net::Net<weir_virtio::Pci<Function>>>(function, &window, &words)
    }
}

fn words(mut words: impl Iterator<Item = String>) -> Result<Words, Failure> {
    let network = words.next().and_then(|word| word.parse().ok()).ok_or(Failure::Words)?;
    let is_sleeping = match words.next().as_deref() {
        None => false,
        Some("sleep") => true,
        Some(_) => return Err(Failure::Words),
    };
    Ok(Words { network, is_sleeping })
}

/// Opens the device and serves.
fn serve<N: Nic<Device = Function>>(function: Function, window: &Window, words: &Words) -> Result<(), Failure>
where
    Failure: From<N::Error>,
{
    let queues = Queues { interrupt: words.is_sleeping, ..Queues::default() };
    let (net, rx, tx) = N::open(function, window, &MonotonicClock, queues)?;
    let mac = MacAddress(net.read_mac()?.ok_or(Failure::NoMac)?);
    let memory = window.allocate(POOL_BYTES)?;
    describe(&memory);
    let mut port = Port { net, rx, tx, pool: Pool::new(memory)? };
    port.start()?;
    println!("vfio-net: {mac}, {}", if words.is_sleeping { "sleeping when idle" } else { "polling" });
    let stats = Arc::new(Stats::default());
    talk::begin("echo", Arc::clone(&stats))?;
    DataPath::new(port, EchoResponder::new(mac, words.network), stats).run(words.is_sleeping)
}

/// Says where the memory for frames is.
fn describe(memory: &DmaMemory) {
    let (address, iova) = (memory.base().as_ptr().addr(), memory.iova());
    let place = if address as u64 == iova.0 { "its own address" } else { "a chosen address" };
    let large = if has_large_pages() { "large pages" } else { "small pages" };
    println!("vfio-net: memory for frames at {place}, {iova}, on {large}");
}

/// Whether large pages are in use; only ours can be.
fn has_large_pages() -> bool {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let number = |name: &str| -> Option<u64> {
        text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
    };
    number("HugePages_Free:") < number("HugePages_Total:")
}

impl<N: Nic<Device = Function>> Port<N>
where
    Failure: From<N::Error>,
{
    /// Starts the device, or starts it again.
    fn start(&mut self) -> Result<(), Failure> {
        Ok(self.net.start(&mut self.rx, &mut self.tx, &mut self.pool, &MonotonicClock)?)
    }
}
