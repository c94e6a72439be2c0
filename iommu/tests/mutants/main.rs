//! The judges judged: each mutant takes one flush, wait, ordering or check out of `iommu/src`, and some test must fail.
//!
//! **Invariant: a mutant that survives fails here**, as does one whose text is no longer in the source.
//!
//! Each is applied to a copy of the crate, which is built and tested under the target directory. By default a sample
//! runs, each with the one test that must fail; `-- --include-ignored` runs all, and where that test does not fail the
//! whole suite that judges its part. `WEIR_MUTANTS_TABLE=file` names where the table of results goes.
#![forbid(unsafe_code)]

mod amdvi;
mod bench;
mod shared;
mod table;
mod vtd;

use bench::Bench;
use libtest_mimic::{Arguments, Failed, Trial};
use std::sync::{Arc, Mutex};

/// Set up when it is needed.
type SharedBench = Mutex<Option<Bench>>;

/// One change of the source.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mutant {
    /// File under `src`.
    pub(crate) file: &'static str,
    /// What is left out or wrong, in words; unique in its file.
    pub(crate) what: &'static str,
    /// Occurs once in the file.
    pub(crate) original: &'static str,
    pub(crate) replacement: &'static str,
    /// The test that must fail, and the suite it is in.
    pub(crate) test: (&'static str, &'static str),
    /// Part of the sample.
    pub(crate) is_sample: bool,
}

/// A mutant outside of the sample.
pub(crate) const fn mutant(
    file: &'static str,
    what: &'static str,
    original: &'static str,
    replacement: &'static str,
    test: (&'static str, &'static str),
) -> Mutant {
    Mutant { file, what, original, replacement, test, is_sample: false }
}

impl Mutant {
    const fn in_sample(mut self) -> Mutant {
        self.is_sample = true;
        self
    }

    fn name(&self) -> String {
        format!("{}: {}", self.file, self.what)
    }
}

fn mutants() -> impl Iterator<Item = Mutant> {
    [vtd::MUTANTS, amdvi::MUTANTS, shared::MUTANTS].into_iter().flatten().copied()
}

fn main() {
    let mut arguments = Arguments::from_args();
    // They share a folder.
    arguments.test_threads = Some(1);
    let runs_all = arguments.include_ignored || arguments.ignored;
    let bench = Arc::new(SharedBench::default());
    let mut trials: Vec<Trial> = mutants()
        .map(|mutant| {
            let bench = bench.clone();
            let test = move || try_out(&bench, mutant, runs_all);
            Trial::test(mutant.name(), test).with_ignored_flag(!mutant.is_sample)
        })
        .collect();
    trials.push(Trial::test("every mutant's text occurs once", texts_occur_once));
    let conclusion = libtest_mimic::run(&arguments, trials);
    conclusion.exit();
}

fn try_out(bench: &SharedBench, mutant: Mutant, runs_all: bool) -> Result<(), Failed> {
    let mut bench = bench.lock().map_err(|_| "an earlier mutant broke the bench")?;
    let bench = match &mut *bench {
        Some(bench) => bench,
        none => none.insert(Bench::set_up()?),
    };
    let suite = mutant.test.0;
    let others = mutants().filter(|other| other.test.0 == suite && (runs_all || other.is_sample));
    let tests: Vec<_> = others.map(|other| other.test.1).collect();
    bench.prove(suite, &tests)?;
    let verdict = bench.try_out(&mutant, runs_all)?;
    if let Some(table) = std::env::var_os("WEIR_MUTANTS_TABLE") {
        table::add_line(table.as_ref(), &mutant, &verdict)?;
    }
    verdict.judge(&mutant).map_err(Failed::from)
}

fn texts_occur_once() -> Result<(), Failed> {
    for mutant in mutants() {
        let source = std::fs::read_to_string(bench::crate_folder().join("src").join(mutant.file))?;
        let count = source.matches(mutant.original).count();
        if count != 1 {
            return Err(format!("{}: the text occurs {count} times", mutant.name()).into());
        }
    }
    Ok(())
}
