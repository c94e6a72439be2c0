//! The manifest people write (TOML), checked and turned into the form the guest reads.
//!
//! **Invariant: what passes here has unique names, known programs' names, sizes in range, and no device
//! given twice by the same selector.** Every complaint is one line: file, line, what is wrong. What only the
//! machine can tell (is there such a device? may it be granted?) is the supervisor's and kernel's business.

mod channels;
mod check;
mod file;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

pub(crate) use check::bytes;
pub use check::{Problem, check};
use weir_abi::choice::IommuChoice;
use weir_abi::manifest::Manifest;

use crate::port::Port;

/// A checked manifest, made for a machine.
#[derive(Debug)]
pub struct Checked {
    /// What the guest reads.
    pub manifest: Manifest,
    /// How the kernel is to confine devices, where the manifest says; the kernel is told on its command line.
    pub iommu: Option<IommuChoice>,
    /// Ports of the guest that are to be reached from this host.
    pub ports: Vec<Port>,
    /// What the person should know, one line each.
    pub notices: Vec<String>,
    /// Two selectors that may turn out to mean one device. What runs finds out; an audit does not accept it.
    pub ambiguity: Option<Problem>,
    /// Folders to pack: name in the bundle, path from the top of the tree.
    pub files: Vec<(String, PathBuf)>,
}

impl Checked {
    /// The programs that its applications run, or may be told to.
    #[must_use]
    pub fn programs(&self) -> BTreeSet<&str> {
        let apps = self.manifest.apps.iter();
        let programs = apps.flat_map(|app| app.replacements.iter().chain([&app.program]));
        programs.map(String::as_str).collect()
    }
}

/// Reads and checks the manifest at `path` for a machine with `cpus` CPUs.
///
/// # Errors
/// The file cannot be read or is wrong.
pub fn read(path: &Path, cpus: u32) -> Result<Checked> {
    let shown = crate::workspace::shown(path);
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read the manifest {shown}"))?;
    check(&text, cpus).map_err(|problem| anyhow::anyhow!("{shown}:{problem}"))
}
