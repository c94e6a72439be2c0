//! `weir test`: every test there is, as jobs with a name, a time limit and a verdict.
//!
//! **Invariant: a job passes only if its process ended in time, with status 0, and said how many tests
//! passed.** A panic, a crash or silence can never read as success.
//! Order: format and lints · host tests, one job per test program · QEMU tests, one job per case.

mod job;
mod metadata;
mod plan;
mod tally;

use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Result;

use crate::cli::TestOptions;
use crate::tools::{self, Series};
use job::Job;
use tally::Tally;

/// Runs the tests that the options choose, and prints the count as the last line.
///
/// # Errors
/// There is nothing to judge: no QEMU, or the workspace cannot be read.
pub fn run(options: &TestOptions) -> Result<ExitCode> {
    let filter = options.filter.as_deref().unwrap_or("");
    if !options.list {
        let qemu = tools::qemu(Series::Any)?;
        eprintln!("QEMU {} ({})", qemu.version, qemu.path.display());
        return Ok(judge(&plan::jobs(filter, Some(&qemu))?, options.jobs));
    }
    for job in plan::jobs(filter, None)? {
        job.names(filter).iter().for_each(|name| println!("{name}"));
    }
    Ok(ExitCode::SUCCESS)
}

fn judge(jobs: &[Job], workers: u32) -> ExitCode {
    let total = Mutex::new(Tally::default());
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                while let Some(job) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let tally = job.run();
                    *total.lock().unwrap_or_else(std::sync::PoisonError::into_inner) += tally;
                }
            });
        }
    });
    let total = total.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    println!("{total}");
    if total.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
