//! `weir miri`: the host tests of what has `unsafe`, under Miri, which finds undefined behaviour.
//!
//! Not part of `weir test`: it needs a nightly toolchain with Miri, and minutes.

use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::progress::Step;
use crate::workspace;

/// What is run: package, further arguments of `cargo miri test`, flags of Miri.
///
/// Permissive provenance hides a warning of `intrusive-collections`, nothing else; leaks are ignored where a test
/// leaks its memory on purpose.
const RUNS: &[(&str, &str, &str)] = &[
    (
        "weir-kernel-core",
        "--lib -- frames handles regions refs try_box vectors wait",
        "-Zmiri-permissive-provenance",
    ),
    ("weir-iommu", "--lib --test dmar", ""),
    ("weir-hal", "", "-Zmiri-ignore-leaks"),
    ("weir-ring", "", "-Zmiri-ignore-leaks"),
    ("weir-pool", "", "-Zmiri-ignore-leaks"),
    ("weir-channel", "--test channel", "-Zmiri-disable-isolation -Zmiri-ignore-leaks"),
    // A play of every driver on simulated devices.
    ("weir-hostile", "--test plays", "-Zmiri-disable-isolation"),
    ("weir-rt", "--lib", ""),
];

/// Runs Miri over every package.
///
/// # Errors
/// There is no Miri; says what to type.
pub fn run() -> Result<ExitCode> {
    let version = Command::new("cargo").args(["+nightly", "miri", "--version"]).output();
    if !version.is_ok_and(|output| output.status.success()) {
        bail!("Miri is missing; type: rustup toolchain install nightly --component miri,rust-src");
    }
    let mut failed = 0;
    for (package, arguments, flags) in RUNS {
        failed += u32::from(!is_clean(package, arguments, flags)?);
    }
    println!("{} passed, {failed} failed", RUNS.len() - failed as usize);
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn is_clean(package: &str, arguments: &str, flags: &str) -> Result<bool> {
    let step = Step::begin(format!("miri {package}"));
    let started = Instant::now();
    let output = Command::new("cargo")
        .args(["+nightly", "miri", "test", "--quiet", "--package", package])
        .args(arguments.split_whitespace())
        .current_dir(workspace::root())
        // The runner's own cargo and toolchain are not those of this run.
        .env_remove("CARGO")
        .env_remove("RUSTUP_TOOLCHAIN")
        .env("MIRIFLAGS", flags)
        .stdin(Stdio::null())
        .output()
        .context("cannot run cargo")?;
    let is_clean = output.status.success();
    let verdict = if is_clean { "ok" } else { "FAILED" };
    step.print(&format!("miri {package} … {verdict} ({:.0} s)", started.elapsed().as_secs_f32()));
    if !is_clean {
        let said =
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        step.print(&said);
    }
    Ok(is_clean)
}
