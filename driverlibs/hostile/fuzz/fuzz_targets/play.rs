//! The play that this binary is named after. Says after every ten million driver calls how many there were.
#![no_main]

use std::sync::atomic::{AtomicU64, Ordering};

use weir_hostile::PLAYS;

const STEP: u64 = 10_000_000;
static CALLS: AtomicU64 = AtomicU64::new(0);

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let (_, play) =
        PLAYS.iter().find(|(name, _)| *name == env!("CARGO_BIN_NAME")).expect("a play of that name");
    let more = play(bytes).calls;
    let before = CALLS.fetch_add(more, Ordering::Relaxed);
    if before / STEP != (before + more) / STEP {
        eprintln!("{} driver calls", before + more);
    }
});
