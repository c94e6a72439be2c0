//! What cargo knows about the workspace.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::build::{APP_TARGET, KERNEL_TARGET};
use crate::workspace;

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

/// A package of the workspace.
#[derive(Debug, Deserialize)]
pub(super) struct Package {
    pub(super) name: String,
    pub(super) manifest_path: PathBuf,
    pub(super) targets: Vec<Target>,
    pub(super) metadata: Option<Extra>,
}

/// A library, program or test of a package.
#[derive(Debug, Deserialize)]
pub(super) struct Target {
    pub(super) kind: Vec<String>,
    pub(super) doctest: bool,
}

/// `[package.metadata]`.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Extra {
    #[serde(default)]
    pub(super) weir: Weir,
}

/// `[package.metadata.weir]`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Weir {
    /// It only builds for the guest.
    #[serde(default)]
    pub(super) guest: bool,
}

/// The packages of the workspace.
///
/// # Errors
/// Cargo cannot read the workspace.
pub(super) fn packages() -> Result<Vec<Package>> {
    let output = workspace::cargo()
        .args(["metadata", "--format-version=1", "--no-deps", "--locked"])
        .output()
        .context("cannot run cargo")?;
    if !output.status.success() {
        bail!("cargo cannot read the workspace: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    let metadata: Metadata = serde_json::from_slice(&output.stdout)?;
    Ok(metadata.packages)
}

impl Package {
    /// Whether it only builds for the guest.
    pub(super) fn is_guest(&self) -> bool {
        self.metadata.as_ref().is_some_and(|extra| extra.weir.guest)
    }

    /// The kernel: its library is tested on the host, its program only builds for the guest.
    pub(super) fn is_kernel(&self) -> bool {
        self.name == "weir-kernel"
    }

    /// The target that its guest part is built for.
    pub(super) fn guest_target(&self) -> &'static str {
        if self.is_kernel() { KERNEL_TARGET } else { APP_TARGET }
    }

    pub(super) fn has_doctests(&self) -> bool {
        self.targets.iter().any(|target| target.doctest && target.kind.iter().any(|kind| kind == "lib"))
    }

    pub(super) fn folder(&self) -> &Path {
        self.manifest_path.parent().unwrap_or(workspace::root())
    }
}
