//! What a Linux guest boots.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::cpio::Cpio;
use super::modules::Modules;
use super::{dpdk, kernel, network};
use crate::guest::{Guest, scratch_file};
use crate::machine::Machine;
use crate::system::System;
use crate::tools::{Archive, Distribution, Release, Unpacked, unpacked};
use crate::vm::config::EMULATED;
use crate::vm::symbols::Symbols;
use crate::vm::{Config, observer};
use crate::workspace;

/// Linux 6.1, DPDK 22.11.
const RELEASE: Release = Release { suite: "bookworm", base: "bookworm" };
/// The kernel, and the one program that `init.sh` runs.
const SYSTEM: [&str; 2] = ["linux-image-amd64", "busybox-static"];
/// The first process.
const INIT: &str = "qemu/src/linux/init.sh";
/// What the kernel is told: console on the first serial port, a panic ends the machine, devices are confined, and
/// 2 MiB pages for what devices reach. `no_timer_check`: on a loaded machine an emulated timer may be late for the
/// kernel's check at its start, which then panics.
const WORDS: &str = "console=ttyS0 loglevel=5 panic=-1 no_timer_check intel_iommu=on hugepages=";

/// A Linux guest to be started. The defaults: VT-d in legacy mode, 1 CPU, 512 MiB, no network, no modules.
pub struct Linux {
    machine: String,
    cpus: u32,
    memory: String,
    huge_pages: u32,
    program: String,
    modules: Vec<&'static str>,
    words: String,
    networks: Vec<String>,
    disks: Vec<PathBuf>,
    files: Vec<(String, PathBuf)>,
    links: Vec<(String, String)>,
    extra: Vec<String>,
    is_observed: bool,
}

impl Linux {
    /// A guest that runs `program`, a shell script, and ends with it.
    #[must_use]
    pub fn new(program: impl Into<String>) -> Linux {
        Linux {
            machine: "q35-vtd".into(),
            cpus: 1,
            memory: "512M".into(),
            huge_pages: 0,
            program: program.into(),
            modules: vec![],
            words: String::new(),
            networks: vec![],
            disks: vec![],
            files: vec![],
            links: vec![],
            extra: vec![],
            is_observed: false,
        }
    }

    /// Takes another kind of machine.
    #[must_use]
    pub fn machine(self, machine: impl Into<String>) -> Linux {
        Linux { machine: machine.into(), ..self }
    }

    /// Gives it another number of CPUs.
    #[must_use]
    pub fn cpus(self, cpus: u32) -> Linux {
        Linux { cpus, ..self }
    }

    /// Gives it another amount of memory, as QEMU writes it.
    #[must_use]
    pub fn memory(self, memory: &str) -> Linux {
        Linux { memory: memory.into(), ..self }
    }

    /// Sets so many pages of 2 MiB aside.
    #[must_use]
    pub fn huge_pages(self, huge_pages: u32) -> Linux {
        Linux { huge_pages, ..self }
    }

    /// Loads these kernel modules, and those they need, in this order.
    #[must_use]
    pub fn modules(mut self, names: &[&'static str]) -> Linux {
        self.modules.extend(names);
        self
    }

    /// Adds words to the kernel's command line.
    #[must_use]
    pub fn words(mut self, words: &str) -> Linux {
        self.words.push(' ');
        self.words.push_str(words);
        self
    }

    /// Adds a disk: the image file, which lives as long as the caller keeps it.
    #[must_use]
    pub fn disk(mut self, image: &Path) -> Linux {
        self.disks.push(image.into());
        self
    }

    /// Counts instructions and kernel entries from outside, see [`Guest::observe`]. The guest becomes several times slower.
    #[must_use]
    pub fn observed(self) -> Linux {
        Linux { is_observed: true, ..self }
    }

    /// Adds a network device, the next in bus order.
    #[must_use]
    pub fn network(mut self, network: String) -> Linux {
        self.networks.push(network);
        self
    }

    /// Adds a file that may be run, at `path` of the guest.
    #[must_use]
    pub fn file(mut self, path: &str, file: PathBuf) -> Linux {
        self.files.push((path.to_owned(), file));
        self
    }

    /// Adds a symbolic link at `path` of the guest.
    #[must_use]
    pub fn link(mut self, path: String, target: String) -> Linux {
        self.links.push((path, target));
        self
    }

    /// Adds options of QEMU: devices.
    #[must_use]
    pub fn with(mut self, words: &[&str]) -> Linux {
        self.extra.extend(words.iter().map(|word| (*word).to_owned()));
        self
    }

    /// Fetches what is missing and starts.
    ///
    /// # Errors
    /// The packages cannot be had, or QEMU does not start.
    pub fn start(self) -> Result<Guest> {
        let system = packages(&SYSTEM)?;
        let tree = scratch_file("initramfs", &self.tree(&system)?)?;
        let (kernel, bundle) = (kernel::unpacked(&system)?, tree.to_path_buf());
        let machine = Machine::named(&self.machine)?;
        let observer = self.is_observed.then(|| observer::plugin(&machine.qemu()?)).transpose()?;
        let config = Config {
            machine,
            accelerator: EMULATED,
            memory: self.memory,
            cpus: self.cpus,
            kernel: kernel.clone(),
            bundle: bundle.clone(),
            append: format!("{WORDS}{}{}", self.huge_pages, self.words),
            networks: self.networks,
            disks: self.disks,
            observer,
            extra: self.extra,
        };
        let system = System { kernel, bundle, ..System::default() };
        Guest::start(&config, Symbols::new(&system))
    }

    /// The file tree.
    fn tree(&self, system: &Unpacked) -> Result<Vec<u8>> {
        let mut tree = Cpio::default();
        for folder in ["proc", "sys", "dev", "bin", "tmp", "modules"] {
            tree.folder(folder);
        }
        // The kernel gives it to the first process as standard input and output (char device 5:1, "system console").
        tree.character_device("dev/console", 5, 1);
        tree.file("bin/busybox", &read(&system.file("bin/busybox"))?);
        tree.link("bin/sh", "busybox");
        tree.file("init", &read(&workspace::root().join(INIT))?);
        tree.file("program", self.program.as_bytes());
        let modules = Modules::below(&system.file("lib/modules"))?;
        for (number, file) in modules.in_order(&self.modules)?.into_iter().enumerate() {
            // Loaded in the order of their names.
            tree.file(&format!("modules/{number:02}"), &read(file)?);
        }
        for (path, file) in &self.files {
            tree.file(path, &read(file)?);
        }
        for (path, target) in &self.links {
            tree.link(path, target);
        }
        Ok(tree.finish())
    }
}

fn read(file: &Path) -> Result<Vec<u8>> {
    fs::read(file).with_context(|| format!("cannot read {}", file.display()))
}

/// Fetches all packages that guests are made of, those that are here already excepted.
///
/// # Errors
/// They cannot be had.
pub fn fetch() -> Result<()> {
    kernel::unpacked(&packages(&SYSTEM)?)?;
    packages(&network::PACKAGES)?;
    packages(&[dpdk::PACKAGE]).map(drop)
}

/// Packages of the release that the Linux guest is made of.
///
/// # Errors
/// This machine does not use Debian's archive, which has them.
pub fn packages(names: &[&str]) -> Result<Unpacked> {
    match Archive::of_this_machine() {
        Some(archive) if archive.distribution == Distribution::Debian => unpacked(&archive, RELEASE, names),
        _ => bail!("the Linux guest is made of Debian's packages, and this machine has no archive of Debian"),
    }
}
