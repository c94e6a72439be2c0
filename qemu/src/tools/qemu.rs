//! Which QEMU runs the guest.
//!
//! In this order: `WEIR_QEMU` · the system's, if it is at least [`OLDEST`] and has `intel-iommu` · a private
//! copy of the distribution's newest. Only emulation (TCG) is used, for now even where KVM would work.

use std::ffi::OsStr;
use std::fmt;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::{Archive, Distribution, Release, unpacked};
use crate::child;

const PROGRAM: &str = "qemu-system-x86_64";
const PACKAGE: &str = "qemu-system-x86";

/// The oldest version taken without being asked for by name.
const OLDEST: Version = Version { major: 9, minor: 0 };

/// Suites that have a suitable QEMU, best first. A name that the archive does not know is passed over.
const RELEASES: [(Distribution, u32, Release); 4] = [
    (Distribution::Debian, 11, Release { suite: "trixie-backports", base: "trixie" }),
    (Distribution::Debian, 10, Release { suite: "trixie", base: "trixie" }),
    (Distribution::Ubuntu, 10, Release { suite: "resolute", base: "resolute" }),
    (Distribution::Ubuntu, 10, Release { suite: "questing", base: "questing" }),
];

/// Which versions will do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Series {
    /// Any that is recent enough.
    Any,
    /// A private copy of this major version.
    Major(u32),
}

/// A version of QEMU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// First number.
    pub major: u32,
    /// Second number.
    pub minor: u32,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// A QEMU that runs here and has `intel-iommu`.
#[derive(Clone, Debug)]
pub struct Qemu {
    /// The program: QEMU itself or a script that starts it.
    pub path: PathBuf,
    /// Its version.
    pub version: Version,
}

impl Qemu {
    /// A command that starts it, and ends it with the thread that spawned it.
    #[must_use]
    pub fn command(&self) -> Command {
        child::bound(&self.path)
    }

    /// Looks at the program at `path`.
    fn probe(path: PathBuf) -> Result<Qemu> {
        let output = |args: &[&str]| -> Result<String> {
            let output = Command::new(&path).args(args).output()?;
            Ok(String::from_utf8_lossy(&output.stdout).into_owned())
        };
        let text = output(&["--version"]).with_context(|| format!("cannot run {}", path.display()))?;
        let version = version(&text).with_context(|| format!("{} is no QEMU", path.display()))?;
        if !output(&["-M", "q35", "-device", "intel-iommu,help"])?.contains("intremap=") {
            bail!("{} has no intel-iommu", path.display());
        }
        Ok(Qemu { path, version })
    }
}

fn version(text: &str) -> Option<Version> {
    let number = text.strip_prefix("QEMU emulator version ")?.split([' ', '\n']).next()?;
    let mut parts = number.split('.');
    Some(Version { major: parts.next()?.parse().ok()?, minor: parts.next()?.parse().ok()? })
}

/// A QEMU of the wanted series.
///
/// # Errors
/// There is none and none can be had; the message holds the line to type.
pub fn qemu(series: Series) -> Result<Qemu> {
    if series == Series::Any {
        if let Some(path) = std::env::var_os("WEIR_QEMU").filter(|path| !path.is_empty()) {
            return chosen(&path).context("WEIR_QEMU cannot be used");
        }
        if let Some(qemu) = of_the_system() {
            return Ok(qemu);
        }
    }
    private(series)
}

fn chosen(path: &OsStr) -> Result<Qemu> {
    let path = PathBuf::from(path);
    // A bare name is looked up like any command.
    let found = path.to_str().filter(|name| !name.contains('/')).and_then(child::find);
    Qemu::probe(found.unwrap_or(path))
}

fn of_the_system() -> Option<Qemu> {
    let qemu = Qemu::probe(child::find(PROGRAM)?).ok()?;
    (qemu.version >= OLDEST).then_some(qemu)
}

fn private(series: Series) -> Result<Qemu> {
    let can_unpack = std::env::consts::ARCH == "x86_64" && child::find("dpkg-deb").is_some();
    let Some(archive) = Archive::of_this_machine().filter(|_| can_unpack) else {
        bail!(
            "QEMU {OLDEST} or later is needed; install it with your package manager, \
             or type: export WEIR_QEMU=/path/to/{PROGRAM}"
        );
    };
    let mut problem = None;
    for (distribution, major, release) in RELEASES {
        if distribution == archive.distribution && (series == Series::Any || series == Series::Major(major)) {
            match private_of(&archive, release) {
                Ok(qemu) => return Ok(qemu),
                Err(error) => problem = problem.or(Some(error)),
            }
        }
    }
    let problem = problem.unwrap_or_else(|| anyhow::anyhow!("no suite is known to have that version"));
    bail!("QEMU {OLDEST} or later is needed and cannot be fetched ({problem:#}); type: {}", by_hand(&archive))
}

fn private_of(archive: &Archive, release: Release) -> Result<Qemu> {
    let packages = unpacked(archive, release, &[PACKAGE])?;
    let wrapper = packages.wrapper(
        "usr/bin/qemu-system-x86_64",
        "QEMU_MODULE_DIR=\"$lib/qemu\"",
        "-L \"$root/usr/share/qemu\" -L \"$root/usr/share/seabios\"",
    )?;
    Qemu::probe(wrapper)
}

/// What to type where the private copy cannot be had.
fn by_hand(archive: &Archive) -> String {
    match (archive.distribution, archive.codename.as_str()) {
        (Distribution::Debian, "bookworm") => format!(
            "echo 'deb {} bookworm-backports main' | sudo tee /etc/apt/sources.list.d/backports.list && \
             sudo apt-get update && sudo apt-get install -t bookworm-backports {PACKAGE}",
            archive.uri
        ),
        _ => format!("sudo apt-get update && sudo apt-get install {PACKAGE}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions() {
        let debian = "QEMU emulator version 11.1.3 (Debian 1:11.1.3+ds-1~bpo13+1)\nCopyright";
        assert_eq!(version(debian), Some(Version { major: 11, minor: 1 }));
        assert_eq!(version("QEMU emulator version 7.2.22\n").map(|v| v < OLDEST), Some(true));
        assert_eq!(version("something else 9.0"), None);
    }

    #[test]
    fn a_program_that_is_no_qemu_is_refused() {
        assert!(Qemu::probe("/bin/true".into()).unwrap_err().to_string().contains("no QEMU"));
        assert!(Qemu::probe("/no/such/file".into()).unwrap_err().to_string().contains("cannot run"));
    }
}
