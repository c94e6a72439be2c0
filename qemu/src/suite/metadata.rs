//! What cargo knows about the workspace.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

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
    pub(super) name: String,
    pub(super) kind: Vec<String>,
    pub(super) doctest: bool,
    pub(super) test: bool,
}

impl Target {
    fn is(&self, kind: &str) -> bool {
        self.kind.iter().any(|other| other == kind)
    }
}

/// `[package.metadata]`.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Extra {
    #[serde(default)]
    pub(super) weir: Weir,
}

/// `[package.metadata.weir]`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Weir {
    /// Its program only builds for the guest.
    pub(super) guest: bool,
}

/// The package that is built for the kernel's target.
const KERNEL: &str = "weir-kernel";

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

/// Where a package can be built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Here.
    Host,
    /// For the kernel's target.
    Kernel,
    /// For the applications' target; a library's tests here.
    Application,
}

impl Package {
    /// Where it can be built.
    pub(super) fn place(&self) -> Place {
        let is_guest = self.metadata.as_ref().is_some_and(|extra| extra.weir.guest);
        match (is_guest, self.name == KERNEL) {
            (true, true) => Place::Kernel,
            (true, false) => Place::Application,
            (false, _) => Place::Host,
        }
    }

    pub(super) fn has_doctests(&self) -> bool {
        self.targets.iter().any(|target| target.doctest && target.is("lib"))
    }

    pub(super) fn has_program(&self) -> bool {
        self.targets.iter().any(|target| target.is("bin"))
    }

    pub(super) fn has_library_tests(&self) -> bool {
        self.targets.iter().any(|target| target.test && target.is("lib"))
    }

    /// Its test programs beside the library.
    pub(super) fn test_targets(&self) -> impl Iterator<Item = &str> {
        self.targets.iter().filter(|target| target.is("test")).map(|target| target.name.as_str())
    }

    pub(super) fn folder(&self) -> &Path {
        self.manifest_path.parent().unwrap_or(workspace::root())
    }
}
