//! DPDK's `testpmd` in the Linux guest, as Debian packs it, with its drivers for the devices that Weir has drivers for.

use anyhow::Result;

use super::Linux;
use super::libraries::{FOLDER, needed};
use super::setup::packages;

/// The package that has `testpmd`, and needs the drivers.
pub(super) const PACKAGE: &str = "dpdk-dev";
const PROGRAM: &str = "usr/bin/dpdk-testpmd";
/// The folder of drivers, all of which DPDK loads at its start.
const DRIVERS: &str = "usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0";
/// The drivers taken: two network devices' families, their bus, and the allocator of packet buffers.
const TAKEN: [&str; 4] = ["librte_bus_pci", "librte_mempool_ring", "librte_net_e1000", "librte_net_virtio"];

/// Adds `dpdk-testpmd` to the guest, as a program in the shell's path.
///
/// # Errors
/// The packages cannot be had.
pub fn add_to(linux: Linux) -> Result<Linux> {
    let packages = packages(&[PACKAGE])?;
    let files = TAKEN.map(|name| format!("{DRIVERS}/{name}.so.23"));
    let mut roots = vec![PROGRAM];
    roots.extend(files.iter().map(String::as_str));
    let mut linux = linux.file("bin/dpdk-testpmd", packages.file(PROGRAM));
    for (path, library) in needed(&packages, &roots)? {
        linux = linux.file(&path, library);
    }
    // A driver may be a library of another one, too. Loaded under two paths it would be there twice, unless one is a
    // link to the other.
    for name in TAKEN {
        let library = format!("{FOLDER}/{name}.so.23");
        linux = linux.file(&library, packages.file(&format!("{DRIVERS}/{name}.so.23")));
        linux = linux.link(format!("{DRIVERS}/{name}.so"), format!("/{library}"));
    }
    Ok(linux)
}
