//! Neighbours on the network, of the distribution's packages: `curl`, `wrk`, Chromium without a screen, `dnsmasq`.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};

use super::{Archive, Distribution, Release, Unpacked, unpacked};
use crate::child;

/// Debian's release that the packages are of, whatever the machine's own is: they bring their libraries.
const RELEASE: Release = Release { suite: "trixie", base: "trixie" };
/// Where Chromium is. It finds its own files beside the program that runs, which is the loader: so a loader is put there.
const CHROMIUM: &str = "usr/lib/chromium";

/// This machine's `curl`, else a private copy.
///
/// # Errors
/// This machine has no package archive that has it.
pub fn curl() -> Result<PathBuf> {
    match child::find("curl") {
        Some(curl) => Ok(curl),
        None => packages(&["curl"])?.wrapper("usr/bin/curl", "", ""),
    }
}

/// This machine's `wrk`, else a private copy.
///
/// # Errors
/// This machine has no package archive that has it.
pub fn wrk() -> Result<PathBuf> {
    match child::find("wrk") {
        Some(wrk) => Ok(wrk),
        None => packages(&["wrk"])?.wrapper("usr/bin/wrk", "", ""),
    }
}

/// A private copy of dnsmasq, a server of addresses and names.
///
/// # Errors
/// This machine has no package archive that has it.
pub fn dnsmasq() -> Result<PathBuf> {
    packages(&["dnsmasq-base"])?.wrapper("usr/sbin/dnsmasq", "", "")
}

/// This machine's `ping`, else a private copy.
///
/// # Errors
/// This machine has no package archive that has it.
pub fn ping() -> Result<PathBuf> {
    match child::find("ping") {
        Some(ping) => Ok(ping),
        None => packages(&["iputils-ping"])?.wrapper("usr/bin/ping", "", ""),
    }
}

/// A private copy of `dig`.
///
/// # Errors
/// This machine has no package archive that has it.
pub fn dig() -> Result<PathBuf> {
    packages(&["bind9-dnsutils"])?.wrapper("usr/bin/dig", "", "")
}

/// A private copy of Chromium without a screen (170 MB fetched once, 570 MB on disk), as a script that starts it. It starts
/// further processes, which must be started by the same script: `--browser-subprocess-path`, `--no-zygote`.
///
/// # Errors
/// This machine has no package archive that has it.
pub fn chromium() -> Result<PathBuf> {
    let packages = packages(&["chromium-headless-shell", "fonts-dejavu-core"])?;
    let loader = packages.file(CHROMIUM).join("loader");
    if !loader.exists() {
        // Closed before it has its name: what is open for writing cannot be started.
        let temporary = tempfile::NamedTempFile::new_in(packages.file(CHROMIUM))?.into_temp_path();
        fs::copy(packages.file(super::packages::LOADER), &temporary)?;
        temporary.persist(&loader)?;
    }
    packages.script(
        "chromium",
        &format!(
            "#!/bin/sh\n\
             # Runs the unpacked browser by its own loader, with its own libraries and fonts.\n\
             root=${{0%/*}}/root\n\
             lib=$root/usr/lib/x86_64-linux-gnu\n\
             FONTCONFIG_FILE=$root/etc/fonts/fonts.conf FONTCONFIG_SYSROOT=$root exec \"$root/{CHROMIUM}/loader\" \
             --library-path \"$lib:$lib/pulseaudio\" \"$root/{CHROMIUM}/chromium-headless-shell\" \"$@\"\n"
        ),
    )
}

fn packages(names: &[&str]) -> Result<Unpacked> {
    let can_unpack = std::env::consts::ARCH == "x86_64" && child::find("dpkg-deb").is_some();
    let archive = Archive::of_this_machine()
        .filter(|archive| can_unpack && archive.distribution == Distribution::Debian);
    let names_told = names.join(", ");
    let archive =
        archive.with_context(|| format!("{names_told}: taken from Debian's packages, on x86-64 with apt"))?;
    unpacked(&archive, RELEASE, names)
}
