//! What QEMU's plugin (`qemu/plugin`) counted: the guest seen from outside.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::build;
use crate::tools::Qemu;

/// How long QEMU may take to answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(20);
/// The first version of QEMU whose plugins are called back in the new way.
const NEW_INTERFACE: u32 = 11;

/// What one CPU did since it was switched on.
#[derive(Clone, Debug, Deserialize)]
pub struct Cpu {
    /// Instructions in the lower half of the address space: after boot, those of user mode.
    pub user: u64,
    /// Instructions in the upper half: those of the kernel.
    pub kernel: u64,
    /// Arrivals in the kernel after instructions of user mode.
    pub entries: u64,
    /// The same, by the address at which the kernel began, in hexadecimal.
    pub entries_at: BTreeMap<String, u64>,
    /// What passed in regions that programs marked (`weir_rt::marker`), by number.
    pub regions: BTreeMap<u8, Region>,
}

/// What passed between the marks of a region, all passes together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Region {
    /// How often it was passed.
    pub times: u64,
    /// Instructions of user mode.
    pub user: u64,
    /// Instructions of the kernel.
    pub kernel: u64,
    /// Arrivals in the kernel.
    pub entries: u64,
}

/// The connection to the plugin.
pub(super) struct Observer(BufReader<UnixStream>);

impl Observer {
    pub(super) fn new(socket: UnixStream) -> Result<Observer> {
        socket.set_read_timeout(Some(ANSWER_LIMIT))?;
        Ok(Observer(BufReader::new(socket)))
    }

    /// The counts so far, one per CPU.
    pub(super) fn ask(&mut self) -> Result<Vec<Cpu>> {
        self.0.get_mut().write_all(b"counts\n").context("the observer is gone")?;
        let mut line = String::new();
        self.0.read_line(&mut line).context("the observer does not answer")?;
        serde_json::from_str(&line).with_context(|| format!("the observer says {line:?}"))
    }
}

/// Builds the plugin that `qemu` can load; returns its file.
///
/// # Errors
/// It does not build.
pub fn plugin(qemu: &Qemu) -> Result<PathBuf> {
    build::plugin(qemu.version.major < NEW_INTERFACE)
}

/// QEMU's argument of `-plugin`.
pub(super) fn argument(plugin: &Path, socket: &str) -> String {
    format!("{},socket={socket}", plugin.display())
}
