//! Where mutants are tried out: a copy of the crate in a workspace of its own, with the same versions of everything.
//!
//! It is built into the same target directory, where what it depends on is there already, and under another name, so
//! that **nothing built of a mutant is ever taken for the crate**.

use super::Mutant;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// More than any test takes on a busy machine.
const LIMIT: Duration = Duration::from_secs(600);
/// The copy's name.
const PACKAGE: &str = "weir-iommu-mutant";
/// Quick to build rather than to run: a mutant is built once, and mostly for one short test.
const PROFILE: &str = "[profile.dev.package.weir-iommu-mutant]\nopt-level = 0\ndebug = false\n";

pub(crate) fn crate_folder() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

pub(crate) struct Bench {
    folder: PathBuf,
    /// Suites that were seen to pass.
    proven: BTreeSet<&'static str>,
}

/// What came of a mutant.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// These tests failed.
    Killed(Vec<String>),
    /// The tests did not end.
    Hung,
    Survived,
}

impl Verdict {
    /// Killed by the test that must fail. One that does not end is no verdict: it may be slow.
    pub(crate) fn judge(&self, mutant: &Mutant) -> Result<(), String> {
        match self {
            Verdict::Killed(tests) if tests.iter().any(|test| test == mutant.test.1) => Ok(()),
            Verdict::Killed(tests) => Err(format!("killed, but not by {}: by {tests:?}", mutant.test.1)),
            Verdict::Hung => Err("its tests do not end".to_owned()),
            Verdict::Survived => Err("survived".to_owned()),
        }
    }
}

impl Bench {
    /// Copies the crate.
    pub(crate) fn set_up() -> Result<Bench, String> {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("mutants");
        copy_workspace(&folder).map_err(|error| error.to_string())?;
        Ok(Bench { folder, proven: BTreeSet::new() })
    }

    /// Checks once that `tests` of `suite` pass as things are: a mutant proves nothing otherwise.
    pub(crate) fn prove(&mut self, suite: &'static str, tests: &[&str]) -> Result<(), String> {
        if self.proven.contains(suite) {
            return Ok(());
        }
        match self.run(&self.build(suite)?, tests)? {
            Verdict::Survived => self.proven.insert(suite),
            verdict => return Err(format!("the tests fail without any mutant: {verdict:?}")),
        };
        Ok(())
    }

    /// Applies `mutant`, tests, and undoes it.
    pub(crate) fn try_out(&self, mutant: &Mutant, with_whole_suite: bool) -> Result<Verdict, String> {
        let file = self.folder.join("iommu/src").join(mutant.file);
        let source = fs::read_to_string(&file).map_err(|error| error.to_string())?;
        if source.matches(mutant.original).count() != 1 {
            return Err("the text does not occur once".to_owned());
        }
        let changed = source.replacen(mutant.original, mutant.replacement, 1);
        fs::write(&file, changed).map_err(|error| error.to_string())?;
        let verdict = self.test(mutant.test, with_whole_suite);
        fs::write(&file, source).map_err(|error| error.to_string())?;
        verdict
    }

    fn test(&self, (suite, test): (&str, &str), with_whole_suite: bool) -> Result<Verdict, String> {
        let program = self.build(suite)?;
        let verdict = self.run(&program, &[test])?;
        if with_whole_suite && matches!(verdict, Verdict::Survived) {
            // Some other test may notice: then the list names the wrong one.
            return self.run(&program, &[]);
        }
        Ok(verdict)
    }

