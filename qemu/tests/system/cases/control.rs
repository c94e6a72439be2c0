//! What the control path costs, as counts: a quick form of `weir measure control`.

use anyhow::{Context, Result, ensure};
use weir_runner::measure::control;

use super::Case;

pub(super) const CASES: &[(&str, Case)] =
    &[("control::counts_stay_within_budget", || counts_stay_within_budget("q35-vtd", &VTD))];

/// Each operation is performed so often.
const SAMPLES: usize = 5;

/// What no revocation may exceed, whatever is mapped (steps 1-6: until the device is harmless).
const REVOCATION_LIMIT: u64 = 20_000;
/// What mapping one large page may not exceed.
const LARGE_PAGE_LIMIT: u64 = 3_000;

/// Instructions that half of the samples may not exceed: what was measured, and a tenth more.
type Budget = [(&'static str, u64); 11];
const VTD: Budget = [
    ("map_4k", 3_600),
    ("map_64m", 12_700),
    ("unmap_4k", 2_950),
    ("unmap_2m", 2_450),
    ("unmap_64m", 9_400),
    ("grant_1", 2_350),
    ("revoke_steps_1_to_6_1000", 4_100),
    ("interrupt_to_poll", 430),
    ("interrupt_to_wake", 1_040),
    ("fault_to_poll", 1_530),
    ("fault_to_wake", 2_110),
];

fn counts_stay_within_budget(machine: &str, budget: &Budget) -> Result<()> {
    let counted = control::count(machine, SAMPLES)?;
    for (operation, limit) in budget {
        let (_, took) =
            counted.iter().find(|(name, _)| name == operation).context("an operation of the table")?;
        ensure!(took.p50 <= *limit, "{operation}: {} instructions, the budget is {limit}", took.p50);
    }
    for (operation, took) in counted {
        if operation.starts_with("revoke_steps") {
            ensure!(took.max < REVOCATION_LIMIT, "{operation}: {} instructions", took.max);
        }
        if operation == "map_2m" {
            ensure!(took.max < LARGE_PAGE_LIMIT, "{operation}: {} instructions", took.max);
        }
    }
    Ok(())
}
