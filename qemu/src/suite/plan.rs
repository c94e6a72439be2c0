//! Which jobs there are.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use super::job::{Job, Kind};
use super::metadata::{self, Package, Place};
use crate::build::{self, APP_TARGET, KERNEL_TARGET, Profile};
use crate::linux::{self, programs};
use crate::progress::Step;
use crate::tools::Qemu;
use crate::workspace;

/// Time for what compiles.
const BUILD_LIMIT: Duration = Duration::from_secs(1800);
/// Time for a host test program.
const HOST_LIMIT: Duration = Duration::from_secs(900);
/// Time for a case with a machine.
const CASE_LIMIT: Duration = Duration::from_secs(180);

/// The test program whose cases each get a process of their own.
const CASES: &str = "system";

/// How the names of the cases begin that boot Linux.
const LINUX_CASES: [&str; 3] = ["qemu linux::", "qemu vfio::", "qemu peers::"];

/// The jobs that `filter` leaves; `qemu` is what they find in `WEIR_QEMU`.
pub(super) fn jobs(filter: &str, qemu: Option<&Qemu>) -> Result<Vec<Job>> {
    let packages = metadata::packages()?;
    let mut jobs = checks(&packages);
    jobs.extend(doc_tests(&packages));
    jobs.retain(|job| job.name.contains(filter));
    let (cases, host): (Vec<_>, Vec<_>) =
        test_programs(&packages)?.into_iter().partition(|program| program.target.name == CASES);
    jobs.extend(host.into_iter().map(|program| host_job(program, &packages, filter)));
    for program in cases {
        let cases = case_jobs(&program, &packages, filter)?;
        if !cases.is_empty() {
            jobs.extend(builds(&packages));
        }
        fetch_linux(&cases);
        jobs.extend(cases);
    }
    if let Some(qemu) = qemu {
        let variable = ("WEIR_QEMU".to_owned(), qemu.path.display().to_string());
        jobs.iter_mut().for_each(|job| job.environment.push(variable.clone()));
    }
    Ok(jobs)
}

fn cargo_job(name: &str, kind: Kind, arguments: Vec<String>) -> Job {
    let cargo = workspace::cargo();
    Job {
        name: name.into(),
        kind,
        program: cargo.get_program().into(),
        arguments,
        environment: vec![],
        directory: workspace::root().into(),
        limit: BUILD_LIMIT,
    }
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

fn with_packages<'a>(
    start: &str,
    packages: impl Iterator<Item = &'a Package>,
    end: &str,
) -> Option<Vec<String>> {
    let names: Vec<String> = packages.flat_map(|package| ["-p".to_owned(), package.name.clone()]).collect();
    (!names.is_empty()).then(|| [words(start), names, words(end)].concat())
}

/// The packages that are built at `place`.
fn at(packages: &[Package], place: Place) -> impl Iterator<Item = &Package> + Clone {
    packages.iter().filter(move |package| package.place() == place)
}

/// Format, and lints for each target.
fn checks(packages: &[Package]) -> Vec<Job> {
    let lints = [
        ("clippy host", Place::Host, "--all-targets".to_owned()),
        ("clippy kernel", Place::Kernel, format!("--target {KERNEL_TARGET}")),
        ("clippy apps", Place::Application, format!("--target {APP_TARGET}")),
    ];
    let job = |(name, place, options): (&str, Place, String)| {
        let start = format!("clippy --locked --quiet {options}");
        let words = with_packages(&start, at(packages, place), "-- -D warnings")?;
        Some(cargo_job(name, Kind::Check, words))
    };
    let format = cargo_job("fmt", Kind::Check, words("fmt --all --check"));
    [format].into_iter().chain(lints.into_iter().filter_map(job)).collect()
}

/// What the cases boot, built before the first of them, so that no case's time limit pays for it.
fn builds(packages: &[Package]) -> [Job; 3] {
    let apps: Vec<&str> =
        at(packages, Place::Application).filter(|p| p.has_program()).map(|p| p.name.as_str()).collect();
    [
        cargo_job("build kernel", Kind::Check, build::kernel_words(Profile::Release)),
        cargo_job("build apps", Kind::Check, build::app_words(&apps, Profile::Release)),
        Job {
            environment: vec![("RUSTFLAGS".into(), programs::FLAGS.into())],
            ..cargo_job("build linux programs", Kind::Check, programs::words())
        },
    ]
}

