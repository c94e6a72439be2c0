//! QEMU tests: one machine per case, each case bounded in time.
//!
//! **Invariant: a case passes only on what the guest reported or answered; its end, in time and with the
//! expected exit status, is part of that.** `weir test` gives every case a process of its own; this program
//! also runs by itself: `cargo test -p weir-runner --test system [FILTER]`.
//!
//! The machine under test and the other end of its network are the runner's own `guest` and `peer`.
#![forbid(unsafe_code)]

mod cases;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let trials = cases::all()
        .into_iter()
        .map(|(name, case)| {
            Trial::test(name, move || case().map_err(|error| format!("{error:#}").into()))
                .with_ignored_flag(!cases::is_possible(name))
        })
        .collect();
    libtest_mimic::run(&arguments, trials).exit_code()
}
