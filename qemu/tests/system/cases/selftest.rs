//! Tests that run inside the guest: the application `selftest`.

use std::time::Duration;

use anyhow::Result;
use weir_runner::vm::Outcome;

use super::{Case, VIRTIO};
use weir_runner::guest::Setup;

pub(super) const CASES: &[(&str, Case)] = &[
    ("selftest::all_on_4_cpus", || all_on(VIRTIO, 4)),
    ("selftest::all_on_1_cpu", || all_on(VIRTIO, 1)),
    ("selftest::crashes_end_only_the_application", crashes_end_only_the_application),
];

const LIMIT: Duration = Duration::from_secs(150);

/// Tests that must have run and passed, whatever else there is.
const EXPECTED: [&str; 10] = [
    "memory-zeroed",
    "write-xor-execute",
    "handles-stale",
    "quota-mappings",
    "quota-handles",
    "quota-frames",
    "event-deadline",
    "threads-progress",
    "vectors",
    "random-calls",
];

pub(super) fn all_on(machine: &'static str, cpus: u32) -> Result<()> {
    let (mut guest, _) = Setup::new("selftest").machine(machine).cpus(cpus).boot()?;
    let (outcome, _) = guest.end(LIMIT)?;
    for name in EXPECTED {
        guest.check(guest.has_said(&format!("test {name} ok")), &format!("test {name} did not pass"))?;
    }
    guest.check(!guest.has_said(" FAILED: "), "a test failed")?;
    guest.check(outcome == Outcome::Success, &format!("the machine ended with {outcome:?}"))
}

/// Application of `crashes.toml`, and the exception that must end it (Intel SDM Vol. 3A §6.15 "Exception and
/// Interrupt Reference").
const CRASHES: [(&str, u64); 10] = [
    ("null", 14),
    ("unmapped", 14),
    ("kernel-page", 14),
    ("code", 14),
    ("kernel", 14),
    ("execute", 14),
    ("ud", 6),
    ("gp", 13),
    ("divide", 0),
    ("stack", 14),
];

/// The code of a program that panicked.
const PANIC_CODE: u64 = 101;

fn crashes_end_only_the_application() -> Result<()> {
    let (mut guest, _) = Setup::new("crashes").boot()?;
    let (outcome, status) = guest.end(LIMIT)?;
    let Some(status) = status else { return Err(guest.failure("no status")) };
    for (name, vector) in CRASHES {
        let app = status.app(name);
        let is_right = app.is_some_and(|app| app.state == "crashed" && app.code == vector);
        guest.check(is_right, &format!("{name} should end by exception {vector}: {app:?}"))?;
        guest.check(guest.has_said(&format!(" {name}: ")), &format!("no backtrace of {name}"))?;
    }
    let panic = status.app("panic").is_some_and(|app| app.state == "exited" && app.code == PANIC_CODE);
    guest.check(panic, "the panicking application did not end as panicking ones do")?;
    let witness = status.app("witness").is_some_and(|app| app.state == "exited" && app.code == 0);
    guest.check(witness, "the application beside them did not end well")?;
    guest.check(guest.has_said("(apps/selftest/src/crash.rs:"), "the backtraces name no source line")?;
    guest.check(outcome == Outcome::ApplicationFailed, &format!("the machine ended with {outcome:?}"))
}
