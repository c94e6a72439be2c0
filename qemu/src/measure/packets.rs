//! `weir measure packets`: what receiving a frame, swapping its addresses and sending it back costs.
//!
//! Two devices of one kind send each other frames; the application `pktfwd` marks each burst, and the observer counts
//! what lies between the marks. **Invariant: only full bursts count, and every figure is the observer's**; what the guest
//! says of itself must agree, or there is no table.

use std::fs::File;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::Serialize;

use super::dpdk::{self, Peer};
use crate::cli::MeasureOptions;
use crate::guest::{Guest, Setup};
use crate::machine::Machine;
use crate::progress::Step;
use crate::vm::observer::Region;

/// The machines, one for each kind of device.
pub(super) const MACHINES: [&str; 4] = ["q35-vtd", "q35-vtd-packed", "q35-vtd-e1000e", "q35-vtd-igb"];
/// Frames in a burst, and the region that full bursts of that size are (`apps/pktfwd`).
pub(super) const BURSTS: [(u64, u8); 3] = [(1, 0), (8, 2), (32, 4)];
/// The region that a whole measurement is, with all that is between its bursts.
const WHOLE: u8 = 6;
/// How long the guest may take for one size of burst.
const LIMIT: Duration = Duration::from_secs(1800);

/// One row.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// The machine's name.
    pub machine: String,
    /// Its network devices, as QEMU calls them.
    pub device: String,
    /// How devices are confined, as the guest said.
    pub iommu: String,
    /// QEMU's version.
    pub qemu: String,
    /// Frames in a burst.
    pub burst: u64,
    /// Frames counted.
    pub frames: u64,
    /// Instructions of a frame: received, addresses swapped, sent.
    pub instructions_per_frame: f64,
    /// Kernel entries while these frames passed.
    pub kernel_entries: u64,
    /// The same by DPDK, if asked for.
    pub peer: Option<Peer>,
}

/// The back end that connects two devices with each other.
pub(super) fn wire() -> String {
    "hubport,hubid=1".into()
}

