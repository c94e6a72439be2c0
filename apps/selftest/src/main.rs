//! Tests of Weir from inside an application that is granted nothing special.
//!
//! Words from the manifest name tests, or `all`. Each logs `test NAME ok`, `test NAME FAILED: why`, or
//! `test NAME skipped: why`; the exit code is 0 or 1. `crash-…` ends the application by a CPU exception, on
//! purpose: the supervisor's report is the verdict. `syscall-cost` measures and logs `measure syscall_tsc N`.
//!
//! `unsafe` here is what is tested: executing made-up code, made-up system calls, and crashing.
#![no_std]
#![no_main]

extern crate alloc;

mod clock;
mod cost;
mod crash;
mod events;
mod handles;
mod heap;
mod kernel;
mod memory;
mod quotas;
mod random_calls;
mod threads;
mod vectors;

use alloc::string::String;

use weir_rt::{Env, log};

weir_rt::entry!(main);

/// How a test went, if it did not just succeed.
enum Verdict {
    /// What was promised is not so.
    Failed(String),
    /// It needs something that was not granted.
    Skipped(&'static str),
}

type Test = fn(&mut Env) -> Result<(), Verdict>;

/// Every test but the crashes, in the order of `all`.
const TESTS: [(&str, Test); 23] = [
    ("heap", heap::heap),
    ("memory-zeroed", memory::zeroed),
    ("memory-shared", memory::shared),
    ("memory-places", memory::places),
    ("write-xor-execute", memory::write_xor_execute),
    ("execute", memory::execute),
    ("handles-stale", handles::stale),
    ("handles-kinds", handles::kinds),
    ("rights", handles::rights),
    ("quota-mappings", quotas::mappings),
    ("quota-handles", quotas::handles),
    ("quota-frames", quotas::frames),
    ("event-wake", events::wake),
    ("event-deadline", events::deadline),
    ("event-slots", events::slots),
    ("threads-progress", threads::progress),
    ("threads-storage", threads::storage),
    ("threads-stacks", threads::stacks),
    ("vectors", vectors::kept),
    ("clock", clock::clock),
    ("core", threads::granted_core),
    ("random-calls", random_calls::random_calls),
    ("syscall-cost", cost::syscall_cost),
];

/// Fails a test with a formatted reason where a condition does not hold.
macro_rules! ensure {
    ($condition:expr, $($reason:tt)*) => {
        if !$condition {
            return Err($crate::Verdict::Failed(alloc::format!($($reason)*)));
        }
    };
}
pub(crate) use ensure;

impl From<weir_rt::Error> for Verdict {
    fn from(error: weir_rt::Error) -> Verdict {
        Verdict::Failed(alloc::format!("unexpected error: {error}"))
    }
}

fn main(mut env: Env) -> u64 {
    let words = env.args().to_vec();
    let mut is_well = !words.is_empty();
    if !is_well {
        log!("selftest: name tests in `args`, or `all`");
    }
    for word in &words {
        if word == "all" {
            for (name, test) in TESTS {
                is_well &= run(name, test, &mut env);
            }
        } else if let Some((name, test)) = TESTS.iter().find(|(name, _)| name == word) {
            is_well &= run(name, *test, &mut env);
        } else {
            is_well &= crash::crash(word);
        }
    }
    if is_well { 0 } else { 1 }
}

/// Runs one test and logs its verdict; false where it failed.
fn run(name: &str, test: Test, env: &mut Env) -> bool {
    match test(env) {
        Ok(()) => log!("test {name} ok"),
        Err(Verdict::Skipped(why)) => log!("test {name} skipped: {why}"),
        Err(Verdict::Failed(why)) => {
            log!("test {name} FAILED: {why}");
            return false;
        }
    }
    true
}

/// Numbers that look random and are the same in every run (xorshift64*, Vigna 2016).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `end`.
    fn below(&mut self, end: usize) -> usize {
        weir_rt::call::to_usize(self.next() % end as u64)
    }
}