/// Fetches what the Linux guest is made of, if one of `cases` boots it, for the same reason. Where that fails, each
/// of these cases tries again, and says why.
fn fetch_linux(cases: &[Job]) {
    let boots_linux = |job: &Job| LINUX_CASES.iter().any(|start| job.name.starts_with(start));
    if cases.iter().any(boots_linux) {
        let _ = linux::fetch();
    }
}

fn doc_tests(packages: &[Package]) -> Option<Job> {
    let tested = at(packages, Place::Host).filter(|package| package.has_doctests());
    Some(cargo_job("doc", Kind::Tests, with_packages("test --locked --quiet --doc", tested, "")?))
}

/// One of cargo's messages: a program it built.
#[derive(Deserialize)]
struct Artifact {
    package_id: String,
    target: ArtifactTarget,
    profile: ArtifactProfile,
    executable: Option<PathBuf>,
}

#[derive(Deserialize)]
struct ArtifactTarget {
    name: String,
    kind: Vec<String>,
}

#[derive(Deserialize)]
struct ArtifactProfile {
    test: bool,
}

impl Artifact {
    /// The package it belongs to; ids end in `/folder#name@version` or `/name#version`.
    fn package<'a>(&self, packages: &'a [Package]) -> Option<&'a Package> {
        let (place, rest) = self.package_id.rsplit_once('#')?;
        let name = rest.split_once('@').map_or(place.rsplit('/').next()?, |(name, _)| name);
        packages.iter().find(|package| package.name == name)
    }
}

/// Builds the test programs of all packages. Libraries only as tests: one for the guest need not build for the
/// host otherwise.
fn test_programs(packages: &[Package]) -> Result<Vec<Artifact>> {
    let step = Step::begin("building the tests");
    let start = "test --locked --no-run --message-format=json-render-diagnostics";
    let libraries = packages.iter().filter(|package| package.has_library_tests());
    let others = at(packages, Place::Host).filter(|package| package.test_targets().next().is_some());
    let named: Vec<&str> = others.clone().flat_map(Package::test_targets).collect();
    let named: String = named.iter().map(|name| format!("--test {name} ")).collect();
    let mut programs = Vec::new();
    for arguments in [with_packages(start, libraries, "--lib"), with_packages(start, others, &named)] {
        programs.extend(build_tests(&arguments.unwrap_or_default(), &step)?);
    }
    step.done();
    Ok(programs)
}

fn build_tests(arguments: &[String], step: &Step) -> Result<Vec<Artifact>> {
    let output =
        workspace::cargo().args(arguments).stdin(Stdio::null()).output().context("cannot run cargo")?;
    if !output.status.success() {
        step.print(String::from_utf8_lossy(&output.stderr).trim());
        bail!("the tests do not build");
    }
    let messages = String::from_utf8(output.stdout)?;
    let artifacts = messages.lines().filter_map(|line| serde_json::from_str::<Artifact>(line).ok());
    Ok(artifacts.filter(|artifact| artifact.profile.test && artifact.executable.is_some()).collect())
}

fn host_job(program: Artifact, packages: &[Package], filter: &str) -> Job {
    let package = program.package(packages);
    let owner = package.map_or("?", |package| &package.name);
    let is_library = program.target.kind.iter().any(|kind| kind == "lib");
    let name = if is_library { owner.to_owned() } else { format!("{owner}/{}", program.target.name) };
    // The filter may mean the program as a whole, or tests in it.
    let inner = if name.contains(filter) { vec![] } else { vec![filter.to_owned()] };
    Job {
        directory: package.map_or(workspace::root(), Package::folder).into(),
        program: program.executable.unwrap_or_default(),
        name,
        kind: Kind::Tests,
        arguments: inner,
        environment: vec![],
        limit: HOST_LIMIT,
    }
}

fn case_jobs(program: &Artifact, packages: &[Package], filter: &str) -> Result<Vec<Job>> {
    let executable = program.executable.clone().unwrap_or_default();
    let listing = std::process::Command::new(&executable).arg("--list").output()?;
    let text = String::from_utf8(listing.stdout)?;
    let names: Vec<&str> = text.lines().filter_map(|line| line.strip_suffix(": test")).collect();
    if names.is_empty() {
        bail!("{} lists no cases", executable.display());
    }
    let folder = program.package(packages).map_or(workspace::root(), Package::folder);
    let job = |case: &str| Job {
        name: format!("qemu {case}"),
        kind: Kind::Case,
        program: executable.clone(),
        arguments: vec!["--exact".into(), case.into(), "--test-threads=1".into()],
        environment: vec![],
        directory: folder.into(),
        limit: CASE_LIMIT,
    };
    Ok(names.into_iter().map(job).filter(|job| job.name.contains(filter)).collect())
}
