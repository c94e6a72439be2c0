//! What the documentation says can be typed and followed, can be.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use weir_runner::workspace;

use super::Case;

pub(super) const CASES: &[(&str, Case)] = &[
    ("documents::commands_are_understood", commands_are_understood),
    ("documents::figures_are_those_of_the_results", figures_are_those_of_the_results),
    ("documents::links_lead_somewhere", links_lead_somewhere),
    ("documents::threats_name_tests_that_exist", threats_name_tests_that_exist),
];

/// Fewer would mean that the search does not work.
const COMMANDS_MIN: usize = 20;
const LINKS_MIN: usize = 10;

/// Every `./weir …` and `cargo …` in a code block or in backquotes must be one that is understood: options that exist,
/// tests, packages, programs and targets that are there.
fn commands_are_understood() -> Result<()> {
    let tree = Tree::read()?;
    let mut commands = 0;
    for file in documents()? {
        let text = fs::read_to_string(&file)?;
        for command in code(&text).filter_map(command) {
            let words: Vec<&str> = command.split_whitespace().collect();
            let is_right = match words[0] {
                "./weir" => tree.understands_weir(&words[1..])?,
                _ => tree.understands_cargo(&words[1..]),
            };
            ensure!(is_right, "{}: `{command}`", workspace::shown(&file));
            commands += 1;
        }
    }
    ensure!(commands >= COMMANDS_MIN, "only {commands} commands were found");
    Ok(())
}

/// The README's table is what its template and the result files say.
fn figures_are_those_of_the_results() -> Result<()> {
    let readme = fs::read_to_string(workspace::root().join("README.md"))?;
    let is_same = weir_runner::measure::readme::made()? == readme;
    ensure!(is_same, "README.md is not what bench/results says; type: ./weir measure readme");
    Ok(())
}

/// Every relative link must lead to a file of the tree.
fn links_lead_somewhere() -> Result<()> {
    let mut links = 0;
    for file in documents()? {
        let text = fs::read_to_string(&file)?;
        let targets = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        for target in targets.filter(|target| !target.starts_with('#') && !target.contains("://")) {
            let path = file.parent().context("a file has a folder")?.join(target);
            ensure!(path.exists(), "{}: {target} leads nowhere", workspace::shown(&file));
            links += 1;
        }
    }
    ensure!(links >= LINKS_MIN, "only {links} links were found");
    Ok(())
}

/// Rows of `docs/threat-model.md`, first column.
const PROMISES: std::ops::RangeInclusive<u32> = 1..=6;
const THREATS: std::ops::RangeInclusive<u32> = 1..=37;

/// Every promise and every threat has its row; a row has tests, which exist, or says why there is none.
fn threats_name_tests_that_exist() -> Result<()> {
    let tree = Tree::read()?;
    let text = fs::read_to_string(workspace::root().join("docs/threat-model.md"))?;
    for (names, column) in [
        (PROMISES.map(|number| format!("G{number}")).collect::<Vec<_>>(), 4),
        (THREATS.map(|number| number.to_string()).collect(), 3),
    ] {
        for name in names {
            let mut rows = text.lines().filter(|line| line.starts_with(&format!("| {name} |")));
            let row = rows.next().with_context(|| format!("there is no row {name}"))?;
            ensure!(rows.next().is_none(), "two rows {name}");
            let cell = row.split('|').nth(column).with_context(|| format!("row {name} is short"))?.trim();
            let is_excused = cell.starts_with("not tested: ");
            ensure!(is_excused || cell.contains('`'), "row {name} has neither a test nor a reason");
        }
    }
    let tested = text.lines().filter(|line| line.starts_with("| ")).flat_map(|line| line.split('|').skip(2));
    let named = tested.flat_map(|cell| cell.split('`').skip(1).step_by(2)).filter(|name| is_test_name(name));
    let models = super::attack::MODEL_TESTS;
    for name in named.chain(models) {
        ensure!(tree.has_named_test(name)?, "docs/threat-model.md: there is no test `{name}`");
    }
    ensure!(models.iter().all(|name| text.contains(name)), "a test on the model is missing");
    Ok(())
}

/// What stands in backquotes there is a test, a file, or a word.
fn is_test_name(name: &str) -> bool {
    name.starts_with("weir-") || name.contains("::")
}

/// Every Markdown file of the tree.
fn documents() -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut folders = vec![workspace::root().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if path.is_dir() && !name.starts_with('.') && !is_built(&path) {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                files.push(path);
            }
        }
    }
    files.sort();
    Ok(files)
}

/// Whether cargo made this folder; it marks its own.
fn is_built(folder: &Path) -> bool {
    folder == workspace::target_dir() || folder.join("CACHEDIR.TAG").exists()
}

