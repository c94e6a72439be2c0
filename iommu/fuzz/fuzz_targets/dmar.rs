//! See `targets.rs`.
#![no_main]

#[path = "../targets.rs"]
#[allow(dead_code, reason = "the other fuzzers' targets")]
mod targets;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| targets::dmar(bytes));
