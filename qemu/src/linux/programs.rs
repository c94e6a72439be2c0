//! Our own programs for the Linux guest, as static executables.
//!
//! They are for the same target as Weir's applications, but with the C library's start files, which Linux programs
//! have and applications have not (`.cargo/config.toml`). What the compiler makes of a driver library depends on
//! [`FLAGS`], and those are the same for both.

use std::path::PathBuf;

use anyhow::Result;

use crate::build::{self, APP_TARGET};
use crate::workspace;

/// What goes into `RUSTFLAGS`, in place of `.cargo/config.toml`'s flags: those of them that are not about linking an
/// application, and the start files.
pub const FLAGS: &str =
    "-Ctarget-cpu=x86-64-v2 -Cforce-frame-pointers=yes -Crelocation-model=pic -Clink-self-contained=yes";
/// The package they are in.
const PACKAGE: &str = "weir-linux-guest";

/// Cargo's words to build them, with [`FLAGS`].
#[must_use]
pub fn words() -> Vec<String> {
    let target_dir = target_dir().display().to_string();
    let words = ["build", "--locked", "--release", "--bins", "-p", PACKAGE, "--target", APP_TARGET];
    words.map(str::to_owned).into_iter().chain(["--target-dir".into(), target_dir]).collect()
}

/// Builds them and returns the file of `name`.
///
/// # Errors
/// They do not build; the compiler's messages have been printed.
pub fn program(name: &str) -> Result<PathBuf> {
    build::run("building the programs for Linux", workspace::cargo().args(words()).env("RUSTFLAGS", FLAGS))?;
    Ok(target_dir().join(APP_TARGET).join("release").join(name))
}

/// A folder of their own: the flags differ, and each build would else undo the other.
fn target_dir() -> PathBuf {
    workspace::target_dir().join("linux")
}