    /// Builds the program with the tests of `suite`.
    fn build(&self, suite: &str) -> Result<PathBuf, String> {
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().ok_or("the target directory")?;
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["test", "--offline", "-j2", "--no-run", "-p", PACKAGE]);
        match suite {
            "lib" => cargo.arg("--lib"),
            _ => cargo.args(["--test", suite]),
        };
        let output = cargo
            .env("CARGO_TARGET_DIR", target)
            .current_dir(&self.folder)
            .output()
            .map_err(|error| error.to_string())?;
        let said = String::from_utf8_lossy(&output.stderr);
        if !output.status.success() {
            return Err(format!("does not compile: {said}"));
        }
        let program = said.lines().find_map(|line| {
            line.trim_start().strip_prefix("Executable ")?.split_once('(')?.1.strip_suffix(')')
        });
        Ok(self.folder.join(program.ok_or("cargo names no program")?))
    }

    /// Runs the tests with these names, or all.
    fn run(&self, program: &Path, tests: &[&str]) -> Result<Verdict, String> {
        let output = self.folder.join("output");
        let stream = fs::File::create(&output).map_err(|error| error.to_string())?;
        let mut child = Command::new(program)
            .args(tests)
            .args((!tests.is_empty()).then_some("--exact"))
            .env("RUST_BACKTRACE", "0")
            // That there is an input that fails is enough.
            .env("PROPTEST_MAX_SHRINK_ITERS", "0")
            .current_dir(self.folder.join("iommu"))
            .stdin(Stdio::null())
            .stdout(stream)
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| error.to_string())?;
        let start = Instant::now();
        while start.elapsed() < LIMIT {
            if let Some(status) = child.try_wait().map_err(|error| error.to_string())? {
                let said = fs::read_to_string(&output).map_err(|error| error.to_string())?;
                return verdict(status, &said);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = child.kill();
        let _ = child.wait();
        Ok(Verdict::Hung)
    }
}

fn verdict(status: ExitStatus, said: &str) -> Result<Verdict, String> {
    let failed = |line: &str| Some(line.strip_prefix("test ")?.strip_suffix(" ... FAILED")?.to_owned());
    let tests: Vec<String> = said.lines().filter_map(failed).collect();
    match (status.success(), tests.is_empty()) {
        // A name that is no test's would pass for a survivor.
        (true, _) if said.contains("running 0 tests") => Err("there is no such test".to_owned()),
        (true, _) => Ok(Verdict::Survived),
        (false, false) => Ok(Verdict::Killed(tests)),
        (false, true) => Err(format!("no test failed, and yet: {said}")),
    }
}

/// Copies the crate to `folder`, as the only member of a workspace.
fn copy_workspace(folder: &Path) -> std::io::Result<()> {
    let from = crate_folder().parent().unwrap_or(crate_folder());
    let copied = folder.join("iommu");
    let _ = fs::remove_dir_all(&copied);
    copy(&crate_folder().join("src"), &copied.join("src"))?;
    copy(&crate_folder().join("tests"), &copied.join("tests"))?;
    let manifest = fs::read_to_string(crate_folder().join("Cargo.toml"))?;
    fs::write(copied.join("Cargo.toml"), manifest_of_copy(&manifest))?;
    let workspace = fs::read_to_string(from.join("Cargo.toml"))?;
    let alone = workspace.lines().filter_map(|line| match line {
        line if line.starts_with("members") => Some("members = [\"iommu\"]"),
        // Crates that are not copied.
        line if line.starts_with("exclude") || line.contains("path =") => None,
        line => Some(line),
    });
    let alone: Vec<_> = alone.chain([PROFILE]).collect();
    fs::write(folder.join("Cargo.toml"), alone.join("\n"))?;
    fs::copy(from.join("Cargo.lock"), folder.join("Cargo.lock"))?;
    Ok(())
}

/// Without the test programs that judge no mutant, and the crate that only those need.
fn manifest_of_copy(manifest: &str) -> String {
    let paragraphs = manifest.split("\n\n").filter(|paragraph| !paragraph.contains("[[test]]"));
    let lines = paragraphs.flat_map(|paragraph| paragraph.lines().chain([""]));
    let kept: Vec<_> = lines.filter(|line| !line.starts_with("libtest-mimic")).collect();
    kept.join("\n").replacen("\"weir-iommu\"", &format!("{PACKAGE:?}"), 1)
}

fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
