//! The cases, by what they show.

mod boot;
mod command;
mod confinement;
mod documents;
mod echo;
mod measure;
mod restart;
mod runner;
mod selftest;

use anyhow::Result;

/// A case: passes or says what went wrong.
pub(crate) type Case = fn() -> Result<()>;

/// All cases, in the order they run.
pub(crate) fn all() -> Vec<(&'static str, Case)> {
    let mut all: Vec<(&'static str, Case)> = Vec::new();
    for cases in [
        runner::CASES,
        boot::CASES,
        selftest::CASES,
        echo::CASES,
        confinement::CASES,
        restart::CASES,
        command::CASES,
        measure::CASES,
        documents::CASES,
    ] {
        all.extend_from_slice(cases);
    }
    all
}
