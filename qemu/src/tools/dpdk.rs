//! DPDK's `testpmd`, the peer of the native comparison and of the vhost-user tests.
//!
//! The distribution's package, unpacked beside the system as QEMU is. Only the drivers that run without hardware are
//! loaded, by name: DPDK would else look for its own at the path it was installed at.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use super::{Archive, Distribution, Release, Unpacked, unpacked};
use crate::child;

const PROGRAM: &str = "usr/bin/dpdk-testpmd";
const LIBRARIES: &str = "usr/lib/x86_64-linux-gnu";
/// What testpmd is given: memory pools, the bus of devices without hardware, both ends of vhost-user, the null device.
const DRIVERS: [&str; 5] = ["mempool_ring", "bus_vdev", "net_vhost", "net_virtio", "net_null"];
/// Suites that have it, and the number in its packages' names (the libraries' version), best first.
const RELEASES: [(Distribution, &str, Release); 3] = [
    (Distribution::Debian, "25", Release { suite: "trixie", base: "trixie" }),
    (Distribution::Ubuntu, "26", Release { suite: "resolute", base: "resolute" }),
    (Distribution::Ubuntu, "25", Release { suite: "questing", base: "questing" }),
];

/// `testpmd`, ready to be started.
#[derive(Clone, Debug)]
pub struct Testpmd {
    /// The script that starts it.
    pub path: PathBuf,
    /// Its first arguments: the drivers to load.
    pub drivers: Vec<String>,
}

/// A private copy of `testpmd`.
///
/// # Errors
/// This machine has no package archive that has it.
pub fn testpmd() -> Result<Testpmd> {
    let can_unpack = std::env::consts::ARCH == "x86_64" && child::find("dpkg-deb").is_some();
    let archive = Archive::of_this_machine().filter(|_| can_unpack);
    let archive = archive.context("DPDK is taken from Debian's or Ubuntu's packages, on x86-64")?;
    let mut problem = anyhow::anyhow!("no suite is known to have it");
    for (distribution, version, release) in RELEASES {
        if distribution == archive.distribution {
            let names = package_names(version);
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            match unpacked(&archive, release, &names) {
                Ok(packages) => return of(&packages),
                Err(error) => problem = error,
            }
        }
    }
    Err(problem.context("DPDK cannot be fetched"))
}

/// `dpdk-dev` has the program, and a package of its own each driver.
fn package_names(version: &str) -> Vec<String> {
    let drivers = DRIVERS.map(|name| format!("librte-{}{version}", name.replace('_', "-")));
    ["dpdk-dev".to_owned()].into_iter().chain(drivers).collect()
}

fn of(packages: &Unpacked) -> Result<Testpmd> {
    let mut drivers = Vec::new();
    for name in DRIVERS {
        drivers.extend(["-d".to_owned(), driver(packages, name)?.display().to_string()]);
    }
    Ok(Testpmd { path: packages.wrapper(PROGRAM, "", "")?, drivers })
}

/// `librte_NAME.so.VERSION`.
fn driver(packages: &Unpacked, name: &str) -> Result<PathBuf> {
    let start = format!("librte_{name}.so.");
    for entry in std::fs::read_dir(packages.file(LIBRARIES))? {
        let file = entry?.path();
        let is_it = file.file_name().and_then(|n| n.to_str()).is_some_and(|n| n.starts_with(&start));
        if is_it {
            return Ok(file);
        }
    }
    bail!("DPDK's package has no driver {name}")
}
