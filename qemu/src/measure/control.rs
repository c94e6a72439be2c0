//! `weir measure control`: what mapping, granting, revoking, interrupts and faults cost.
//!
//! The application `control` boots in the supervisor's place and reports the ticks of every single operation. It runs
//! twice: once where QEMU makes each instruction a tick, once where ticks are time. **Invariant: a row has both, from
//! as many samples, or there is no table.**

use std::collections::BTreeMap;
use std::fs::File;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::Serialize;
use weir_abi::page::IommuMode;

use super::percentiles::Percentiles;
use crate::guest::{Guest, Setup};
use crate::machine::Machine;
use crate::progress::Step;
use crate::system::System;
use crate::vm::Outcome;

/// The operations, in the order of the table: the guest's name and ours.
const ROWS: [(&str, &str); 24] = [
    ("map_4k", "map 4 KiB"),
    ("map_2m", "map 2 MiB"),
    ("map_64m", "map 64 MiB"),
    ("unmap_4k", "unmap 4 KiB"),
    ("unmap_2m", "unmap 2 MiB"),
    ("unmap_64m", "unmap 64 MiB"),
    ("grant_1", "grant, no reset, 1 mapping"),
    ("grant_1000", "grant, no reset, 1,000 mappings"),
    ("grant_flr_1", "grant, after a reset, 1 mapping"),
    ("grant_flr_1000", "grant, after a reset, 1,000 mappings"),
    ("revoke_steps_1_to_6_1", "revoke, steps 1-6, 1 mapping"),
    ("revoke_steps_1_to_6_1000", "revoke, steps 1-6, 1,000 mappings"),
    ("revoke_steps_1_to_6_flr_1", "revoke, steps 1-6, before a reset, 1 mapping"),
    ("revoke_steps_1_to_6_flr_1000", "revoke, steps 1-6, before a reset, 1,000 mappings"),
    ("revoke_steps_1_to_6_large", "revoke, steps 1-6, 64 MiB of registers"),
    ("revoke_1", "revoke, the call, no reset, 1 mapping"),
    ("revoke_1000", "revoke, the call, no reset, 1,000 mappings"),
    ("revoke_flr_1", "revoke, the call, reset begun, 1 mapping"),
    ("revoke_flr_1000", "revoke, the call, reset begun, 1,000 mappings"),
    ("revoke_large", "revoke, the call, 64 MiB of registers"),
    ("interrupt_to_poll", "interrupt to an owner that polls"),
    ("interrupt_to_wake", "interrupt to an owner that sleeps"),
    ("fault_to_poll", "blocked access to an owner that polls"),
    ("fault_to_wake", "blocked access to an owner that sleeps"),
];

/// Samples of each operation: of a figure to keep, and of a look.
const SAMPLES: usize = 1000;
const QUICK_SAMPLES: usize = 5;
/// How long a run may take.
const LIMIT: Duration = Duration::from_secs(1800);
/// What the guest grants and revokes.
const DEVICES: [&str; 8] = [
    "-device",
    // Without a reset, on the root bus; it reaches every address.
    "edu,addr=0x10,dma_mask=0xffffffffffffffff",
    "-device",
    "pci-testdev,addr=0x11,membar=64M",
    "-device",
    "pcie-root-port,id=resettable,bus=pcie.0,chassis=20,slot=20",
    "-device",
    "igb,bus=resettable",
];

/// One row.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// Which operation, as the guest calls it.
    pub operation: &'static str,
    /// The same in words.
    #[serde(skip)]
    pub words: &'static str,
    /// Instructions, kernel and application.
    pub instructions: Percentiles,
    /// Nanoseconds.
    pub ns: Percentiles,
}

/// A table.
#[derive(Clone, Debug, Serialize)]
pub struct Control {
    /// The machine's name.
    pub machine: String,
    /// How devices are confined, as the guest said.
    pub iommu: String,
    /// QEMU's version.
    pub qemu: String,
    /// How often each operation was performed, in each of the two runs.
    pub samples: usize,
    /// Its rows.
    pub rows: Vec<Row>,
}

