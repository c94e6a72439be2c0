//! Plays with random bytes until so many driver calls were answered: `weir-hostile CALLS [SEED [PLAY…]]`.
#![forbid(unsafe_code)]

use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use weir_hostile::{PLAYS, Play, Tally, random_bytes};

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize| words.get(at).and_then(|word| word.parse::<u64>().ok());
    let Some(calls) = number(0) else {
        eprintln!("weir-hostile CALLS [SEED [PLAY…]]: CALLS driver calls of each play, from SEED on");
        return ExitCode::FAILURE;
    };
    let first = number(1).unwrap_or(1);
    let chosen = words.get(2..).unwrap_or(&[]);
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        eprintln!("seed {}:", SEED.load(Ordering::Relaxed));
        usual(panic);
    }));
    let mut all = Tally::default();
    for (name, play) in
        PLAYS.iter().filter(|(name, _)| chosen.is_empty() || chosen.iter().any(|word| word == name))
    {
        all += run(name, *play, calls, first);
    }
    println!("in all: {} calls, {} violations, {} other failures", all.calls, all.violations, all.failures);
    ExitCode::SUCCESS
}

/// Plays seed after seed; a panic names the last one.
fn run(name: &str, play: Play, calls: u64, first: u64) -> Tally {
    let (mut tally, mut seed, begin) = (Tally::default(), first, Instant::now());
    while tally.calls < calls {
        SEED.store(seed, Ordering::Relaxed);
        tally += play(&random_bytes(seed));
        seed += 1;
    }
    println!(
        "{name}: {} calls in {} plays, seeds from {first}; {} violations, {} other failures; {:.0} s",
        tally.calls,
        seed - first,
        tally.violations,
        tally.failures,
        begin.elapsed().as_secs_f32()
    );
    tally
}

/// The play that is on, for who panics.
static SEED: AtomicU64 = AtomicU64::new(0);
