//! A machine with rogue devices, their owner, a victim, and everything seen from outside.

use std::time::Duration;

use anyhow::{Result, bail};
use tempfile::NamedTempFile;
use weir_attack_orders::{Answer, Order};
use weir_runner::guest::{Guest, Setup};
use weir_runner::report::Status;

use super::Machine;
use super::outside::{Outside, Waiting};
use super::puppet::Puppet;
use super::ram::{Ram, memory_file};

/// Buses, in the order of the ports (`manifests/attack.toml`).
pub(super) const VICTIM_LINK: u8 = 2;
pub(super) const VICTIM_EDU: u8 = 3;
pub(super) const ROGUE: u8 = 4;
pub(super) const EDU: u8 = 5;
const EDUS: u8 = 8;

/// The attacker's `edu`s, as the manifest names them.
pub(super) fn edus() -> impl Iterator<Item = String> {
    (0..EDUS).map(|number| format!("edu{number}"))
}

const MIB: u64 = 256;
const EDU_DEVICE: &str = "edu,dma_mask=0xffffffffffffffff";
/// How long something at the console may take.
pub(super) const LIMIT: Duration = Duration::from_secs(20);

/// The machine.
pub(super) struct Rig {
    pub(super) guest: Guest,
    pub(super) attacker: Puppet,
    pub(super) victim: Puppet,
    pub(super) ram: Ram,
    pub(super) outside: Outside,
    pub(super) machine: &'static Machine,
    messages: NamedTempFile,
}

/// A fault, as the attacker's fault ring has it.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) requester: u32,
    pub(super) iova: u64,
    pub(super) is_write: bool,
    pub(super) reason: u8,
}

impl Rig {
    /// Boots, attacks, and switches the machine off; a failure shows the console.
    pub(super) fn run(machine: &'static Machine, attack: impl FnOnce(&mut Rig) -> Result<()>) -> Result<()> {
        let mut rig = Rig::boot(machine)?;
        attack(&mut rig).map_err(|error| rig.guest.failure(&format!("{error:#}")))?;
        rig.guest.power_off()
    }

    /// Boots; both applications wait for orders.
    pub(super) fn boot(machine: &'static Machine) -> Result<Rig> {
        let mut rig = Rig::start(machine)?;
        rig.wait_ready()?;
        Ok(rig)
    }

    /// Waits until both applications wait for orders.
    pub(super) fn wait_ready(&mut self) -> Result<()> {
        let ready = self.guest.wait_ready()?;
        self.check(ready.iommu == self.machine.mode, &format!("devices are confined by {}", ready.iommu))?;
        self.guest.status_until("both applications", |status| {
            ["attack", "victim"].iter().all(|name| status.app(name).is_some_and(|app| app.ready))
        })?;
        Ok(())
    }

    /// Starts the attacker again, whatever became of it, with all its devices.
    pub(super) fn restart(&mut self) -> Result<()> {
        let before = self.guest.status()?.app("attack").map_or(0, |app| app.restarts);
        self.guest.type_line("restart attack")?;
        let is_back = |status: &Status| {
            status
                .app("attack")
                .is_some_and(|app| app.ready && app.restarts > before && app.state == "running")
        };
        self.guest.status_until("the attacker's next life", is_back).map(drop)
    }

    /// Starts the machine and does not wait.
    pub(super) fn start(machine: &'static Machine) -> Result<Rig> {
        Rig::start_with(machine, "attack")
    }

    /// The same, with another manifest.
    pub(super) fn start_with(machine: &'static Machine, manifest: &'static str) -> Result<Rig> {
        let (attacker, victim) = (Puppet::new()?, Puppet::new()?);
        let (ram, messages, waiting) = (Ram::new(MIB)?, memory_file(0)?, Waiting::new()?);
        let mut words: Vec<String> = machine.options.iter().map(|word| (*word).to_owned()).collect();
        words.extend(ram.options());
        words.extend(waiting.options());
        let log = messages.path().display().to_string();
        words.extend(["-trace", "apic_deliver_irq", "-D", &log].map(str::to_owned));
        for bus in 1..EDU + EDUS {
            let port = format!("port{bus}");
            words.extend(["-device".into(), root_port(bus)]);
            words.extend(match bus {
                1 => attacker.options(&port).to_vec(),
                VICTIM_LINK => victim.options(&port).to_vec(),
                ROGUE => vec!["-device".into(), format!("iommu-testdev,bus={port}")],
                _ => vec!["-device".into(), format!("{EDU_DEVICE},bus={port}")],
            });
        }
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        // The first that has `iommu-testdev`; what is expected of emulators is expected of this one.
        let setup = Setup::new(manifest).machine(machine.file).memory("256M").oldest_qemu(11);
        let guest = setup.with(&words).start()?;
        let outside = waiting.connect()?;
        Ok(Rig { guest, attacker, victim, ram, outside, machine, messages })
    }

    /// What the attacker's ring says: records, and those lost.
    pub(super) fn faults(&mut self) -> Result<(u64, u64)> {
        match self.attacker.order(&Order::Faults)? {
            Answer::Faults { written, lost } => Ok((written, lost)),
            other => bail!("{other:?}"),
        }
    }

    /// A record of the attacker's ring.
    pub(super) fn fault(&mut self, number: u64) -> Result<Fault> {
        match self.attacker.order(&Order::Fault { number })? {
            Answer::Fault { requester, iova, is_write, reason, .. } => {
                Ok(Fault { requester, iova, is_write, reason })
            }
            other => bail!("{other:?}"),
        }
    }

    /// Messages that reached the interrupt controllers with `vector` for CPU `apic`, as QEMU tells.
    pub(super) fn delivered(&self, apic: u8, vector: u8) -> Result<usize> {
        let log = std::fs::read_to_string(self.messages.path())?;
        let (to, what) = (format!("dest {apic} "), format!(" vector {vector} "));
        Ok(log.lines().filter(|line| line.contains(&to) && line.contains(&what)).count())
    }

    /// Fails, with the console, unless `condition` holds.
    pub(super) fn check(&self, condition: bool, what: &str) -> Result<()> {
        self.guest.check(condition, what)
    }
}

/// A port for one device.
pub(super) fn root_port(bus: u8) -> String {
    format!("pcie-root-port,id=port{bus},bus=pcie.0,chassis={bus},slot={bus}")
}