/// Measures on each of `machines`, prints the tables and writes them as JSON.
///
/// # Errors
/// Something does not build or start, or the guest did not do what was to be measured.
pub fn run(machines: &[String], is_quick: bool, json: Option<File>) -> Result<ExitCode> {
    let samples = if is_quick { QUICK_SAMPLES } else { SAMPLES };
    let usual = ["q35-vtd".to_owned()];
    let machines = if machines.is_empty() { &usual } else { machines };
    let mut tables = Vec::new();
    for machine in machines {
        let table = measure(machine, samples)?;
        println!("{}", table.render());
        tables.push(table);
    }
    if let Some(file) = json {
        serde_json::to_writer_pretty(file, &tables).context("cannot write the result file")?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Measures on the machine `name`.
fn measure(name: &str, samples: usize) -> Result<Control> {
    let counted = count_on(name, samples)?;
    let timed = Measured::take("taking the time", setup(name), &build(samples)?)?;
    let rows = counted.rows().map(|(operation, words)| {
        let instructions = counted.percentiles(operation, samples)?;
        let ns = timed.percentiles_ns(operation, samples)?;
        Ok(Row { operation, words, instructions, ns })
    });
    Ok(Control {
        machine: name.into(),
        iommu: timed.iommu.clone(),
        qemu: Machine::named(name)?.qemu()?.version.to_string(),
        samples,
        rows: rows.collect::<Result<_>>()?,
    })
}

/// Counts instructions only, on the machine `name`: what each operation took, by the guest's name for it.
///
/// # Errors
/// As [`run`].
pub fn count(name: &str, samples: usize) -> Result<Vec<(&'static str, Percentiles)>> {
    let counted = count_on(name, samples)?;
    counted.rows().map(|(operation, _)| Ok((operation, counted.percentiles(operation, samples)?))).collect()
}

fn count_on(name: &str, samples: usize) -> Result<Measured> {
    let setup = setup(name).counting_instructions();
    let counted = Measured::take("counting instructions", setup, &build(samples)?)?;
    ensure!(counted.counts_instructions(), "this QEMU does not make an instruction a tick");
    Ok(counted)
}

fn build(samples: usize) -> Result<System> {
    let files = [("samples", samples.to_string().into_bytes())];
    System::alone(&format!("control-{samples}"), "control", &files)
}

/// One CPU, so that nobody else's instructions are counted.
fn setup(machine: &str) -> Setup {
    Setup::new("").machine(machine).unchecked().cpus(1).with(&DEVICES)
}

/// What one run of the guest reported.
struct Measured {
    iommu: String,
    ticks: BTreeMap<String, Vec<u64>>,
}

impl Measured {
    fn take(what: &str, setup: Setup, system: &System) -> Result<Measured> {
        let step = Step::begin(what);
        let mut guest = setup.start_built(system)?;
        let ready = guest.wait_ready()?;
        let (outcome, _) = guest.end(LIMIT)?;
        well(&guest, &outcome)?;
        step.done();
        let ticks = guest.samples().iter().map(|s| (s.name.clone(), s.ticks.clone())).collect();
        Ok(Measured { iommu: ready.iommu, ticks })
    }

    fn one(&self, name: &str) -> Result<u64> {
        let first = self.ticks.get(name).and_then(|ticks| ticks.first().copied());
        first.with_context(|| format!("the guest did not say {name}"))
    }

    /// Whether a million instructions took as many ticks; the two readings of the counter take a few.
    fn counts_instructions(&self) -> bool {
        self.one("million_instructions").is_ok_and(|ticks| (1_000_000..1_000_100).contains(&ticks))
    }

    /// The rows there must be: QEMU's amd-iommu blocks accesses without recording a fault, so nobody hears of them.
    fn rows(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        let tells_faults = self.iommu != IommuMode::AmdVi.name();
        ROWS.into_iter().filter(move |(operation, _)| tells_faults || !operation.starts_with("fault"))
    }

    fn percentiles(&self, name: &str, samples: usize) -> Result<Percentiles> {
        let ticks = self.ticks.get(name).cloned().unwrap_or_default();
        ensure!(ticks.len() == samples, "{} samples of {name} instead of {samples}", ticks.len());
        Percentiles::of(ticks).context("one sample at least")
    }

    fn percentiles_ns(&self, name: &str, samples: usize) -> Result<Percentiles> {
        let hz = u128::from(self.one("tsc_hz")?.max(1));
        let ns = |ticks: u64| u64::try_from(u128::from(ticks) * 1_000_000_000 / hz).unwrap_or(u64::MAX);
        let Percentiles { p50, p99, max } = self.percentiles(name, samples)?;
        Ok(Percentiles { p50: ns(p50), p99: ns(p99), max: ns(max) })
    }
}

fn well(guest: &Guest, outcome: &Outcome) -> Result<()> {
    guest.check(*outcome == Outcome::Success, &format!("the machine ended with {outcome:?}"))
}

impl Control {
    /// The table as people read it.
    #[must_use]
    pub fn render(&self) -> String {
        let Control { machine, iommu, qemu, samples, rows } = self;
        let mut text = format!(
            "{machine}, IOMMU {iommu}, 1 CPU, QEMU {qemu} TCG, {samples} samples of each\n\
             {:50}  {:^26}  {:^35}\n{:50}  {:>8} {:>8} {:>8}  {:>11} {:>11} {:>11}\n",
            "", "instructions", "microseconds", "operation", "p50", "p99", "max", "p50", "p99", "max"
        );
        for Row { words, instructions: i, ns, .. } in rows {
            let us = |ns: u64| format!("{}.{}", ns / 1000, ns % 1000 / 100);
            text += &format!(
                "{words:50}  {:>8} {:>8} {:>8}  {:>11} {:>11} {:>11}\n",
                i.p50,
                i.p99,
                i.max,
                us(ns.p50),
                us(ns.p99),
                us(ns.max)
            );
        }
        text
    }
}
