//! What the documentation says can be typed and followed, can be.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use weir_runner::workspace;

use super::Case;

pub(super) const CASES: &[(&str, Case)] = &[
    ("documents::commands_are_understood", commands_are_understood),
    ("documents::links_lead_somewhere", links_lead_somewhere),
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
}

impl Tree {
    fn read() -> Result<Tree> {
        let output =
            workspace::cargo().args(["metadata", "--format-version=1", "--no-deps", "--locked"]).output()?;
        let metadata: Value = serde_json::from_slice(&output.stdout)?;
        let packages = metadata["packages"].as_array().context("packages")?;
        let name = |value: &Value| value["name"].as_str().map(str::to_owned);
        let targets = packages.iter().filter_map(|package| package["targets"].as_array()).flatten();
        let is_test = |target: &&Value| target["kind"][0] == "test" || target["kind"][0] == "example";
        Ok(Tree {
            packages: packages.iter().filter_map(name).collect(),
            tests: targets.filter(is_test).filter_map(name).collect(),
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

    /// The packages and test programs that it names exist.
    fn understands_cargo(&self, words: &[&str]) -> bool {
        words.windows(2).all(|pair| match pair[0] {
            "-p" => self.packages.contains(pair[1]),
            "--test" | "--example" => self.tests.contains(pair[1]),
            _ => true,
        })
    }
}
