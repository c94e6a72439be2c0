//! `control`: measures the control path, alone on the machine.
//!
//! It boots in the supervisor's place, because granting and revoking are the supervisor's right, and is itself the owner
//! of what it grants. **Invariant: every sample is one operation, timed in this process from before the call to after
//! it, and every sample is reported**: percentiles are the reader's business. Where the machine counts instructions
//! (`-icount`) a tick of the time-stamp counter is an instruction, of kernel and application together.
//!
//! The bundle's entry `samples` says how often each thing is done. Reading order: [`mapping`] · [`revocation`] ·
//! [`arrival`] (interrupts and faults) · [`machine`] (the devices) · [`report`].
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

extern crate alloc;

mod arrival;
mod machine;
mod mapping;
mod report;
mod revocation;

use weir_abi::bundle;
use weir_rt::clock::ticks;
use weir_rt::{Env, Error, System, log};

use crate::machine::Machine;
use crate::report::Report;

weir_rt::entry!(main);

/// Bundle entry: how many samples of each operation, in decimal digits.
const SAMPLES: &str = "samples";
/// Power-off code: all is well.
const CODE_WELL: u64 = 0x10;
/// Power-off code: something could not be measured.
const CODE_FAILED: u64 = 0x11;

/// Why something could not be measured.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("started as an application; it measures in the supervisor's place")]
    NotSupervisor,
    #[error("the bundle says not how many samples (entry `{SAMPLES}`)")]
    NoSamples,
    #[error("the machine has no {0}")]
    NoDevice(&'static str),
    #[error("a revoked device's registers are still there")]
    StillThere,
    #[error("{what} did not come")]
    Silence { what: &'static str },
    #[error("the kernel refused: {0}")]
    Kernel(#[from] Error),
    #[error("the host refused: {0}")]
    Host(#[from] weir_hal::Error),
    #[error("edu: {0}")]
    Edu(#[from] weir_edu::Error),
}

fn main(env: Env) -> Result<(), Failure> {
    let system = env.system().ok_or(Failure::NotSupervisor)?;
    let code = match measure(system) {
        Ok(()) => CODE_WELL,
        Err(failure) => {
            log!("not measured: {failure}");
            CODE_FAILED
        }
    };
    Err(system.power_off(code).into())
}

fn measure(system: System) -> Result<(), Failure> {
    let files = system.bundle()?;
    let text = bundle::find(files, SAMPLES).and_then(|bytes| core::str::from_utf8(bytes).ok());
    let samples = text.and_then(|text| text.trim().parse().ok()).ok_or(Failure::NoSamples)?;
    let report = Report::begin(system);
    let machine = Machine::find(&system)?;
    mapping::measure(&machine, samples, &report)?;
    revocation::measure(&machine, samples, &report)?;
    arrival::measure(&machine, samples, &report)
}

/// Does something, and gives how many ticks it took.
fn timed<T>(operation: impl FnOnce() -> T) -> (T, u64) {
    let before = ticks();
    let result = operation();
    (result, ticks() - before)
}
