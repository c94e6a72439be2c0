//! `weir audit`: who can reach which memory, registers and interrupts, and whether owners are apart.
//!
//! Without a machine it reads the manifest, and refuses one whose device selectors could mean one device twice. With a
//! machine it boots the system, has the supervisor report what the kernel's and the unit's tables say, and proves on
//! this side that no frame, register page, interrupt or core has two owners. **Invariant: the exit status is 0 only where
//! that was shown.** It believes the kernel's report; that the tables hold against devices is the tests' business.
//!
//! Reading order: this file (the command) · [`reach`] (the report) · [`proof`] · [`show`] (the table) · [`drawing`].

pub mod drawing;
pub mod proof;
pub mod reach;
pub mod show;

use std::fs::File;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde::Serialize;

use crate::cli::AuditOptions;
use crate::guest::Guest;
use crate::machine::Machine;
use crate::manifest;
use crate::report::Status;
use crate::system::{System, manifest_path};
use crate::vm::Config;
use crate::vm::config::EMULATED;
use crate::vm::symbols::Symbols;
use crate::workspace;
use proof::Verdict;
use reach::Reach;

/// How long applications get to set themselves up before they are looked at.
const SETTLE: Duration = Duration::from_secs(5);

/// What is written as JSON.
#[derive(Serialize)]
struct Findings<'a> {
    machine: &'a str,
    iommu: &'a str,
    verdict: &'a Verdict,
    reach: &'a Reach,
}

/// Audits what `options` name.
///
/// # Errors
/// No such manifest, a wrong or ambiguous one; with a machine, it does not build or start.
pub fn run(options: &AuditOptions) -> Result<ExitCode> {
    let path = manifest_path(&options.system)?;
    let checked = manifest::read(&path, options.system.cpus)?;
    if let Some(problem) = &checked.ambiguity {
        bail!("{}:{problem}", workspace::shown(&path));
    }
    let Some(machine) = &options.machine else {
        if options.json.is_some() || options.svg.is_some() {
            bail!("--json and --svg show a machine: name it with --machine");
        }
        print!("{}", show::manifest(&checked.manifest));
        let is_confined = !checked.manifest.unsafe_no_iommu;
        return Ok(if is_confined { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    };
    let files = [options.json.as_ref(), options.svg.as_ref()].map(|path| path.map(File::create).transpose());
    let [json, svg] = files.map(|file| file.context("cannot write the result file"));
    let (iommu, reach) = look(options, machine)?;
    let verdict = proof::prove(&reach, &iommu);
    print!("{}", show::machine(&reach, &verdict, machine, &iommu));
    if let Some(file) = json? {
        let result = Findings { machine, iommu: &iommu, verdict: &verdict, reach: &reach };
        serde_json::to_writer_pretty(file, &result).context("cannot write the result file")?;
    }
    if let Some(file) = svg? {
        drawing::write(file, &reach, &verdict).context("cannot write the drawing")?;
    }
    Ok(if verdict.violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Boots the system and asks it.
fn look(options: &AuditOptions, machine: &str) -> Result<(String, Reach)> {
    let system = System::build(&options.system)?;
    for notice in &system.notices {
        eprintln!("note: {notice}");
    }
    let config = Config {
        machine: Machine::named(machine)?,
        accelerator: EMULATED,
        memory: options.memory.clone(),
        cpus: options.system.cpus,
        kernel: system.kernel.clone(),
        bundle: system.bundle.clone(),
        append: String::new(),
        networks: vec!["user".into(); options.networks],
        disks: vec![],
        extra: vec![],
        observer: None,
    };
    let mut guest = Guest::start(&config, Symbols::new(&system))?;
    let ready = guest.wait_ready()?;
    settle(&mut guest)?;
    Ok((ready.iommu, guest.audit()?))
}

/// Waits until all applications say that their data path runs, or long enough: some never say so.
fn settle(guest: &mut Guest) -> Result<()> {
    let start = Instant::now();
    let is_up = |status: &Status| status.apps.iter().all(|app| app.ready);
    while !is_up(&guest.status()?) && start.elapsed() < SETTLE {}
    Ok(())
}
