//! What the control path costs, as counts: a quick form of `weir measure control`.

use anyhow::{Context, Result, ensure};
use weir_runner::measure::control;

use super::Case;

pub(super) const CASES: &[(&str, Case)] = &[
    ("control::counts_stay_within_budget", || stay_within("q35-vtd", &VTD)),
    ("control::counts_stay_within_budget_first_stage", || stay_within("q35-scalable-first", &FIRST_STAGE)),
    ("control::counts_stay_within_budget_amdvi", || stay_within("q35-amdvi-x2apic", &AMDVI)),
];

/// Each operation is performed so often.
const SAMPLES: usize = 5;

/// What no revocation may exceed, whatever is mapped (steps 1-6: until the device is harmless).
const REVOCATION_LIMIT: u64 = 20_000;

/// Instructions that half of the samples may not exceed: what was measured and a tenth more, or what was promised.
type Budget = [(&'static str, u64)];

const VTD: [(&str, u64); 12] = [
    ("map_4k", 3_350),
    ("map_2m", 3_000),
    ("map_64m", 12_200),
    ("unmap_4k", 2_700),
    ("unmap_2m", 2_300),
    ("unmap_64m", 9_300),
    ("grant_1", 2_500),
    ("revoke_steps_1_to_6_1000", 4_200),
    ("interrupt_to_poll", 500),
    ("interrupt_to_wake", 1_100),
    ("fault_to_poll", 1_600),
    ("fault_to_wake", 2_200),
];
const FIRST_STAGE: [(&str, u64); 7] = [
    ("map_4k", 1_950),
    ("map_2m", 1_950),
    ("map_64m", 7_100),
    ("unmap_4k", 1_750),
    ("unmap_64m", 2_650),
    ("grant_1", 4_800),
    ("revoke_steps_1_to_6_1000", 7_000),
];
const AMDVI: [(&str, u64); 5] = [
    ("map_4k", 3_700),
    ("map_2m", 3_000),
    ("unmap_4k", 2_850),
    ("grant_1", 3_150),
    ("revoke_steps_1_to_6_1000", 4_650),
];

fn stay_within(machine: &str, budget: &Budget) -> Result<()> {
    let counted = control::count(machine, SAMPLES)?;
    for (operation, limit) in budget {
        let (_, took) =
            counted.iter().find(|(name, _)| name == operation).context("an operation of the table")?;
        ensure!(took.p50 <= *limit, "{operation}: {} instructions, the budget is {limit}", took.p50);
    }
    for (operation, took) in counted.iter().filter(|(name, _)| name.starts_with("revoke_steps")) {
        ensure!(took.max < REVOCATION_LIMIT, "{operation}: {} instructions", took.max);
    }
    Ok(())
}
