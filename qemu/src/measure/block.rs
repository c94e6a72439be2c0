//! `weir measure block`: what a request to a disk costs the application and its driver.
//!
//! One CPU, each instruction a tick: the application (`nvmeperf`) adds up the ticks of those turns of its loop that submitted
//! or completed something. **Invariant: turns that found nothing to do are told apart**, because how many there are follows
//! from how fast this host plays the disk.

use std::fs::File;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::Serialize;
use tempfile::NamedTempFile;

use super::uring::{self, Peer};
use crate::cli::MeasureOptions;
use crate::guest::{Guest, Setup};
use crate::machine::Machine;
use crate::progress::Step;
use crate::vm::Outcome;

/// The jobs of the manifest `block-cost`: how the application's line begins, what it means, requests under way.
pub(super) const ROWS: [(&str, &str, u32); 6] = [
    ("Read bs=4096 iodepth=1", "4 KiB random read", 1),
    ("Read bs=4096 iodepth=32", "4 KiB random read", 32),
    ("Read bs=4096 iodepth=128", "4 KiB random read", 128),
    ("Overwrite bs=4096 iodepth=1", "4 KiB random write", 1),
    ("Overwrite bs=4096 iodepth=32", "4 KiB random write", 32),
    ("Overwrite bs=4096 iodepth=128", "4 KiB random write", 128),
];
/// Bytes of the disk.
const IMAGE_BYTES: u64 = 64 << 20;
/// Requests of Linux for each job, a tenth where there is one at once.
const PEER_IOS: u64 = 20_000;
/// The same for a look.
pub const PEER_IOS_QUICK: u64 = 4_000;
/// How long a job may take.
const LIMIT: Duration = Duration::from_secs(300);

/// One row.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// What is asked for.
    pub operation: &'static str,
    /// Requests under way.
    pub depth: u32,
    /// Requests done.
    pub ios: u64,
    /// Instructions of driver and application for each, without looks that found nothing.
    pub instructions_per_io: u64,
    /// Instructions of a look that finds nothing.
    pub instructions_per_empty_look: u64,
    /// Kernel entries of the whole job.
    pub kernel_entries: u64,
}

/// A table.
#[derive(Clone, Debug, Serialize)]
pub struct Block {
    /// The machine's name.
    pub machine: String,
    /// How devices are confined, as the guest said.
    pub iommu: String,
    /// QEMU's version.
    pub qemu: String,
    /// The disk, as QEMU's option.
    pub disk: String,
    /// Its rows.
    pub rows: Vec<Row>,
    /// The same by Linux's io_uring, if asked for.
    pub peers: Vec<Peer>,
}

/// Measures on each of `machines`, prints the tables and writes them as JSON.
///
/// # Errors
/// Something does not build or start, or the guest did not do what was to be measured.
pub fn run(machines: &[String], options: &MeasureOptions, json: Option<File>) -> Result<ExitCode> {
    let peer_ios = options.peers.then_some(if options.quick { PEER_IOS_QUICK } else { PEER_IOS });
    let mut tables = Vec::new();
    for machine in machines {
        let table = measure(machine, peer_ios)?;
        println!("{}", table.render());
        tables.push(table);
    }
    if let Some(file) = json {
        serde_json::to_writer_pretty(file, &tables).context("cannot write the result file")?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Measures on the machine `name`; with `peer_ios`, Linux too, with so many requests for each job.
///
/// # Errors
/// As [`run`].
pub fn measure(name: &str, peer_ios: Option<u64>) -> Result<Block> {
    let image = NamedTempFile::with_prefix("disk")?;
    image.as_file().set_len(IMAGE_BYTES)?;
    let machine = Machine::named(name)?;
    let setup = Setup::new("block-cost").machine(name).unchecked().cpus(1).disk(image.path());
    let setup = setup.counting_instructions();
    let system = setup.build()?;
    let step = Step::begin("counting the instructions of requests");
    let mut guest = setup.start_built(&system)?;
    let ready = guest.wait_ready()?;
    let million = guest.console_line("a million instructions take ", LIMIT)?;
    let rows = ROWS.iter().map(|row| self::row(&mut guest, *row)).collect::<Result<Vec<_>>>()?;
    let (outcome, _) = guest.end(LIMIT)?;
    guest.check(outcome == Outcome::Success, &format!("the machine ended with {outcome:?}"))?;
    step.done();
    let ticks: Option<u64> = million.split_whitespace().rev().nth(1).and_then(|word| word.parse().ok());
    let counts = ticks.is_some_and(|ticks| (1_000_000..1_000_100).contains(&ticks));
    ensure!(counts, "this QEMU does not make an instruction a tick: {million}");
    let qemu = machine.qemu()?.version.to_string();
    let peers = peer_ios.map(|ios| uring::measure(name, image.path(), ios, &rows)).transpose()?;
    let peers = peers.unwrap_or_default();
    Ok(Block { machine: name.into(), iommu: ready.iommu, qemu, disk: machine.disk, rows, peers })
}

fn row(guest: &mut Guest, (start, operation, depth): (&str, &'static str, u32)) -> Result<Row> {
    let line = guest.console_line(&format!("done {start} "), LIMIT)?;
    let value = |key: &str| {
        let mut pairs = line.split_whitespace().filter_map(|word| word.split_once('='));
        let value = pairs.find(|(name, _)| *name == key).and_then(|(_, value)| value.parse::<u64>().ok());
        value.with_context(|| format!("no {key} in `{line}`"))
    };
    ensure!(value("failed")? == 0 && value("ios")? > 0, "{line}");
    Ok(Row {
        operation,
        depth,
        ios: value("ios")?,
        instructions_per_io: value("ticks_per_io")?,
        instructions_per_empty_look: value("ticks_per_empty_look")?,
        kernel_entries: value("kernel_entries")?,
    })
}

impl Block {
    /// The table as people read it.
    #[must_use]
    pub fn render(&self) -> String {
        let Block { machine, iommu, qemu, disk, rows, peers } = self;
        let mut text = format!(
            "{machine}, IOMMU {iommu}, 1 CPU, QEMU {qemu} TCG, {disk}\n{:20} {:>5} {:>8}  {:>20} {:>14} {:>14}\n",
            "", "depth", "requests", "instructions/request", "an empty look", "kernel entries"
        );
        for row in rows {
            text += &format!(
                "{:20} {:>5} {:>8}  {:>20} {:>14} {:>14}\n",
                row.operation,
                row.depth,
                row.ios,
                row.instructions_per_io,
                row.instructions_per_empty_look,
                row.kernel_entries
            );
        }
        if !peers.is_empty() {
            text += &uring::render(peers);
        }
        text
    }
}
