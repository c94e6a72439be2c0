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

use crate::guest::{Guest, Setup};
use crate::machine::Machine;
use crate::progress::Step;
use crate::vm::observer::Region;

/// The machines, one for each kind of device.
pub(super) const MACHINES: [&str; 4] = ["q35-vtd", "q35-vtd-packed", "q35-vtd-e1000e", "q35-vtd-igb"];
/// Frames in a burst, and the region that full bursts of that size are (`apps/pktfwd`).
const BURSTS: [(u64, u8); 3] = [(1, 0), (8, 2), (32, 4)];
/// How long the guest may take for one size of burst.
const LIMIT: Duration = Duration::from_secs(600);

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
}

/// Measures on each of `machines`, prints the table and writes it as JSON.
///
/// # Errors
/// Something does not build or start, or the guest did not do what was to be measured.
pub fn run(machines: &[String], json: Option<File>) -> Result<ExitCode> {
    println!("{}", heading());
    let mut rows = Vec::new();
    for machine in machines {
        for row in measure(machine)? {
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
    let step = Step::begin(format!("counting instructions on {name}"));
    let wire = || "hubport,hubid=1".to_owned();
    let setup = Setup::new("pktfwd").machine(name).unchecked().observed().network(wire()).network(wire());
    let (mut guest, ready) = setup.boot()?;
    let mut said = Vec::new();
    for (burst, _) in BURSTS {
        step.say(&format!("bursts of {burst}"));
        said.push(said_of(&mut guest, burst)?);
    }
    let cpus = guest.observe()?;
    guest.power_off()?;
    step.done();
    let machine = Machine::named(name)?;
    let qemu = machine.qemu()?.version.to_string();
    let mut device = machine.nic.split(',').next().unwrap_or_default().to_owned();
    if machine.nic.contains("packed=on") {
        device += ", packed";
    }
    BURSTS
        .iter()
        .zip(said)
        .map(|((burst, number), (frames, entries))| {
            let region = cpus.iter().find_map(|cpu| cpu.regions.get(number)).copied().unwrap_or_default();
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
            })
        })
        .collect()
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

fn heading() -> String {
    format!(
        "{:24} {:>6} {:>10} {:>20} {:>15}   {}",
        "device", "burst", "frames", "instructions/frame", "kernel entries", "measured on"
    )
}

impl Row {
    fn render(&self) -> String {
        let Row { machine, device, iommu, qemu, burst, frames, instructions_per_frame, kernel_entries } =
            self;
        format!(
            "{device:24} {burst:>6} {frames:>10} {instructions_per_frame:>20.1} {kernel_entries:>15}   \
             {machine}, IOMMU {iommu}, QEMU {qemu} TCG"
        )
    }
}