/// The lines of code blocks, and what stands in backquotes elsewhere.
fn code(text: &str) -> impl Iterator<Item = &str> {
    text.split("```").enumerate().flat_map(|(index, part)| -> Box<dyn Iterator<Item = &str>> {
        if index % 2 == 1 { Box::new(part.lines()) } else { Box::new(part.split('`').skip(1).step_by(2)) }
    })
}

/// The command in a line of code: without variables before it, and without the words that explain it, which follow
/// two blanks or a `#`.
fn command(line: &str) -> Option<&str> {
    let line = line.split('#').next()?.trim();
    let line = line.split("  ").next()?;
    let start = line.find("./weir ").or_else(|| line.find("cargo "))?;
    let is_first = line[..start].split_whitespace().all(|word| word.contains('='));
    is_first.then_some(&line[start..])
}

/// What there is to name in a command.
struct Tree {
    packages: BTreeSet<String>,
    tests: BTreeSet<String>,
    folders: BTreeMap<String, PathBuf>,
}

impl Tree {
    fn read() -> Result<Tree> {
        let output =
            workspace::cargo().args(["metadata", "--format-version=1", "--no-deps", "--locked"]).output()?;
        let metadata: Value = serde_json::from_slice(&output.stdout)?;
        let packages = metadata["packages"].as_array().context("packages")?;
        let name = |value: &Value| value["name"].as_str().map(str::to_owned);
        let folder = |package: &Value| {
            let manifest = Path::new(package["manifest_path"].as_str()?);
            Some((name(package)?, manifest.parent()?.to_owned()))
        };
        let targets = packages.iter().filter_map(|package| package["targets"].as_array()).flatten();
        let is_test = |target: &&Value| target["kind"][0] == "test" || target["kind"][0] == "example";
        Ok(Tree {
            packages: packages.iter().filter_map(name).collect(),
            tests: targets.filter(is_test).filter_map(name).collect(),
            folders: packages.iter().filter_map(folder).collect(),
        })
    }

    /// The command line is read up to `--help`, which it must reach; a filter of tests must find some.
    fn understands_weir(&self, words: &[&str]) -> Result<bool> {
        let weir = Command::new(env!("CARGO_BIN_EXE_weir"))
            .args(words)
            .arg("--help")
            .current_dir(workspace::root())
            .output()?;
        Ok(weir.status.success()
            && match words {
                ["test", filter] if !filter.starts_with('-') => self.has_test(filter),
                _ => true,
            })
    }

    /// Names of jobs: cases of this program, packages, test programs.
    fn has_test(&self, filter: &str) -> bool {
        let is_placeholder = filter.chars().all(char::is_uppercase);
        let is_case = super::all().iter().any(|(name, _)| name.contains(filter));
        is_placeholder || is_case || self.packages.iter().chain(&self.tests).any(|name| name.contains(filter))
    }

    /// Whether there is the case `group::case`, or the host test `package program path`; a `*` ends what is compared.
    fn has_named_test(&self, name: &str) -> Result<bool> {
        let words: Vec<&str> = name.split(' ').collect();
        let [package, program, path] = words[..] else {
            return Ok(super::all().iter().any(|(case, _)| matches(name, case)));
        };
        let Some(folder) = self.folders.get(package) else { return Ok(false) };
        let places = if program == "lib" {
            vec![folder.join("src")]
        } else {
            vec![folder.join(format!("tests/{program}.rs")), folder.join("tests").join(program)]
        };
        let function = path.rsplit("::").next().unwrap_or(path);
        for file in places.into_iter().flat_map(rust_files) {
            let text = fs::read_to_string(file)?;
            if functions(&text).any(|its| matches(function, its)) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The packages and test programs that it names exist.
    fn understands_cargo(&self, words: &[&str]) -> bool {
        words.windows(2).all(|pair| match pair[0] {
            "-p" => self.packages.contains(pair[1]),
            "--test" | "--example" => self.tests.contains(pair[1]),
            _ => true,
        })
    }
}

/// Whether a name fits what may have a `*` in it.
fn matches(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        Some((start, end)) => {
            name.strip_prefix(start).is_some_and(|rest| rest.ends_with(end.trim_end_matches('*')))
        }
        None => pattern == name,
    }
}

/// The functions in a file.
fn functions(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter_map(|line| line.trim().strip_prefix("fn ")?.split_once('(').map(|(name, _)| name))
}

/// `place` if it is a file, or all files below it.
fn rust_files(place: PathBuf) -> Vec<PathBuf> {
    if place.is_file() {
        return vec![place];
    }
    let entries = fs::read_dir(place).into_iter().flatten().flatten();
    entries
        .flat_map(|entry| rust_files(entry.path()))
        .filter(|path| path.extension().is_some_and(|e| e == "rs"))
        .collect()
}
