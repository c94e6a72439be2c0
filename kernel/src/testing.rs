//! How the property tests run.

use proptest::test_runner::Config;

/// The usual number of cases; a few under Miri, which is a thousand times slower and has no file system.
pub(crate) fn cases() -> Config {
    let cases = if cfg!(miri) { 4 } else { 256 };
    Config { cases, failure_persistence: None, ..Config::default() }
}