/// Measures on each of `machines`, prints the table and writes it as JSON.
///
/// # Errors
/// Something does not build or start, or the guest did not do what was to be measured.
pub fn run(machines: &[String], options: &MeasureOptions, json: Option<File>) -> Result<ExitCode> {
    ensure!(!(options.long && options.peers), "ten million frames are a measurement of Weir alone");
    println!("{}", heading(options.peers));
    let mut rows = Vec::new();
    for machine in machines {
        let measured = match (options.long, options.peers) {
            (true, _) => measure_long(machine)?,
            (false, true) => measure_beside(machine, options.quick)?,
            (false, false) => measure(machine)?,
        };
        for row in measured {
            println!("{}", row.render());
            rows.push(row);
        }
    }
    if let Some(file) = json {
        serde_json::to_writer_pretty(file, &rows).context("cannot write the result file")?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Measures on the machine `name`, each size of burst.
///
/// # Errors
/// As [`run`].
pub fn measure(name: &str) -> Result<Vec<Row>> {
    measure_bursts(name, "pktfwd", &BURSTS)
}

/// The same, with DPDK's figures beside.
///
/// # Errors
/// As [`run`].
pub fn measure_beside(name: &str, is_quick: bool) -> Result<Vec<Row>> {
    let mut rows = measure(name)?;
    let peers = dpdk::measure(name, is_quick)?;
    rows.iter_mut().zip(peers).for_each(|(row, peer)| row.peer = Some(peer));
    Ok(rows)
}

/// Ten million frames in the largest bursts.
///
/// # Errors
/// As [`run`].
pub fn measure_long(name: &str) -> Result<Vec<Row>> {
    let [.., largest] = BURSTS;
    measure_bursts(name, "pktfwd-long", &[largest])
}

fn measure_bursts(name: &str, manifest: &'static str, bursts: &[(u64, u8)]) -> Result<Vec<Row>> {
    let step = Step::begin(format!("counting instructions on {name}"));
    let setup = Setup::new(manifest).machine(name).unchecked().observed().network(wire()).network(wire());
    let (mut guest, ready) = setup.boot()?;
    let mut said = Vec::new();
    for (burst, _) in bursts {
        step.say(&format!("bursts of {burst}"));
        said.push(said_of(&mut guest, *burst)?);
    }
    let cpus = guest.observe()?;
    guest.power_off()?;
    step.done();
    let region =
        |number: u8| cpus.iter().find_map(|cpu| cpu.regions.get(&number)).copied().unwrap_or_default();
    check_whole(region(WHOLE))?;
    let machine = Machine::named(name)?;
    let qemu = machine.qemu()?.version.to_string();
    let mut device = machine.nic.split(',').next().unwrap_or_default().to_owned();
    if machine.nic.contains("packed=on") {
        device += ", packed";
    }
    bursts
        .iter()
        .zip(said)
        .map(|((burst, number), (frames, entries))| {
            let region = region(*number);
            check(region, *burst, frames, entries)?;
            let (machine, device, iommu, qemu) =
                (name.to_owned(), device.clone(), ready.iommu.clone(), qemu.clone());
            let instructions_per_frame = per_frame(region, frames);
            let kernel_entries = region.entries;
            Ok(Row {
                machine,
                device,
                iommu,
                qemu,
                burst: *burst,
                frames,
                instructions_per_frame,
                kernel_entries,
                peer: None,
            })
        })
        .collect()
}

/// From the first frame of a measurement to its last, waiting included, the core ran nothing but the application.
fn check_whole(region: Region) -> Result<()> {
    let is_alone =
        region.times == BURSTS.len() as u64 && region.user > 0 && region.kernel == 0 && region.entries == 0;
    ensure!(is_alone, "the core was not the application's alone: {region:?}");
    Ok(())
}

/// What the guest says of bursts of that size: frames in full ones, and its kernel entries.
fn said_of(guest: &mut Guest, burst: u64) -> Result<(u64, u64)> {
    let line = guest.console_line(&format!("measure burst={burst} "), LIMIT)?;
    let number = |key: &str| {
        let word = line.split_whitespace().find_map(|word| word.strip_prefix(key)?.strip_prefix('='));
        word.and_then(|word| word.parse().ok()).with_context(|| format!("no {key} in `{line}`"))
    };
    Ok((number("frames")?, number("entries")?))
}

fn check(region: Region, burst: u64, frames: u64, entries: u64) -> Result<()> {
    // A burst whose frames the transmit ring did not all take at once is not counted.
    ensure!(
        region.times * burst <= frames && region.times * burst * 10 >= frames * 9,
        "{} bursts of {burst} were seen from outside, the guest speaks of {frames} frames",
        region.times
    );
    ensure!(region.entries == 0, "{} kernel entries were seen from outside", region.entries);
    ensure!(entries == 0, "the guest counted {entries} kernel entries of its own");
    ensure!(region.kernel == 0, "{} instructions of the kernel were seen from outside", region.kernel);
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
fn per_frame(region: Region, frames: u64) -> f64 {
    (region.user as f64 / frames as f64 * 10.0).round() / 10.0
}

fn heading(has_peers: bool) -> String {
    let peers = if has_peers {
        format!(
            "{:>15} {:>12} {:>15} {:>12}   ",
            "DPDK's testpmd", "frames/burst", "kernel entries", "Weir : DPDK"
        )
    } else {
        String::new()
    };
    format!(
        "{:24} {:>6} {:>10} {:>20} {:>15}   {peers}{}",
        "device", "burst", "frames", "instructions/frame", "kernel entries", "measured on"
    )
}

impl Row {
    fn render(&self) -> String {
        let Row { machine, device, iommu, qemu, burst, frames, instructions_per_frame, kernel_entries, peer } =
            self;
        let peer = peer.as_ref().map_or_else(String::new, |peer| {
            let Peer { instructions_per_frame: theirs, frames_per_burst, kernel_entries, .. } = peer;
            let part = instructions_per_frame / theirs;
            format!("{theirs:>15.1} {frames_per_burst:>12.1} {kernel_entries:>15} {part:>12.2}   ")
        });
        format!(
            "{device:24} {burst:>6} {frames:>10} {instructions_per_frame:>20.1} {kernel_entries:>15}   {peer}\
             {machine}, IOMMU {iommu}, QEMU {qemu} TCG"
        )
    }
}
