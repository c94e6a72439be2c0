//! What `weir measure block --peers` compares with: the same requests to the same disk by Linux's io_uring, in the same machine.
//!
//! The Linux guest has the machine's options, IOMMU and disk of Weir's guest, one CPU, and translates addresses for devices,
//! as Weir does. The program (`bench/peers/linux`, `uring-block`) marks its turns. **Invariant: a turn's count is everything
//! that its CPU did from mark to mark**: the program, system calls, interrupts, the idle loop while it sleeps, and whatever else Linux has to do.
//! Looks of a polling program that found nothing are told apart, as for Weir.

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use serde::Serialize;

use super::block::{ROWS, Row};
use crate::guest::Guest;
use crate::linux::{Linux, programs};
use crate::machine::Machine;
use crate::progress::Step;
use crate::vm::observer::Region;

/// How long Linux and its jobs may take.
const LIMIT: Duration = Duration::from_secs(580);

/// How the program hears of completions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// The disk interrupts; the program sleeps until a batch is done.
    Interrupts,
    /// The program has the kernel look (`IORING_SETUP_IOPOLL`); the queue has no interrupt.
    Polled,
    /// The same on a Linux that confines no device (`iommu=pt`): what its translation of addresses costs is the difference.
    Unconfined,
}

impl Mode {
    fn words(self) -> &'static str {
        match self {
            Mode::Interrupts => "interrupts",
            Mode::Polled => "polled",
            Mode::Unconfined => "polled, iommu=pt",
        }
    }

    fn is_polled(self) -> bool {
        self != Mode::Interrupts
    }
}

/// One row.
#[derive(Clone, Debug, Serialize)]
pub struct Peer {
    /// What is asked for.
    pub operation: &'static str,
    /// Requests under way.
    pub depth: u32,
    /// How completions come.
    pub mode: Mode,
    /// Requests done.
    pub ios: u64,
    /// Instructions of the program for each.
    pub user_per_io: u64,
    /// Instructions of Linux for each.
    pub kernel_per_io: u64,
    /// Arrivals in the kernel from the program, for each: system calls and interrupts.
    pub kernel_entries_per_io: f64,
    /// Instructions of both, in proportion to Weir's.
    pub ratio: f64,
}

/// Linux's driver of a kind of disk: the kernel module, the name of the disk, the folder of the driver, and what it can.
struct Driver {
    module: &'static str,
    disk: &'static str,
    folder: &'static str,
    modes: &'static [Mode],
}

const NVME: Driver = Driver {
    module: "nvme",
    disk: "nvme0n1",
    folder: "/sys/bus/pci/drivers/nvme",
    modes: &[Mode::Interrupts, Mode::Polled, Mode::Unconfined],
};
/// Linux 6.1 panics in this driver (`blk_mq_complete_request` of no request) soon after its queues are polled.
const VIRTIO: Driver = Driver {
    module: "virtio_blk",
    disk: "vda",
    folder: "/sys/bus/virtio/drivers/virtio_blk",
    modes: &[Mode::Interrupts],
};

/// Measures on the machine `name`, whose disk has its contents in `image`, in each mode, `ios` requests for each job (a tenth one at
/// once); `weir` is what there is to compare with.
pub(super) fn measure(name: &str, image: &Path, ios: u64, weir: &[Row]) -> Result<Vec<Peer>> {
    let machine = Machine::named(name)?;
    let driver = match machine.disk.split(',').next() {
        Some("nvme") => NVME,
        Some("virtio-blk-pci") => VIRTIO,
        _ => bail!("the machine's disk is of an unknown kind: {}", machine.disk),
    };
    let mut peers = Vec::new();
    for &mode in driver.modes {
        let step = Step::begin(format!("counting the instructions of Linux's requests: {}", mode.words()));
        let regions = regions(name, &driver, image, mode, ios)?;
        step.done();
        for (row, region) in weir.iter().zip(regions) {
            let ios = if row.depth == 1 { ios / 10 } else { ios };
            peers.push(peer(row, mode, region, ios)?);
        }
    }
    Ok(peers)
}

