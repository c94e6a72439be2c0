//! What a machine is made of, as QEMU's command line.

use std::path::{Path, PathBuf};

use crate::machine::Machine;

/// An emulated CPU.
pub const EMULATED: &str = "tcg";
/// The same, an instruction at a time: QEMU 11.1 stops with "Bad icount read" when it counts instructions (`-icount`)
/// in longer pieces.
pub const COUNTING: &str = "tcg,one-insn-per-tb=on";

/// A machine to start.
#[derive(Clone, Debug)]
pub struct Config {
    /// What kind.
    pub machine: Machine,
    /// How the CPU is played: [`EMULATED`] or [`COUNTING`].
    pub accelerator: &'static str,
    /// Memory, as QEMU writes it.
    pub memory: String,
    /// CPUs.
    pub cpus: u32,
    /// The kernel's ELF file.
    pub kernel: PathBuf,
    /// The bundle's file.
    pub bundle: PathBuf,
    /// Words for the kernel: `key=value …`.
    pub append: String,
    /// Network devices, in bus order: the argument of `-netdev` without the id.
    pub networks: Vec<String>,
    /// Disks, in order: image files, written to.
    pub disks: Vec<PathBuf>,
    /// Further options: devices, captures, a debugger's port.
    pub extra: Vec<String>,
    /// The plugin that counts from outside, if somebody will ask.
    pub observer: Option<PathBuf>,
}

impl Config {
    /// The arguments, with the abstract sockets that QEMU is to connect its ports to.
    pub(super) fn arguments(&self, console: &str, report: &str, control: &str) -> Vec<String> {
        let mut words: Vec<String> = self.machine.options.clone();
        let cpus = self.cpus.to_string();
        words.extend(["-accel", self.accelerator, "-smp", &cpus, "-m", &self.memory].map(str::to_owned));
        words.extend(["-nodefaults", "-display", "none", "-no-reboot"].map(str::to_owned));
        option(&mut words, "-device", "isa-debug-exit,iobase=0x501,iosize=4".into());
        for (id, name) in [("console", console), ("report", report), ("control", control)] {
            option(&mut words, "-chardev", format!("socket,id={id},path={name},abstract=on"));
        }
        option(&mut words, "-serial", "chardev:console".into());
        option(&mut words, "-serial", "chardev:report".into());
        option(&mut words, "-qmp", "chardev:control".into());
        for (index, network) in self.networks.iter().enumerate() {
            self.add_network(&mut words, index, network);
        }
        for (index, image) in self.disks.iter().enumerate() {
            self.add_disk(&mut words, index, image);
        }
        words.extend(self.extra.clone());
        option(&mut words, "-kernel", self.kernel.display().to_string());
        option(&mut words, "-initrd", self.bundle.display().to_string());
        // The kernel writes to no port it was not told of.
        option(&mut words, "-append", format!("exit_port=0x501 {}", self.append).trim_end().into());
        words
    }

    /// A network device in a root port of its own, so that it has function-level reset and its own group.
    fn add_network(&self, words: &mut Vec<String>, index: usize, network: &str) {
        let slot = index + 1;
        let (kind, rest) = network.split_once(',').unwrap_or((network, ""));
        let comma = if rest.is_empty() { "" } else { "," };
        option(words, "-netdev", format!("{kind},id=n{index}{comma}{rest}"));
        option(
            words,
            "-device",
            format!("pcie-root-port,id=rp{index},bus=pcie.0,chassis={slot},slot={slot}"),
        );
        option(words, "-device", format!("{},bus=rp{index},netdev=n{index}", self.machine.nic));
    }
}

impl Config {
    /// A disk, in a root port of its own, too. What the guest was told is written, other programs can read from the
    /// image file: QEMU keeps nothing of it to itself.
    fn add_disk(&self, words: &mut Vec<String>, index: usize, image: &Path) {
        // Beyond the networks' numbers.
        let slot = index + 0x40;
        // A comma is written twice in QEMU's options.
        let file = image.display().to_string().replace(',', ",,");
        option(words, "-drive", format!("if=none,id=d{index},format=raw,discard=unmap,file={file}"));
        option(
            words,
            "-device",
            format!("pcie-root-port,id=rpd{index},bus=pcie.0,chassis={slot},slot={slot}"),
        );
        option(words, "-device", format!("{},bus=rpd{index},drive=d{index}", self.machine.disk));
    }
}

/// Options for a device that copies to any address, in a root port of its own: what a rogue owns.
#[must_use]
pub fn edu(number: usize) -> Vec<String> {
    let slot = number + 0x60;
    let mut words = Vec::new();
    option(
        &mut words,
        "-device",
        format!("pcie-root-port,id=rpe{number},bus=pcie.0,chassis={slot},slot={slot}"),
    );
    option(&mut words, "-device", format!("edu,dma_mask=0xffffffffffffffff,bus=rpe{number}"));
    words
}

fn option(words: &mut Vec<String>, name: &str, value: String) {
    words.push(name.into());
    words.push(value);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_network_and_disk_has_a_port_of_its_own() {
        let config = Config {
            machine: Machine::named("q35-vtd").unwrap(),
            accelerator: EMULATED,
            memory: "512M".into(),
            cpus: 2,
            kernel: "k".into(),
            bundle: "b".into(),
            append: String::new(),
            networks: vec!["user,hostfwd=udp:127.0.0.1:7007-:7".into(), "user".into()],
            disks: vec!["a,b".into()],
            extra: vec![],
            observer: None,
        };
        let line = config.arguments("c", "r", "q").join(" ");
        assert!(line.contains("-netdev user,id=n0,hostfwd=udp:127.0.0.1:7007-:7 "), "{line}");
        assert!(line.contains("-netdev user,id=n1 "), "{line}");
        assert!(line.contains("iommu_platform=on,bus=rp1,netdev=n1"), "{line}");
        assert!(line.contains("file=a,,b -device pcie-root-port,id=rpd0,"), "{line}");
        assert!(line.contains("-device nvme,serial=weir,bus=rpd0,drive=d0 "), "{line}");
        assert!(line.find("-serial chardev:console") < line.find("-serial chardev:report"), "{line}");
    }
}
