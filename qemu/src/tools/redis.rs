//! Redis' command line client and benchmark, clients of the application `kv`; the distribution's package, unpacked as QEMU is.

use std::path::PathBuf;

use anyhow::{Context, Result};

use super::{Archive, Distribution, Release, unpacked};
use crate::child;

/// Suites that have it; older ones keep the loader outside `usr`, where it is not looked for.
const RELEASES: [(Distribution, Release); 2] = [
    (Distribution::Debian, Release { suite: "trixie", base: "trixie" }),
    (Distribution::Ubuntu, Release { suite: "resolute", base: "resolute" }),
];

/// The scripts that start them.
#[derive(Clone, Debug)]
pub struct Redis {
    /// `redis-cli`.
    pub cli: PathBuf,
    /// `redis-benchmark`.
    pub benchmark: PathBuf,
}

/// A private copy of both.
///
/// # Errors
/// This machine has no package archive that has them.
pub fn redis() -> Result<Redis> {
    let can_unpack = std::env::consts::ARCH == "x86_64" && child::find("dpkg-deb").is_some();
    let archive = Archive::of_this_machine().filter(|_| can_unpack);
    let archive = archive.context("redis-tools is taken from Debian's or Ubuntu's packages, on x86-64")?;
    let release = RELEASES.into_iter().find(|(distribution, _)| *distribution == archive.distribution);
    let (_, release) = release.context("no suite is known to have redis-tools")?;
    let packages = unpacked(&archive, release, &["redis-tools"]).context("redis-tools cannot be fetched")?;
    let program = |name: &str| packages.wrapper(&format!("usr/bin/{name}"), "", "");
    Ok(Redis { cli: program("redis-cli")?, benchmark: program("redis-benchmark")? })
}
