//! `weir measure`: a few figures of this tree, to be tracked from commit to commit.
//!
//! **Invariant: a figure is printed with what it was measured on, and only if the run that gave it went well.**
//! Counts of instructions and kernel entries can be compared between machines; wall time cannot, not even
//! between two runs under different load.
//!
//! Reading order: this file (command, table, JSON) · [`figures`] (how each is had) · [`control`] (the control path, with
//! its own table) · [`packets`] (the data path, likewise), [`dpdk`] (the same by testpmd) · [`block`] (requests to a disk), [`uring`] (the same by Linux) · [`native`] (against DPDK,
//! without a machine) · [`recovery`] (how long clients wait) · [`percentiles`] · `spread` (what two systems' rates say) · [`readme`] (the README's table).

pub mod block;
pub mod control;
mod dpdk;
mod figures;
mod native;
pub mod packets;
pub mod percentiles;
pub mod readme;
mod recovery;
mod spread;
mod uring;

use std::fs::File;
use std::process::ExitCode;

use anyhow::{Context, Result};
use serde::Serialize;

use crate::cli::{MeasureOptions, Table};
use crate::tools::{self, Series};

/// The usual machine.
const MACHINE: &str = "q35-vtd";

/// One figure.
#[derive(Debug, Serialize)]
struct Figure {
    metric: &'static str,
    unit: &'static str,
    value: f64,
    config: Config,
}

/// What it was measured on.
#[derive(Clone, Debug, Serialize)]
struct Config {
    /// Always `tcg`: an emulated CPU.
    accel: &'static str,
    /// QEMU's version.
    qemu: String,
    machine: &'static str,
    cpus: u32,
    /// How devices are confined, as the guest said.
    iommu: String,
    /// Whether QEMU counted instructions and made each a nanosecond of the guest's time.
    icount: bool,
    /// How many times; the value is the median.
    samples: usize,
}

/// How much is measured.
#[derive(Clone, Copy, Debug)]
struct Effort {
    boots: usize,
    packets: usize,
}

impl Effort {
    const FULL: Effort = Effort { boots: 5, packets: 10_000 };
    const QUICK: Effort = Effort { boots: 1, packets: 500 };
}

/// Measures, prints a table and writes the result file.
///
/// # Errors
/// Something does not build or start, or the guest did not do what was to be measured.
pub fn run(options: &MeasureOptions) -> Result<ExitCode> {
    // Opened before the long work, so that a wrong name is told at once.
    let create = |path: &std::path::PathBuf| {
        File::create(path).with_context(|| format!("cannot write {}", path.display()))
    };
    let json = options.json.as_ref().map(create).transpose()?;
    let usual: &[&str] = match options.table {
        Table::Packets => &packets::MACHINES,
        Table::Recovery => &recovery::MACHINES,
        _ => &[MACHINE],
    };
    let machines: Vec<String> = match options.machine.as_slice() {
        [] => usual.iter().map(|name| (*name).to_owned()).collect(),
        named => named.to_vec(),
    };
    match options.table {
        Table::Control => return control::run(&machines, options.quick, json),
        Table::Packets => return packets::run(&machines, options, json),
        Table::Block => return block::run(&machines, options, json),
        Table::Recovery => return recovery::run(&machines, options.quick, json),
        Table::Native => return native::run(options.quick, json),
        Table::Readme => return readme::run(),
        Table::Basics => {}
    }
    let qemu = tools::qemu(Series::Any)?;
    let effort = if options.quick { Effort::QUICK } else { Effort::FULL };
    let figures = figures::measure(&qemu.version.to_string(), effort)?;
    print!("{}", table(&figures));
    if let Some(file) = json {
        serde_json::to_writer_pretty(file, &figures).context("cannot write the result file")?;
    }
    Ok(ExitCode::SUCCESS)
}

fn table(figures: &[Figure]) -> String {
    let width = figures.iter().map(|figure| figure.metric.len()).max().unwrap_or(0);
    let mut text = String::new();
    for Figure { metric, unit, value, config } in figures {
        let Config { qemu, machine, cpus, iommu, icount, samples, .. } = config;
        let counting = if *icount { ", counting instructions" } else { "" };
        text += &format!(
            "{metric:width$}  {value:>9} {unit:12}  {machine}, {cpus} CPU(s), IOMMU {iommu}, QEMU {qemu} TCG{counting}, \
             median of {samples}\n"
        );
    }
    text
}

/// The middle one; with an even number, the lower of the two in the middle.
fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len().checked_sub(1)? / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(vec![4.0, 3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(vec![]), None);
    }

    #[test]
    fn every_line_says_what_it_was_measured_on() {
        let config = Config {
            accel: "tcg",
            qemu: "10.0".into(),
            machine: "q35-vtd",
            cpus: 2,
            iommu: "vtd-legacy".into(),
            icount: true,
            samples: 3,
        };
        let text = table(&[Figure { metric: "cost", unit: "instructions", value: 7.0, config }]);
        let expected = "cost          7 instructions  q35-vtd, 2 CPU(s), IOMMU vtd-legacy, QEMU 10.0 TCG, counting \
            instructions, median of 3\n";
        assert_eq!(text, expected);
    }
}
