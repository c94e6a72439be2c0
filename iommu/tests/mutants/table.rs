//! The table of results.

use super::Mutant;
use super::bench::Verdict;
use std::fs::OpenOptions;
use std::io::{Result, Write as _};
use std::path::Path;

/// Adds a line.
pub(crate) fn add_line(table: &Path, mutant: &Mutant, verdict: &Verdict) -> Result<()> {
    let outcome = match verdict {
        Verdict::Killed(tests) => {
            let judge = tests.iter().find(|test| *test == mutant.test.1).or(tests.first());
            format!("`{}`", judge.map_or("", String::as_str))
        }
        Verdict::Hung => "does not end".to_owned(),
        Verdict::Survived => "**nothing**".to_owned(),
    };
    let line = format!("| `{}` | {} | {outcome} |\n", mutant.file, mutant.what);
    OpenOptions::new().create(true).append(true).open(table)?.write_all(line.as_bytes())
}
