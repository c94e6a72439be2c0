//! Counts from outside (`qemu/plugin`): that they are right, and what a packet may cost.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use weir_runner::guest::Setup;
use weir_runner::measure::packets;

use super::{Case, E1000E, IGB, VIRTIO};

pub(super) const CASES: &[(&str, Case)] = &[
    ("observer::kernel_entries_are_those_the_guest_counts", kernel_entries_are_those_the_guest_counts),
    ("packets::ten_million_frames_without_a_kernel_entry", ten_million_frames_without_a_kernel_entry),
    ("packets::counts_stay_within_budget_virtio", || stay_within(VIRTIO, [525, 224, 190])),
    ("packets::counts_stay_within_budget_packed", || stay_within("q35-vtd-packed", [505, 255, 220])),
    ("packets::counts_stay_within_budget_e1000e", || stay_within(E1000E, [390, 166, 137])),
    ("packets::counts_stay_within_budget_igb", || stay_within(IGB, [390, 168, 140])),
];

const LIMIT: Duration = Duration::from_secs(60);
/// The region that the application's system calls are (`apps/selftest/src/cost.rs`).
const CALLS: u8 = 15;
/// Entries of other threads on the same CPU meanwhile, at most: the supervisor looks about once a second.
const OTHERS: u64 = 50;

/// A hundred thousand system calls, counted by the kernel for the thread that makes them, and from outside for its CPU,
/// which the supervisor shares.
fn kernel_entries_are_those_the_guest_counts() -> Result<()> {
    let (mut guest, _) = Setup::new("syscall-cost").cpus(1).observed().boot()?;
    let line = guest.console_line("measure kernel_entries ", LIMIT)?;
    let inside: u64 = line.rsplit(' ').next().and_then(|word| word.parse().ok()).context("a number")?;
    let cpus = guest.observe()?;
    let calls = cpus.first().and_then(|cpu| cpu.regions.get(&CALLS)).context("the region was not seen")?;
    ensure!(inside >= 100_000, "the guest counted {inside} entries");
    let agrees = (inside..inside + OTHERS).contains(&calls.entries);
    let figures = format!("{} entries from outside, {inside} by the guest", calls.entries);
    guest.check(calls.times == 1 && agrees, &figures)?;
    ensure!(calls.kernel > calls.entries && calls.user > calls.entries, "{calls:?}");
    Ok(())
}

/// Half of DPDK's instructions for the same device is the aim; the budget is what was reached and a
/// little more: bursts of 1, 8 and 32. Statistics and the choice of the mode are per burst, so a burst of one pays for
/// them alone.
fn stay_within(machine: &str, budget: [u32; 3]) -> Result<()> {
    let rows = packets::measure(machine)?;
    ensure!(rows.len() == budget.len(), "{rows:?}");
    for (row, limit) in rows.iter().zip(budget) {
        let took = row.instructions_per_frame;
        ensure!(
            took > 20.0 && took <= f64::from(limit),
            "{} in bursts of {}: {took} instructions per frame, the budget is {limit}",
            row.device,
            row.burst
        );
    }
    Ok(())
}

/// The core's kernel entries and its kernel's instructions, waiting between bursts included, are none: `packets` checks that
/// for each measurement.
fn ten_million_frames_without_a_kernel_entry() -> Result<()> {
    let rows = packets::measure_long(VIRTIO)?;
    let [row] = rows.as_slice() else { anyhow::bail!("{rows:?}") };
    ensure!(row.burst == 32 && row.frames >= 10_000_000 && row.kernel_entries == 0, "{row:?}");
    Ok(())
}
