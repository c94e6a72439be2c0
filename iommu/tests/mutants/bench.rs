//! Where mutants are tried out: a copy of the crate in a workspace of its own, with the same versions of everything.

use super::Mutant;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// A mutant that makes a wait endless hangs its tests; more than any suite takes on a busy machine.
const LIMIT: Duration = Duration::from_secs(240);
pub(crate) fn crate_folder() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A bench for the mutants of one suite.
pub(crate) struct Bench {
    folder: PathBuf,
    /// What cargo is told to run.
    suite: Vec<&'static str>,
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
    /// Killed by the test that must fail, or hanging, which fails it too.
    pub(crate) fn judge(&self, mutant: &Mutant) -> Result<(), String> {
        match self {
            Verdict::Killed(tests) if tests.iter().any(|test| test == mutant.test.1) => Ok(()),
            Verdict::Killed(tests) => Err(format!("killed, but not by {}: by {tests:?}", mutant.test.1)),
            Verdict::Hung => Ok(()),
            Verdict::Survived => Err("survived".to_owned()),
        }
    }
}

impl Bench {
    /// Copies the crate and checks that the suite passes as it is: a mutant proves nothing otherwise.
    pub(crate) fn set_up(suite: &'static str) -> Result<Bench, String> {
        let workspace = crate_folder().parent().ok_or("the crate is in a workspace")?;
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("mutants").join(suite);
        let _ = fs::remove_dir_all(folder.join("iommu"));
        copy(crate_folder(), &folder.join("iommu")).map_err(|error| error.to_string())?;
        let manifest = fs::read_to_string(workspace.join("Cargo.toml")).map_err(|error| error.to_string())?;
        let alone = manifest.lines().map(|line| match line {
            line if line.starts_with("members") => "members = [\"iommu\"]",
            line if line.starts_with("exclude") => "",
            // Paths to crates that are not copied.
            line if line.contains("path =") => "",
            // What takes time to link and nobody looks at.
            "[profile.dev]" => "[profile.dev]\ndebug = false",
            line => line,
        });
        let alone: Vec<_> = alone.collect();
        fs::write(folder.join("Cargo.toml"), alone.join("\n")).map_err(|error| error.to_string())?;
        fs::copy(workspace.join("Cargo.lock"), folder.join("Cargo.lock"))
            .map_err(|error| error.to_string())?;
        let suite = if suite == "lib" { vec!["--lib"] } else { vec!["--test", suite] };
        let bench = Bench { folder, suite };
        match bench.run(None)? {
            Verdict::Survived => Ok(bench),
            verdict => Err(format!("the tests fail without any mutant: {verdict:?}")),
        }
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
        let mut verdict = self.run(Some(mutant.test.1));
        if with_whole_suite && matches!(verdict, Ok(Verdict::Survived)) {
            // Some other test may notice: then the list names the wrong one.
            verdict = self.run(None);
        }
        fs::write(&file, source).map_err(|error| error.to_string())?;
        verdict
    }

    /// Runs the suite, or one test of it.
    fn run(&self, only: Option<&str>) -> Result<Verdict, String> {
        // Building takes as long as it takes; it is the tests that may hang.
        let (is_built, said) = self.cargo(&["--no-run"], None)?.ok_or("cargo does not end")?;
        if !is_built {
            return Err(format!("does not compile: {said}"));
        }
        let words: Vec<&str> = ["--"].into_iter().chain(only).chain(only.map(|_| "--exact")).collect();
        self.cargo(&words, Some(LIMIT))?
            .map_or(Ok(Verdict::Hung), |(is_success, said)| verdict(is_success, &said))
    }

    /// Runs `cargo test` on the suite; whether that succeeded and what was said, or nothing after the limit.
    fn cargo(&self, words: &[&str], limit: Option<Duration>) -> Result<Option<(bool, String)>, String> {
        let output = self.folder.join("output");
        let stream = fs::File::create(&output).map_err(|error| error.to_string())?;
        let errors = stream.try_clone().map_err(|error| error.to_string())?;
        let mut child = Command::new(env!("CARGO"))
            .args(["test", "--offline", "-j2", "-p", "weir-iommu"])
            .args(&self.suite)
            .args(words)
            .env("CARGO_TARGET_DIR", self.folder.join("target"))
            .env("RUST_BACKTRACE", "0")
            .env("RUSTFLAGS", "--cap-lints=allow")
            .current_dir(&self.folder)
            .stdin(Stdio::null())
            .stdout(stream)
            .stderr(errors)
            .spawn()
            .map_err(|error| error.to_string())?;
        let start = Instant::now();
        loop {
            if let Some(status) = child.try_wait().map_err(|error| error.to_string())? {
                let said = fs::read_to_string(&output).map_err(|error| error.to_string())?;
                return Ok(Some((status.success(), said)));
            }
            if limit.is_some_and(|limit| start.elapsed() > limit) {
                end(&mut child);
                return Ok(None);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

fn verdict(is_success: bool, said: &str) -> Result<Verdict, String> {
    let failed = |line: &str| Some(line.strip_prefix("test ")?.strip_suffix(" ... FAILED")?.to_owned());
    let mut tests: Vec<String> = said.lines().filter_map(failed).collect();
    tests.dedup();
    match (is_success, tests.is_empty()) {
        (true, _) => Ok(Verdict::Survived),
        (false, false) => Ok(Verdict::Killed(tests)),
        (false, true) => Err(format!("no test failed, and yet: {said}")),
    }
}

/// Ends cargo and the tests it started: they hang, and would hold the output open.
fn end(child: &mut std::process::Child) {
    let tree = Command::new("ps").args(["-o", "pid=", "--ppid", &child.id().to_string()]).output();
    let pids = tree.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    let _ = child.kill();
    let _ = child.wait();
    for pid in pids.split_whitespace() {
        let _ = Command::new("kill").args(["-9", pid]).status();
    }
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

/// Adds a line to the table of results.
pub(crate) fn add_line(table: &Path, mutant: &Mutant, verdict: &Verdict) -> Result<(), String> {
    let outcome = match verdict {
        Verdict::Killed(tests) => {
            let judge = tests.iter().find(|test| *test == mutant.test.1).or(tests.first());
            format!("killed by `{}`", judge.map_or("", String::as_str))
        }
        Verdict::Hung => format!("hangs `{}`", mutant.test.1),
        Verdict::Survived => "**survived**".to_owned(),
    };
    let line = format!("| `{}` | {} | {outcome} |\n", mutant.file, mutant.what);
    let mut file = fs::OpenOptions::new().create(true).append(true).open(table).map_err(|e| e.to_string())?;
    file.write_all(line.as_bytes()).map_err(|error| error.to_string())
}
