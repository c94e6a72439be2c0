//! Every play with random bytes, for as long as an ordinary test run has time.

use weir_hostile::{PLAYS, Play, Tally, random_bytes};

/// Plays of each kind. The environment can ask for more.
fn plays() -> u64 {
    let asked = std::env::var("WEIR_HOSTILE_DEVICES").ok().and_then(|text| text.parse().ok());
    asked.unwrap_or(if cfg!(miri) { 1 } else { 2_000 })
}

/// Every play that can be had here: Miri has no sockets, and no memory that processes share.
fn all() -> impl Iterator<Item = (&'static str, Play)> {
    PLAYS.into_iter().filter(|(name, _)| !cfg!(miri) || *name != "vhost_user")
}

#[test]
fn whatever_a_device_does_drivers_refuse_and_go_on() {
    for (name, play) in all() {
        let mut tally = Tally::default();
        // Sockets and threads take their time.
        let plays = if name == "vhost_user" { plays().div_ceil(40) } else { plays() };
        for seed in 1..=plays {
            tally += play(&random_bytes(seed));
        }
        println!("{name}: {tally:?}");
        assert!(tally.calls >= plays, "{name}: {tally:?}");
        assert!(cfg!(miri) || tally.failures + tally.violations > 0, "{name}: lies were found: {tally:?}");
    }
}

#[test]
fn without_bytes_a_device_is_honest() {
    for (name, play) in all() {
        let tally = play(&[]);
        assert_eq!((tally.violations, tally.failures), (0, 0), "{name}");
    }
}
