//! One process whose end is a verdict.

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::Result;

use super::tally::Tally;
use crate::child;

/// How a job's verdict is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The exit status decides; it counts as one test.
    Check,
    /// A test program, or several: its own count, and its exit status.
    Tests,
    /// One case of a test program, which must say that exactly one test passed.
    Case,
}

/// A process to run.
#[derive(Clone, Debug)]
pub(super) struct Job {
    pub(super) name: String,
    pub(super) kind: Kind,
    pub(super) program: PathBuf,
    pub(super) arguments: Vec<String>,
    pub(super) environment: Vec<(String, String)>,
    pub(super) directory: PathBuf,
    pub(super) limit: Duration,
}

/// Lines of a failed job's output that are shown.
const SHOWN_LINES: usize = 120;

impl Job {
    /// Runs it, and prints its name and verdict.
    pub(super) fn run(&self) -> Tally {
        let started = Instant::now();
        let (tally, problem) = match self.output() {
            Ok((output, end)) => self.verdict(output, end),
            Err(error) => (Tally::of(false), Some(format!("{error:#}"))),
        };
        // A filter may leave nothing of a test program.
        if !tally.is_empty() {
            self.print(tally, problem.as_deref(), started.elapsed());
        }
        tally
    }

    fn print(&self, tally: Tally, problem: Option<&str>, time: Duration) {
        let count = if self.kind == Kind::Tests { format!("{tally}, ") } else { String::new() };
        let word = if problem.is_some() { "FAILED" } else { "ok" };
        let mut text = format!("{} … {word} ({count}{:.1} s)\n", self.name, time.as_secs_f32());
        for line in problem.unwrap_or_default().lines() {
            text.push_str("    ");
            text.push_str(line);
            text.push('\n');
        }
        // In one piece: several jobs may run at once. Where nobody reads, the count still decides.
        let _ = std::io::stdout().write_all(text.as_bytes());
    }

    fn verdict(&self, output: String, end: Option<ExitStatus>) -> (Tally, Option<String>) {
        let Some(status) = end else {
            let text =
                format!("{}\nended after {} s: too slow, or it hangs", last(&output), self.limit.as_secs());
            return (Tally::of(false), Some(text));
        };
        let read = Tally::read(&output);
        let tally = match (&self.kind, read) {
            (Kind::Check, _) => Tally::of(status.success()),
            (Kind::Case, Some(tally)) if tally == Tally::of(true) && status.success() => tally,
            (Kind::Case, _) => Tally::of(false),
            (Kind::Tests, Some(tally)) if status.success() == (tally.failed == 0) => tally,
            // Its count and its end contradict each other, or it never came to a count.
            (Kind::Tests, tally) => {
                let mut tally = tally.unwrap_or_default();
                tally.failed += 1;
                tally
            }
        };
        let how = status.signal().map(|signal| format!("\nended by signal {signal}")).unwrap_or_default();
        let problem = (tally.failed > 0).then(|| last(&output) + &how);
        (tally, problem)
    }

    /// What it says, and its end; `None` where it had to be ended.
    fn output(&self) -> Result<(String, Option<ExitStatus>)> {
        let mut file = tempfile::tempfile()?;
        let mut child = self.command(&file)?.spawn()?;
        let deadline = Instant::now() + self.limit;
        let status = loop {
            if let Some(status) = child.try_wait()? {
                break Some(status);
            }
            if Instant::now() > deadline {
                child.kill()?;
                child.wait()?;
                break None;
            }
            std::thread::sleep(Duration::from_millis(10));
        };
        file.rewind()?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok((String::from_utf8_lossy(&bytes).into_owned(), status))
    }

    fn command(&self, output: &File) -> Result<Command> {
        let mut command = child::bound(&self.program);
        command.args(&self.arguments).current_dir(&self.directory);
        command.envs(self.environment.iter().cloned());
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output.try_clone()?);
        Ok(command)
    }

    /// The names of its tests that contain `filter`.
    pub(super) fn names(&self, filter: &str) -> Vec<String> {
        if self.kind != Kind::Tests {
            return vec![self.name.clone()];
        }
        let listing = Job { arguments: with_list(&self.arguments), ..self.clone() };
        let output = listing.output().map(|(output, _)| output).unwrap_or_default();
        let names = output.lines().filter_map(|line| line.strip_suffix(": test"));
        names.map(|name| format!("{} {name}", self.name)).filter(|name| name.contains(filter)).collect()
    }
}

fn with_list(arguments: &[String]) -> Vec<String> {
    let mut words = arguments.to_vec();
    if words.first().is_some_and(|word| word == "test") && !words.iter().any(|word| word == "--") {
        words.push("--".into());
    }
    words.push("--list".into());
    words
}

/// The last lines of an output.
fn last(output: &str) -> String {
    let lines: Vec<&str> = output.lines().collect();
    lines[lines.len().saturating_sub(SHOWN_LINES)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(kind: Kind, script: &str) -> Tally {
        let job = Job {
            name: "shell".into(),
            kind,
            program: "/bin/sh".into(),
            arguments: vec!["-c".into(), script.into()],
            environment: vec![],
            directory: "/".into(),
            limit: Duration::from_secs(2),
        };
        let (output, end) = job.output().unwrap();
        job.verdict(output, end).0
    }

    const ONE: &str = "echo 'test result: ok. 1 passed; 0 failed; 0 ignored;'";

    #[test]
    fn only_a_clean_end_with_a_count_passes() {
        assert_eq!(shell(Kind::Case, ONE), Tally::of(true));
        assert_eq!(shell(Kind::Case, "exit 0"), Tally::of(false));
        assert_eq!(shell(Kind::Case, &format!("{ONE}; exit 1")), Tally::of(false));
        assert_eq!(shell(Kind::Case, &format!("{ONE}; kill -9 $$")), Tally::of(false));
        assert_eq!(shell(Kind::Check, "exit 0"), Tally::of(true));
        assert_eq!(shell(Kind::Check, "exit 3"), Tally::of(false));
    }

    #[test]
    fn a_program_that_dies_after_some_tests_is_a_failure() {
        let tally = shell(Kind::Tests, &format!("{ONE}; exit 101"));
        assert_eq!(tally, Tally { passed: 1, failed: 1, skipped: 0 });
        assert_eq!(shell(Kind::Tests, "exit 0"), Tally::of(false));
    }

    #[test]
    fn a_hang_is_a_failure() {
        assert_eq!(shell(Kind::Check, "exec sleep 60"), Tally::of(false));
    }
}