/// What each job's turns were, those that found nothing left out.
fn regions(name: &str, driver: &Driver, image: &Path, mode: Mode, ios: u64) -> Result<Vec<Region>> {
    let linux = Linux::new(script(driver, mode, ios)).machine(name).disk(image).observed();
    let linux = linux.modules(&["virtio_pci", driver.module]);
    let linux = if mode == Mode::Unconfined { linux.words("iommu=pt") } else { linux };
    let mut guest = linux.file("bin/uring-block", programs::program("uring-block")?).start()?;
    said(&mut guest, "uring-block: all done")?;
    let cpus = guest.observe()?;
    guest.power_off()?;
    let [cpu] = cpus.as_slice() else { bail!("{} CPUs instead of one", cpus.len()) };
    // Even numbers are turns that did something.
    let number = |job: usize| u8::try_from(2 * job).unwrap_or(u8::MAX);
    Ok((0..ROWS.len()).map(|job| cpu.regions.get(&number(job)).copied().unwrap_or_default()).collect())
}

/// Waits for a line, and not for longer than the program lives.
fn said(guest: &mut Guest, text: &str) -> Result<()> {
    let line = guest.console_line("uring-block: ", LIMIT)?;
    if line.contains(text) { Ok(()) } else { Err(guest.failure("the program failed")) }
}

/// The disk without scheduler, merging and statistics, which is how it is fastest; the driver with a queue that is polled, if
/// asked for, which it makes when it takes the device.
fn script(driver: &Driver, mode: Mode, ios: u64) -> String {
    let Driver { module, disk, folder, .. } = driver;
    let word = if mode.is_polled() { "polled" } else { "interrupts" };
    let rebind = format!(
        "echo 1 > /sys/module/{module}/parameters/poll_queues
for device in {folder}/*[0-9]; do
    echo \"${{device##*/}}\" > {folder}/unbind
    echo \"${{device##*/}}\" > {folder}/bind
done
"
    );
    let rebind = if mode.is_polled() { rebind } else { String::new() };
    format!(
        "until [ -b /dev/{disk} ]; do sleep 0.1; done
{rebind}until [ -b /dev/{disk} ]; do sleep 0.1; done
cd /sys/block/{disk}/queue
echo none > scheduler; echo 2 > nomerges; echo 0 > iostats; echo \"scheduler $(cat scheduler), polling $(cat io_poll)\"
uring-block /dev/{disk} {word} {ios} || exit
until [ \"$line\" = poweroff ]; do read -r line; done
"
    )
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
fn peer(row: &Row, mode: Mode, region: Region, ios: u64) -> Result<Peer> {
    let Region { times, user, kernel, entries } = region;
    // Each turn is a system call; nothing else enters as often.
    ensure!(times > 0 && entries >= times, "{} turns with {entries} kernel entries", times);
    let per = |total: u64| (total + ios / 2) / ios;
    let rounded = |value: f64| (value * 1000.0).round() / 1000.0;
    Ok(Peer {
        operation: row.operation,
        depth: row.depth,
        mode,
        ios,
        user_per_io: per(user),
        kernel_per_io: per(kernel),
        kernel_entries_per_io: rounded(entries as f64 / ios as f64),
        ratio: rounded((user + kernel) as f64 / ios as f64 / row.instructions_per_io as f64),
    })
}

/// The table as people read it.
pub(super) fn render(peers: &[Peer]) -> String {
    let mut text = format!(
        "Linux, io_uring, the same machine\n{:20} {:>5} {:>16} {:>8}  {:>20} {:>14} {:>12}\n",
        "", "depth", "", "requests", "user + kernel", "kernel entries", "Linux : Weir"
    );
    for peer in peers {
        text += &format!(
            "{:20} {:>5} {:>16} {:>8}  {:>20} {:>14.3} {:>12.1}\n",
            peer.operation,
            peer.depth,
            peer.mode.words(),
            peer.ios,
            format!("{} + {}", peer.user_per_io, peer.kernel_per_io),
            peer.kernel_entries_per_io,
            peer.ratio
        );
    }
    text
}
