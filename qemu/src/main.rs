//! `weir`: the program that `./weir` builds and becomes.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use weir_runner::cli::{self, Command};
use weir_runner::{audit, docs, image, measure, miri, new, run, suite, tools};

/// Exit status of a wrong invocation or a missing prerequisite: the guest was never judged.
const CANNOT_START: u8 = 2;

fn main() -> ExitCode {
    let command = match cli::parse() {
        Ok(command) => command,
        Err(status) => return status,
    };
    let result = match command {
        Command::Run(options) => run::run(&options),
        Command::Test(options) => suite::run(&options),
        Command::Audit(options) => audit::run(&options),
        Command::Measure(options) => measure::run(&options),
        Command::New(options) => new::write(&options),
        Command::Image(options) => image::write(&options),
        Command::Setup => tools::set_up(),
        Command::Docs => docs::write(),
        Command::Miri => miri::run(),
    };
    result.unwrap_or_else(|error| {
        eprintln!("weir: {error:#}");
        ExitCode::from(CANNOT_START)
    })
}
