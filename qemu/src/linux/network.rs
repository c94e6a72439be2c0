//! Programs of the network in the Linux guest of which busybox has a part only: `ip`, `tc` and `ping`, as Debian packs them.

use anyhow::Result;

use super::Linux;
use super::libraries::needed;
use super::setup::packages;

/// The packages that have them.
pub(super) const PACKAGES: [&str; 2] = ["iproute2", "iputils-ping"];
/// The programs.
const PROGRAMS: [&str; 3] = ["bin/ip", "sbin/tc", "bin/ping"];

/// Adds them to the guest as `bin/deb-ip` and so on: busybox has programs of these names.
///
/// # Errors
/// The packages cannot be had.
pub fn add_to(mut linux: Linux) -> Result<Linux> {
    let packages = packages(&PACKAGES)?;
    for program in PROGRAMS {
        let name = program.rsplit('/').next().unwrap_or(program);
        linux = linux.file(&format!("bin/deb-{name}"), packages.file(program));
    }
    for (path, library) in needed(&packages, &PROGRAMS)? {
        linux = linux.file(&path, library);
    }
    Ok(linux)
}
