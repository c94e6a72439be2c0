//! Owns a network device, whichever it is given, or a port of a switch, and answers ARP, ping and UDP echo (port 7).
//!
//! **Invariant: no packet enters the kernel.** On a granted core the data path polls and the kernel is not
//! entered at all; on a shared one it sleeps when idle, one entry per sleep.
//!
//! Reading order: [`words`] (what it is told) · this file (set-up) · [`data_path`] · [`watch`] (what is looked
//! at between packets) · [`rogue`] (the attack that shows that the device is confined) · [`stack`] (TCP, too, by the whole
//! network stack).
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

extern crate alloc;

mod data_path;
mod rogue;
mod stack;
mod watch;
mod words;

use core::sync::atomic::Ordering;

use weir_abi::page::IommuMode;
use weir_abi::stats::Stats;
use weir_net::{EchoResponder, MacAddress};
use weir_nic::{Nic, Queues};
use weir_port::{Drive, Port};
use weir_rt::channel::nic::ChannelNic;
use weir_rt::channel::{self, Channels};
use weir_rt::hal::Function;
use weir_rt::{Env, Event, GrantError, kernel_page, log};

use crate::data_path::DataPath;
use crate::watch::Watch;
use crate::words::Words;

weir_rt::entry!(main);

/// Buffers for both rings, and as many again: one large page.
const POOL_BYTES: usize = 2 << 20;
/// Why the application ended.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("{0}")]
    Words(#[from] words::BadWord),
    #[error("{0}")]
    Grant(#[from] GrantError),
    #[error("kernel: {0}")]
    Kernel(#[from] weir_rt::Error),
    #[error("nic: {0}")]
    Virtio(#[from] weir_port::VirtioError),
    #[error("nic: {0}")]
    Gigabit(#[from] weir_port::GigabitError),
    #[error("nic: {0}")]
    Host(#[from] weir_hal::Error),
    #[error("{0}")]
    Channel(#[from] channel::nic::Error),
    #[error("{0}")]
    NoMac(#[from] weir_port::NoMac),
    #[error("{0}")]
    Service(#[from] weir_service::Failure),
}

impl Failure {
    /// Whether another device would do: one that was taken away looks broken in many ways, all bits set.
    fn is_of_device(&self) -> bool {
        matches!(self, Failure::Virtio(_) | Failure::Gigabit(_) | Failure::Host(_))
    }
}

fn main(mut env: Env) -> Result<(), Failure> {
    if let Some((first, rest)) = env.args().split_first()
        && first == "tcp"
    {
        let rest = rest.to_vec();
        return stack::serve(&mut env, &rest);
    }
    let words = Words::parse(env.args())?;
    let stats = env.stats()?;
    let device = env.device("nic");
    let core = if words.sleep { None } else { env.core("core0").ok() };
    let port = match &device {
        Ok(_) => None,
        // A port of a switch, where a channel is granted instead of a device.
        Err(_) => env.channels().ok().map(|mut channels| first_port(&mut channels)).transpose()?,
    };
    if let Some(port) = port {
        return weir_port::on_core(core, move |is_alone| serve::<ChannelNic>(port, &words, stats, is_alone));
    }
    let device = match device {
        Err(_) if words.wait => None,
        device => Some(device?),
    };
    weir_port::on_core(core, move |is_alone| serve_in_turn(device, &words, stats, is_alone))
}

/// The end of the first channel, as a network device.
fn first_port(channels: &mut Channels) -> Result<channel::nic::Port, GrantError> {
    let name = channels.pools().first().cloned().unwrap_or_default();
    channels.port(&name)
}

/// Serves with the device granted, and then, if the words say so, with every one that comes.
fn serve_in_turn(
    mut device: Option<weir_rt::Device>,
    words: &Words,
    stats: &'static Stats,
    is_alone: bool,
) -> Result<(), Failure> {
    let arrived = Event::create()?;
    loop {
        let device = match device.take() {
            Some(device) => device,
            None => await_device(&arrived)?,
        };
        match weir_port::drive(Function::new(device)?, Serve { words, stats, is_alone }) {
            Err(failure) if words.wait && failure.is_of_device() => {
                stats.ready.store(0, Ordering::Release);
                log!("{failure}; waiting for another");
            }
            ended => return ended,
        }
    }
}

/// Sleeps until the supervisor gives a device.
fn await_device(arrived: &Event) -> Result<weir_rt::Device, weir_rt::Error> {
    loop {
        let seen = arrived.count();
        if let Some(device) = weir_rt::Device::accept(arrived)? {
            return Ok(device);
        }
        arrived.wait(seen, u64::MAX)?;
    }
}

/// What is served, and how.
struct Serve<'a> {
    words: &'a Words,
    stats: &'static Stats,
    is_alone: bool,
}

impl Drive for Serve<'_> {
    type Failure = Failure;

    fn drive<N: Nic<Device = Function>>(self, function: Function) -> Result<(), Failure>
    where
        Failure: From<N::Error>,
    {
        serve::<N>(function, self.words, self.stats, self.is_alone)
    }
}

/// Opens the device and answers packets until something fails. `is_alone`: nothing else runs on this core.
fn serve<N: Nic>(
    device: N::Device,
    words: &Words,
    stats: &'static Stats,
    is_alone: bool,
) -> Result<(), Failure>
where
    Failure: From<N::Error>,
{
    let queues = Queues { interrupt: !is_alone, entries: words.entries, long_frames: false };
    let mut port = Port::<N>::open::<Failure>(device, queues, POOL_BYTES)?;
    let own = port.read_mac::<Failure>()?;
    let mac = words.mac.unwrap_or(MacAddress(own));
    let canary = if words.bad_descriptor { Some(rogue::attack(&mut port)?) } else { None };
    if canary.is_none() {
        port.start()?;
    }
    if let Some(count) = words.storm {
        rogue::storm(&mut port, count)?;
    }
    let iommu = IommuMode::from_number(kernel_page().iommu_mode).name();
    let manner = if is_alone { "polling a core of its own" } else { "sleeping when idle" };
    log!("answering for {} at {mac}, {manner}; iommu {iommu}", words.network);
    let responder = EchoResponder::new(mac, words.network);
    let watch = Watch::new(stats, canary);
    DataPath::new(port, responder, watch, words.crash_after).run(is_alone)
}
