//! `weir measure`, in its quick form.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use weir_runner::workspace;

use super::Case;

pub(super) const CASES: &[(&str, Case)] =
    &[("measure::every_figure_says_what_it_was_measured_on", every_figure_says_what_it_was_measured_on)];

/// The figures, and what they may be on any machine.
const FIGURES: [(&str, &str, f64, f64); 5] = [
    ("boot_to_first_answer_wall", "ms", 1.0, 60_000.0),
    ("boot_to_data_path_guest", "ms", 1.0, 60_000.0),
    ("kernel_text", "bytes", 32_768.0, 1_048_576.0),
    // The call and its return alone take more than 50, the whole path fewer than 5,000.
    ("syscall_cost", "instructions", 50.0, 5_000.0),
    ("kernel_entries_per_packet", "entries", 0.0, 0.0),
];

fn every_figure_says_what_it_was_measured_on() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("figures.json");
    let output = Command::new(env!("CARGO_BIN_EXE_weir"))
        .args(["measure", "--quick", "--json"])
        .arg(&file)
        .current_dir(workspace::root())
        .output()?;
    let text = String::from_utf8(output.stdout)?;
    ensure!(output.status.success(), "{}: {}", output.status, String::from_utf8_lossy(&output.stderr));
    ensure!(text.lines().count() == FIGURES.len(), "{text}");
    let figures: Vec<BTreeMap<String, Value>> = serde_json::from_slice(&fs::read(&file)?)?;
    ensure!(figures.len() == FIGURES.len(), "{figures:?}");
    for (figure, (metric, unit, least, most)) in figures.iter().zip(FIGURES) {
        let keys: Vec<&str> = figure.keys().map(String::as_str).collect();
        ensure!(keys == ["config", "metric", "unit", "value"], "{keys:?}");
        ensure!(figure["metric"] == metric && figure["unit"] == unit, "{figure:?}");
        let value = figure["value"].as_f64().context("a number")?;
        ensure!((least..=most).contains(&value), "{metric} is {value}");
        let config = &figure["config"];
        ensure!(config["accel"] == "tcg" && config["iommu"] == "vtd-legacy", "{config}");
        ensure!(config["cpus"].is_u64() && config["qemu"].is_string(), "{config}");
        ensure!(config["icount"] == (metric == "syscall_cost"), "{config}");
        ensure!(text.contains(metric), "the table lacks {metric}");
    }
    Ok(())
}
