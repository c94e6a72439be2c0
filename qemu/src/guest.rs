//! A machine under test: waits for what it says, with deadlines, and keeps the console for the report.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::audit::reach::Reach;
use crate::build::Profile;
use crate::machine::Machine;
use crate::report::{App, Ready, Report, Samples, Status};
use crate::system::System;
use crate::vm::config::{COUNTING, EMULATED, edu};
use crate::vm::symbols::Symbols;
use crate::vm::{Config, Event, Lines, Outcome, Vm, observer, without_escapes};
use crate::workspace;
use anyhow::{Result, anyhow};
use serde_json::json;
use tempfile::TempPath;

/// How long a guest may take to start its applications.
const BOOT_LIMIT: Duration = Duration::from_secs(40);
/// How long an answer on the console may take.
const ANSWER_LIMIT: Duration = Duration::from_secs(20);
/// Time between two questions: a guest that only answers does nothing else.
const ASK_AGAIN: Duration = Duration::from_millis(20);
/// How many console lines a failure shows.
const SHOWN_LINES: usize = 60;

/// What to boot. The defaults: VT-d, 2 CPUs, 512 MiB, no network.
pub struct Setup {
    machine: String,
    accelerator: &'static str,
    memory: &'static str,
    cpus: u32,
    manifest: &'static str,
    networks: Vec<String>,
    nic_properties: String,
    disks: Vec<PathBuf>,
    extra: Vec<String>,
    words: String,
    bundle: Option<Vec<u8>>,
    slots: u32,
    oldest_qemu: Option<u32>,
    is_observed: bool,
}

impl Setup {
    /// A machine with the manifest `qemu/tests/manifests/NAME.toml`.
    #[must_use]
    pub fn new(manifest: &'static str) -> Setup {
        Setup {
            machine: "q35-vtd".into(),
            accelerator: EMULATED,
            memory: "512M",
            cpus: 2,
            manifest,
            networks: vec![],
            nic_properties: String::new(),
            disks: vec![],
            extra: vec![],
            words: "check_tables=on".into(),
            bundle: None,
            slots: 0,
            oldest_qemu: None,
            is_observed: false,
        }
    }

    /// Takes another kind of machine.
    #[must_use]
    pub fn machine(self, machine: impl Into<String>) -> Setup {
        Setup { machine: machine.into(), ..self }
    }

    /// Gives it another amount of memory, as QEMU writes it.
    #[must_use]
    pub fn memory(self, memory: &'static str) -> Setup {
        Setup { memory, ..self }
    }

    /// Gives it another number of CPUs.
    #[must_use]
    pub fn cpus(self, cpus: u32) -> Setup {
        Setup { cpus, ..self }
    }

    /// Adds a network device, the next in bus order.
    #[must_use]
    pub fn network(mut self, network: String) -> Setup {
        self.networks.push(network);
        self
    }

    /// Adds properties to the machine's network devices.
    #[must_use]
    pub fn nic_properties(mut self, properties: &str) -> Setup {
        self.nic_properties.push(',');
        self.nic_properties.push_str(properties);
        self
    }

    /// Adds a disk: the image file, which lives as long as the caller keeps it.
    #[must_use]
    pub fn disk(mut self, image: &Path) -> Setup {
        self.disks.push(image.into());
        self
    }

    /// Adds options of QEMU: devices.
    #[must_use]
    pub fn with(mut self, words: &[&str]) -> Setup {
        self.extra.extend(words.iter().map(|word| (*word).to_owned()));
        self
    }

    /// Adds a device that copies to any address (`edu`), for a rogue.
    #[must_use]
    pub fn edu(mut self) -> Setup {
        self.extra.extend(edu(0));
        self
    }

    /// Asks for a major version of QEMU, or a newer one, for the devices that only this one has.
    #[must_use]
    pub fn oldest_qemu(self, major: u32) -> Setup {
        Setup { oldest_qemu: Some(major), ..self }
    }

