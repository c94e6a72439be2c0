//! Has cargo build the kernel and the programs.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::progress::Step;
use crate::workspace;

/// The kernel's target.
pub const KERNEL_TARGET: &str = "x86_64-unknown-none";
/// The applications' target.
pub const APP_TARGET: &str = "x86_64-unknown-linux-musl";

/// How things are built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// Optimized.
    Release,
    /// With debug assertions.
    Debug,
}

impl Profile {
    /// The word people use.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Profile::Release => "release",
            Profile::Debug => "debug",
        }
    }

    /// Cargo's name for it, and its folder: the kernel has an optimized profile of its own.
    fn of(self, target: &str) -> (&'static str, &'static str) {
        match self {
            Profile::Release if target == KERNEL_TARGET => ("kernel", "kernel"),
            Profile::Release => ("release", "release"),
            Profile::Debug => ("dev", "debug"),
        }
    }
}

/// Builds the kernel and returns its file.
///
/// # Errors
/// It does not build; the compiler's messages have been printed.
pub fn kernel(profile: Profile) -> Result<PathBuf> {
    run("building the kernel", workspace::cargo().args(kernel_words(profile)))?;
    Ok(output(KERNEL_TARGET, profile, "weir-kernel"))
}

/// Checks that the sources of the programs `names` exist.
///
/// # Errors
/// The first that does not.
pub fn check_programs(names: &[&str]) -> Result<()> {
    match names.iter().map(|name| (name, folder(name))).find(|(_, folder)| !is_package(folder)) {
        Some((name, folder)) => bail!("there is no program {name} (no folder apps/{folder})"),
        None => Ok(()),
    }
}

/// The folder of a program. `NAME-2` is another version of `NAME`, a second binary of that package, where it has no folder
/// of its own.
fn folder(name: &str) -> &str {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match name.rsplit_once('-') {
        Some((first, version)) if is_number(version) && !is_package(name) => first,
        _ => name,
    }
}

fn is_package(folder: &str) -> bool {
    workspace::root().join("apps").join(folder).join("Cargo.toml").is_file()
}

/// Builds the programs `names` (package `weir-NAME`, binary `NAME`) and returns their files in that order.
///
/// # Errors
/// One does not build; the compiler's messages have been printed.
pub fn programs(names: &[&str], profile: Profile) -> Result<Vec<PathBuf>> {
    let packages: BTreeSet<String> = names.iter().map(|name| format!("weir-{}", folder(name))).collect();
    let packages: Vec<&str> = packages.iter().map(String::as_str).collect();
    run("building the applications", workspace::cargo().args(app_words(&packages, profile)))?;
    Ok(names.iter().map(|name| output(APP_TARGET, profile, name)).collect())
}

/// Builds QEMU's plugin and returns its file. `is_old`: for versions before 11.
///
/// # Errors
/// It does not build; the compiler's messages have been printed.
pub fn plugin(is_old: bool) -> Result<PathBuf> {
    let mut cargo = workspace::cargo();
    cargo.args(["build", "--locked", "--release", "-p", "weir-observer"]);
    if is_old {
        cargo.args(["--features", "old-api"]);
    }
    run("building the observer", &mut cargo)?;
    Ok(workspace::target_dir().join("release/libweir_observer.so"))
}

/// Builds the program `name` of `package` for this machine, optimized, and returns its file.
///
/// # Errors
/// It does not build; the compiler's messages have been printed.
pub fn host_program(package: &str, name: &str) -> Result<PathBuf> {
    let words = ["build", "--locked", "--release", "-p", package, "--bin", name];
    run(&format!("building {name}"), workspace::cargo().args(words))?;
    Ok(workspace::target_dir().join("release").join(name))
}

fn output(target: &str, profile: Profile, name: &str) -> PathBuf {
    workspace::target_dir().join(target).join(profile.of(target).1).join(name)
}

/// Cargo's words to build the kernel.
#[must_use]
pub fn kernel_words(profile: Profile) -> Vec<String> {
    words(&["weir-kernel"], KERNEL_TARGET, profile)
}

/// Cargo's words to build the applications in `packages`.
#[must_use]
pub fn app_words(packages: &[&str], profile: Profile) -> Vec<String> {
    words(packages, APP_TARGET, profile)
}

fn words(packages: &[&str], target: &str, profile: Profile) -> Vec<String> {
    let start = ["build", "--locked", "--bins", "--target", target, "--profile", profile.of(target).0];
    let packages = packages.iter().flat_map(|package| ["-p", package]);
    start.into_iter().chain(packages).map(str::to_owned).collect()
}

/// Runs cargo behind a progress line; what it said is shown only if it fails.
pub(crate) fn run(what: &str, cargo: &mut Command) -> Result<()> {
    let step = Step::begin(what);
    let mut child = cargo
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot run cargo")?;
    let mut said = Vec::new();
    for line in BufReader::new(child.stderr.take().context("piped above")?).split(b'\n') {
        let line = String::from_utf8_lossy(&line?).into_owned();
        step.say(line.trim());
        said.push(line);
    }
    if child.wait()?.success() {
        step.done();
        return Ok(());
    }
    step.print(&said.join("\n"));
    bail!("{what} failed")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_a_program_share_its_folder() {
        assert_eq!(
            ["switch", "switch-2", "switch-next", "switch-"].map(folder),
            ["switch", "switch", "switch-next", "switch-"]
        );
        assert!(check_programs(&["switch", "switch-2"]).is_ok());
        let error = check_programs(&["switch", "nothing-2"]).unwrap_err().to_string();
        assert_eq!(error, "there is no program nothing-2 (no folder apps/nothing)");
    }
}
