//! The programs the runner needs and does not build.
//!
//! **Invariant: nothing unsigned is ever unpacked, and nothing is written outside the user's cache directory.**
//! Small face: [`qemu()`] gives a QEMU to run; [`unpacked`] gives any package of the distribution as files.

mod archive;
mod dpdk;
mod packages;
mod qemu;
mod redis;
mod web;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};

pub use archive::{Archive, Distribution};
pub use dpdk::{Testpmd, testpmd};
pub use packages::{Release, Unpacked, unpacked};
pub use qemu::{Qemu, Series, qemu};
pub use redis::{Redis, redis};
pub use web::{chromium, curl, dig, dnsmasq, ping, wrk};

/// Where the private copies are: `$XDG_CACHE_HOME/weir`, else `~/.cache/weir`.
///
/// # Errors
/// Neither variable names a place.
pub fn cache_dir() -> Result<PathBuf> {
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|dir| dir.is_absolute());
    let base = absolute("XDG_CACHE_HOME").or_else(|| Some(absolute("HOME")?.join(".cache")));
    Ok(base.context("neither XDG_CACHE_HOME nor HOME is set: nowhere to keep a private QEMU")?.join("weir"))
}

/// `weir setup`: makes sure that everything is there, and says what is used.
///
/// # Errors
/// No suitable QEMU, and none to be had.
pub fn set_up() -> Result<ExitCode> {
    let qemu = qemu(Series::Any)?;
    println!("QEMU {} ({})", qemu.version, qemu.path.display());
    println!("ready: ./weir run");
    Ok(ExitCode::SUCCESS)
}