    /// Counts instructions and kernel entries from outside, see [`Guest::observe`]. The guest becomes several times slower.
    #[must_use]
    pub fn observed(self) -> Setup {
        Setup { is_observed: true, ..self }
    }

    /// Adds words to the kernel's command line.
    #[must_use]
    pub fn words(mut self, words: &str) -> Setup {
        self.words = format!("{} {words}", self.words);
        self
    }

    /// Leaves out the checks that only tests want.
    #[must_use]
    pub fn unchecked(self) -> Setup {
        Setup { words: String::new(), ..self }
    }

    /// Has the guest drive the slots of root ports, instead of the firmware.
    #[must_use]
    pub fn driving_slots(mut self) -> Setup {
        let native = "ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off";
        self.extra.extend(["-global", native].map(str::to_owned));
        self.words("hotplug=native")
    }

    /// Adds a slot without a device: root port `rpN`, slot number N + 1. What comes to it uses the network `nN`. Not
    /// together with [`Setup::network`], which numbers in the same way.
    #[must_use]
    pub fn slot(mut self, network: &str) -> Setup {
        let (index, number) = (self.slots, self.slots + 1);
        self.slots += 1;
        let (kind, rest) = network.split_once(',').unwrap_or((network, ""));
        let port = format!("pcie-root-port,id=rp{index},bus=pcie.0,chassis={number},slot={number}");
        self.extra.extend(["-netdev".into(), format!("{kind},id=n{index},{rest}"), "-device".into(), port]);
        self
    }

    /// Makes each instruction a nanosecond of the guest's time, and skips idle time.
    #[must_use]
    pub fn counting_instructions(mut self) -> Setup {
        self.extra.extend(["-icount", "shift=0,sleep=off"].map(str::to_owned));
        Setup { accelerator: COUNTING, ..self }
    }

    /// Boots these bytes in place of the manifest's bundle.
    #[must_use]
    pub fn bundle(self, bytes: Vec<u8>) -> Setup {
        Setup { bundle: Some(bytes), ..self }
    }

    /// Builds, starts, and waits until all applications are started.
    ///
    /// # Errors
    /// As [`Setup::start`]; the guest did not become ready in time.
    pub fn boot(self) -> Result<(Guest, Ready)> {
        let mut guest = self.start()?;
        let ready = guest.wait_ready()?;
        Ok((guest, ready))
    }

    /// Builds and starts.
    ///
    /// # Errors
    /// It does not build, or QEMU does not start.
    pub fn start(self) -> Result<Guest> {
        let system = self.build()?;
        self.start_built(&system)
    }

    /// Builds what boots.
    ///
    /// # Errors
    /// It does not build.
    pub fn build(&self) -> Result<System> {
        let manifest = workspace::root().join(format!("qemu/tests/manifests/{}.toml", self.manifest));
        System::from_manifest(&manifest, self.cpus, Profile::Release)
    }

    /// Starts what [`Setup::build`] gave.
    ///
    /// # Errors
    /// QEMU does not start.
    pub fn start_built(self, system: &System) -> Result<Guest> {
        let other = self.bundle.map(|bytes| scratch_file("bundle", &bytes)).transpose()?;
        let mut machine = Machine::named(&self.machine)?;
        machine.nic.push_str(&self.nic_properties);
        machine.oldest_qemu = machine.oldest_qemu.max(self.oldest_qemu);
        let observer = self.is_observed.then(|| observer::plugin(&machine.qemu()?)).transpose()?;
        let config = Config {
            machine,
            accelerator: self.accelerator,
            memory: self.memory.into(),
            cpus: self.cpus,
            kernel: system.kernel.clone(),
            bundle: other.as_ref().map_or(system.bundle.clone(), |file| file.to_path_buf()),
            append: match system.iommu {
                Some(choice) => format!("{} iommu={}", self.words, choice.word()),
                None => self.words,
            },
            networks: self.networks,
            disks: self.disks,
            extra: self.extra,
            observer,
        };
        Guest::start(&config, Symbols::new(system))
    }
}

/// A machine under test.
pub struct Guest {
    vm: Option<Vm>,
    symbols: Symbols,
    partial: Lines,
    ready: Option<Ready>,
    end_code: Option<u32>,
    statuses: Vec<Status>,
    samples: Vec<Samples>,
    audit: Option<Reach>,
    console: Vec<String>,
    /// What kind of network device the machine has.
    nic: String,
}

impl Guest {
    /// Starts a machine whose kernel need not be Weir's.
    ///
    /// # Errors
    /// QEMU does not start.
    pub fn start(config: &Config, symbols: Symbols) -> Result<Guest> {
        let vm = Vm::start(&config.machine.qemu()?, config)?;
        Ok(Guest {
            vm: Some(vm),
            symbols,
            partial: Lines::default(),
            ready: None,
            end_code: None,
            statuses: vec![],
            samples: vec![],
            audit: None,
            console: vec![],
            nic: config.machine.nic.clone(),
        })
    }

    /// Waits until all applications are started.
    ///
    /// # Errors
    /// That took too long.
    pub fn wait_ready(&mut self) -> Result<Ready> {
        self.wait_ready_within(BOOT_LIMIT)
    }

    /// The same, for a guest that takes longer than Weir does.
    ///
    /// # Errors
    /// That took too long.
    pub fn wait_ready_within(&mut self, limit: Duration) -> Result<Ready> {
        self.wait("the ready report", limit, |guest| guest.ready.clone())
    }

    /// Waits until `found` finds something.
    fn wait<T>(
        &mut self,
        what: &str,
        limit: Duration,
        mut found: impl FnMut(&Guest) -> Option<T>,
    ) -> Result<T> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(thing) = found(self) {
                return Ok(thing);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            match self.vm.as_ref().and_then(|vm| vm.next(left)) {
                Some(Event::Ended) => {
                    let outcome = self.vm.take().map(Vm::outcome);
                    return found(self)
                        .ok_or_else(|| self.failure(&format!("{outcome:?} while waiting for {what}")));
                }
                Some(event) => self.see(event),
                None => {
                    let where_it_is = self.vm.as_mut().map(Vm::whereabouts).unwrap_or_default();
                    let seconds = limit.as_secs();
                    return Err(self.failure(&format!("no sign of {what} within {seconds} s; {where_it_is}")));
                }
            }
        }
    }

    fn see(&mut self, event: Event) {
        match event {
            Event::Console(bytes) => {
                for line in self.partial.push(&bytes) {
                    let shown = self.symbols.explain(&line);
                    self.console.extend(shown.unwrap_or_else(|| vec![without_escapes(&line)]));
                }
            }
            Event::Report(Report::Ready(ready)) => self.ready = Some(ready),
            Event::Report(Report::Status(status)) => self.statuses.push(status),
            Event::Report(Report::Samples(samples)) => self.samples.push(samples),
            Event::Report(Report::Audit(reach)) => self.audit = Some(reach),
            Event::Report(Report::End { code }) => self.end_code = Some(code),
            Event::Garbled(line) => self.console.push(format!("not a report: {}", without_escapes(&line))),
            Event::Ended | Event::Stop => {}
        }
    }

    /// An error that shows the end of the console.
    #[must_use]
    pub fn failure(&self, what: &str) -> anyhow::Error {
        let tail = &self.console[self.console.len().saturating_sub(SHOWN_LINES)..];
        anyhow!("{what}; console:\n{}", tail.join("\n"))
    }

    /// Fails unless `condition` holds.
    ///
    /// # Errors
    /// The failure, with the console.
    pub fn check(&self, condition: bool, what: &str) -> Result<()> {
        if condition { Ok(()) } else { Err(self.failure(what)) }
    }

    /// Waits for a console line that contains `text`, from the first line of all.
    ///
    /// # Errors
    /// None within the limit.
    pub fn console_line(&mut self, text: &str, limit: Duration) -> Result<String> {
        let mut looked_at = 0;
        self.wait(&format!("a console line with `{text}`"), limit, |guest| {
            let start = std::mem::replace(&mut looked_at, guest.console.len());
            guest.console[start..].iter().find(|line| line.contains(text)).cloned()
        })
    }

    /// Waits for a console line, from the first line of all, that has these words, one after the other.
    ///
    /// # Errors
    /// None within the limit.
    pub fn console_row(&mut self, words: &[&str], limit: Duration) -> Result<String> {
        let mut looked_at = 0;
        self.wait(&format!("a console line with {words:?}"), limit, |guest| {
            let start = std::mem::replace(&mut looked_at, guest.console.len());
            let is_it = |line: &&String| {
                line.split_whitespace().collect::<Vec<_>>().windows(words.len()).any(|part| part == words)
            };
            guest.console[start..].iter().find(is_it).cloned()
        })
    }

    /// Whether a console line so far contains `text`.
    #[must_use]
    pub fn has_said(&self, text: &str) -> bool {
        self.console.iter().any(|line| line.contains(text))
    }

    /// How many console lines so far, including those that have just come, contain `text`.
    pub fn count_said(&mut self, text: &str) -> usize {
        self.drain();
        self.console.iter().filter(|line| line.contains(text)).count()
    }

    /// All console lines so far, including those that have just come.
    pub fn console(&mut self) -> &[String] {
        self.drain();
        &self.console
    }

    /// Asks for reports until one `pleases`.
    ///
    /// # Errors
    /// None does for a while; the machine has ended.
    pub fn status_until(&mut self, what: &str, pleases: impl Fn(&Status) -> bool) -> Result<Status> {
        let deadline = Instant::now() + ANSWER_LIMIT;
        loop {
            let status = self.status()?;
            if pleases(&status) {
                return Ok(status);
            }
            self.check(Instant::now() < deadline, &format!("no sign of {what}: {status:?}"))?;
            std::thread::sleep(ASK_AGAIN);
        }
    }

    /// The counters of an application once they are `enough`: it counts a burst after having answered it, so a
    /// report may come between the two.
    ///
    /// # Errors
    /// As [`Guest::status_until`]; there is no such application.
    pub fn counted(&mut self, name: &str, enough: impl Fn(&App) -> bool) -> Result<App> {
        let what = format!("counters of {name} that suffice");
        let status = self.status_until(&what, |status| status.app(name).is_none_or(&enough))?;
        status
            .app(name)
            .cloned()
            .ok_or_else(|| self.failure(&format!("the report has no application {name}")))
    }

    /// Types a line at the console.
    ///
    /// # Errors
    /// The machine has ended.
    pub fn type_line(&mut self, line: &str) -> Result<()> {
        self.vm()?.type_text(&format!("{line}\r"))
    }

    /// The counters now: asks for a report and waits for one that is younger than the question.
    ///
    /// # Errors
    /// No answer in time.
    pub fn status(&mut self) -> Result<Status> {
        self.drain();
        self.type_line("report")?;
        let seen = self.statuses.len();
        self.wait("a status report", ANSWER_LIMIT, |guest| guest.statuses.get(seen).cloned())
    }

    /// Waits for counters that please.
    ///
    /// # Errors
    /// None within the limit.
    pub fn status_when(
        &mut self,
        what: &str,
        limit: Duration,
        pleases: impl Fn(&Status) -> bool,
    ) -> Result<Status> {
        self.wait(what, limit, |guest| guest.statuses.last().filter(|status| pleases(status)).cloned())
    }

    /// Plugs the machine's kind of network device into the empty slot of root port `rpN`, as `hpN`.
    ///
    /// # Errors
    /// QEMU refuses.
    pub fn plug(&mut self, slot: u32) -> Result<()> {
        let mut device =
            json!({ "id": format!("hp{slot}"), "bus": format!("rp{slot}"), "netdev": format!("n{slot}") });
        let mut words = self.nic.split(',');
        device["driver"] = words.next().unwrap_or_default().into();
        for (key, value) in words.filter_map(|word| word.split_once('=')) {
            device[key] = if key == "iommu_platform" { (value == "on").into() } else { value.into() };
        }
        self.vm()?.device_add(&device)
    }

    /// Pulls the cable of a network device, counted in bus order, or plugs it in.
    ///
    /// # Errors
    /// QEMU refuses: there is no such device.
    pub fn set_link(&mut self, network: u32, up: bool) -> Result<()> {
        self.vm()?.set_link(&format!("n{network}"), up)
    }

    /// Presses the attention button of a slot that a device was plugged into.
    ///
    /// # Errors
    /// QEMU refuses.
    pub fn press_button(&mut self, slot: u32) -> Result<()> {
        self.vm()?.device_del(&format!("hp{slot}"))
    }

    /// Waits until the device plugged into a slot has left it.
    ///
    /// # Errors
    /// It did not within `limit`.
    pub fn wait_unplugged(&mut self, slot: u32, limit: Duration) -> Result<()> {
        let result = self.vm()?.wait_deleted(&format!("hp{slot}"), limit);
        result.map_err(|error| {
            self.drain();
            self.failure(&format!("{error:#}"))
        })
    }

    fn vm(&mut self) -> Result<&mut Vm> {
        self.vm.as_mut().ok_or_else(|| anyhow!("the machine has ended"))
    }

    fn drain(&mut self) {
        while let Some(event) = self.vm.as_ref().and_then(|vm| vm.next(Duration::ZERO)) {
            self.see(event);
            if self.vm.is_none() {
                return;
            }
        }
    }

    /// Who reaches what now: asks the supervisor.
    ///
    /// # Errors
    /// No answer in time.
    pub fn audit(&mut self) -> Result<Reach> {
        self.type_line("audit")?;
        self.wait("the audit's report", ANSWER_LIMIT, |guest| guest.audit.clone())
    }

    /// What was counted from outside so far, one per CPU.
    ///
    /// # Errors
    /// It was not started [`observed`](Setup::observed), or has ended.
    pub fn observe(&mut self) -> Result<Vec<observer::Cpu>> {
        self.vm()?.observe()
    }

    /// What was measured so far.
    #[must_use]
    pub fn samples(&self) -> &[Samples] {
        &self.samples
    }

    /// Switches the machine off and checks that the guest did it, and why.
    ///
    /// # Errors
    /// It ended otherwise, or not at all.
    pub fn power_off(mut self) -> Result<()> {
        let vm = self.vm.take().ok_or_else(|| anyhow!("the machine has ended"))?;
        let outcome = vm.power_off(|event| self.see(event));
        self.check(outcome == Outcome::Success, &format!("the machine ended with {outcome:?}"))?;
        self.check(self.end_code == Some(0x10), &format!("the end report says {:?}", self.end_code))
    }

    /// Waits for the machine to end by itself; gives what it ended with and the last counters.
    ///
    /// # Errors
    /// It did not end within the limit.
    pub fn end(&mut self, limit: Duration) -> Result<(Outcome, Option<Status>)> {
        let deadline = Instant::now() + limit;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.vm.as_ref().and_then(|vm| vm.next(left)) {
                Some(Event::Ended) => break,
                Some(event) => self.see(event),
                None => return Err(self.failure(&format!("it did not end within {} s", limit.as_secs()))),
            }
        }
        let vm = self.vm.take().ok_or_else(|| anyhow!("the machine has ended"))?;
        Ok((vm.outcome(), self.statuses.last().cloned()))
    }
}

/// A file with these bytes, for as long as the value lives: QEMU reads its files before it says it runs.
///
/// # Errors
/// The disk refuses.
pub fn scratch_file(name: &str, bytes: &[u8]) -> Result<TempPath> {
    let mut file = tempfile::Builder::new().prefix(name).tempfile()?;
    file.write_all(bytes)?;
    Ok(file.into_temp_path())
}
