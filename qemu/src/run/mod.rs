//! `weir run`: builds a system, boots it, shows what it does, and ends it cleanly.
//!
//! Exit status 0: it ended as asked. 1: the guest failed (panic, failed application, no answer). 2: it could
//! not be started.

mod live;
mod ports;
mod result;
mod terminal;

use std::fs::File;
use std::net::TcpListener;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use weir_abi::choice::IommuChoice;

use crate::cli::RunOptions;
use crate::machine::{self, Machine};
use crate::manifest;
use crate::report::{Ready, Report, Status};
use crate::system::System;
use crate::vm::config::{EMULATED, edu};
use crate::vm::symbols::Symbols;
use crate::vm::{Config, Event, Lines, Outcome, POWER_OFF, Vm, without_escapes};
use crate::workspace;
use live::Live;
use ports::Ports;

/// The supervisor's prompt.
const PROMPT: &str = "weir> ";

/// How often the loop looks at the clock.
const TICK: Duration = Duration::from_millis(200);

/// Boots the system and stays until it ends.
///
/// # Errors
/// It cannot be started: a wrong option, a busy port, something that does not build, no QEMU.
pub fn run(options: &RunOptions) -> Result<ExitCode> {
    if manifest::bytes(&options.memory).is_none() {
        bail!("{} is no size of memory; write 512M or 8G", options.memory);
    }
    let json = options.json.as_deref().map(writable).transpose()?;
    options.pcap.as_deref().map(writable).transpose()?;
    // A wrong name is told before the long work.
    let named = options.machine.as_deref().map(Machine::named).transpose()?;
    let ports = Ports::choose(&options.system, options.port)?;
    let system = System::build(&options.system)?;
    let choice = options.iommu.or(system.iommu);
    let name = options.machine.as_deref().unwrap_or(machine::for_choice(choice));
    let machine = named.map_or_else(|| Machine::named(name), Ok)?;
    let qemu = machine.qemu()?;
    for notice in &system.notices {
        eprintln!("note: {notice}");
    }
    let config = config(options, machine, choice, &system, &ports)?;
    eprintln!("booting on {name}: {} (QEMU {}, emulated CPU)", config.machine.about, qemu.version);
    let vm = Vm::start(&qemu, &config)?;
    let command = vm.command().to_vec();
    let (outcome, session) = Session::new(options, &system, ports).watch(vm)?;
    if let Some(file) = json {
        result::write(file, &session.status, session.ready.as_ref(), &command)?;
    }
    Ok(session.verdict(&outcome))
}

/// Opens a result file before the long work, so that a wrong name is told at once.
fn writable(path: &std::path::Path) -> Result<File> {
    File::create(path).with_context(|| format!("cannot write {}", path.display()))
}

fn config(
    options: &RunOptions,
    machine: Machine,
    choice: Option<IommuChoice>,
    system: &System,
    ports: &Ports,
) -> Result<Config> {
    let mut extra = Vec::new();
    if let Some(file) = &options.pcap {
        let file = std::path::absolute(file)?;
        let file = file
            .to_str()
            .filter(|name| !name.contains(','))
            .context("QEMU cannot write a file of that name")?;
        extra.extend(["-object".into(), format!("filter-dump,id=capture,netdev=n0,file={file}")]);
    }
    if options.gdb {
        let port = free_tcp_port()?;
        extra.extend(["-S".into(), "-gdb".into(), format!("tcp:127.0.0.1:{port}")]);
        eprintln!(
            "waiting for a debugger: gdb {} -ex 'target remote 127.0.0.1:{port}'",
            workspace::shown(&system.kernel)
        );
    }
    for number in 0..system.edus {
        extra.extend(edu(number));
    }
    Ok(Config {
        machine,
        accelerator: EMULATED,
        memory: options.memory.clone(),
        cpus: options.system.cpus,
        kernel: system.kernel.clone(),
        bundle: system.bundle.clone(),
        append: choice.map_or(String::new(), |choice| format!("iommu={}", choice.word())),
        networks: vec![ports.netdev()],
        disks: options.disk.iter().map(|file| image(file)).collect::<Result<_>>()?,
        extra,
        observer: None,
    })
}

/// A disk's image, which must be there: QEMU would say so less clearly.
fn image(file: &std::path::Path) -> Result<std::path::PathBuf> {
    file.canonicalize().with_context(|| format!("there is no disk image {}", file.display()))
}

/// gdb's customary port, else any.
fn free_tcp_port() -> Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:1234").or_else(|_| TcpListener::bind("127.0.0.1:0"))?;
    Ok(listener.local_addr()?.port())
}

/// What is known about the running machine.
struct Session {
    ports: Ports,
    deadline: Option<Instant>,
    is_serial: bool,
    symbols: Symbols,
    lines: Lines,
    live: Live,
    ready: Option<Ready>,
    status: Status,
    is_asked_to_end: bool,
}

impl Session {
    fn new(options: &RunOptions, system: &System, ports: Ports) -> Session {
        Session {
            ports,
            deadline: options.timeout.map(|seconds| Instant::now() + Duration::from_secs(seconds)),
            is_serial: options.serial,
            symbols: Symbols::new(system),
            lines: Lines::default(),
            live: Live::new(!options.serial),
            ready: None,
            status: Status::default(),
            is_asked_to_end: false,
        }
    }

    /// Follows the machine to its end.
    fn watch(mut self, vm: Vm) -> Result<(Outcome, Session)> {
        let stop = vm.sender();
        // A receiver that is gone has nothing left to stop.
        ctrlc::set_handler(move || stop.send(Event::Stop).unwrap_or(())).context("cannot catch Ctrl-C")?;
        let terminal = self.is_serial.then(|| terminal::attach(&vm)).transpose()?;
        let mut is_listening = false;
        loop {
            if let Some(terminal) = terminal.as_ref().filter(|_| self.ready.is_some() && !is_listening) {
                terminal.listen()?;
                is_listening = true;
            }
            if self.deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                break;
            }
            match vm.next(TICK) {
                Some(Event::Ended) => {
                    self.end_of_output();
                    return Ok((vm.outcome(), self));
                }
                Some(Event::Stop) => break,
                Some(event) => self.see(event),
                None => {}
            }
        }
        self.is_asked_to_end = true;
        let outcome = vm.power_off(|event| self.see(event));
        self.end_of_output();
        Ok((outcome, self))
    }

    fn see(&mut self, event: Event) {
        match event {
            Event::Console(bytes) => self.see_console(&bytes),
            Event::Report(Report::Ready(ready)) => self.see_ready(ready),
            Event::Report(Report::Status(status)) => {
                self.status = status;
                if self.ready.is_some() {
                    self.live.show(&self.status);
                }
            }
            Event::Garbled(line) => self.live.print(&format!("not a report: {}", without_escapes(&line))),
            Event::Report(Report::Samples(_) | Report::Audit(_) | Report::End { .. })
            | Event::Ended
            | Event::Stop => {}
        }
    }

    fn see_console(&mut self, bytes: &[u8]) {
        if self.is_serial {
            terminal::show(bytes);
        }
        for line in self.lines.push(bytes) {
            self.see_line(&line);
        }
    }

    /// A backtrace is explained in its place; on an attached console, after it.
    fn see_line(&mut self, line: &str) {
        match self.symbols.explain(line) {
            Some(explained) => explained.iter().for_each(|line| self.live.print(line)),
            None if self.is_serial => {}
            None => self.see_log_line(&without_escapes(line)),
        }
    }

    /// Without the console's prompt, and without our own typing after it: nobody here is at the console.
    fn see_log_line(&mut self, line: &str) {
        match line.strip_prefix(PROMPT).unwrap_or(line) {
            "" | POWER_OFF => {}
            line => self.live.print(line),
        }
    }

    fn see_ready(&mut self, ready: Ready) {
        let boot_ms = ready.boot_ns / 1_000_000;
        self.live
            .print(&format!("ready: {} CPU(s), IOMMU {}, booted in {boot_ms} ms", ready.cpus, ready.iommu));
        for greeting in self.ports.greetings() {
            self.live.print(&format!("in another terminal:  {greeting}"));
        }
        self.ready = Some(ready);
    }

    fn end_of_output(&mut self) {
        let rest = self.lines.take();
        if !rest.is_empty() {
            self.see_line(&rest);
        }
        self.live.finish();
    }

    fn verdict(&self, outcome: &Outcome) -> ExitCode {
        match outcome {
            Outcome::Success => return ExitCode::SUCCESS,
            // The end was asked for: applications that are still running are no failure, nor is an earlier one
            // that the supervisor dealt with.
            Outcome::ApplicationFailed if self.is_asked_to_end => return ExitCode::SUCCESS,
            Outcome::Unresponsive if self.ready.is_some() => {
                eprintln!("weir: the guest did not switch itself off in time and was ended");
                return ExitCode::SUCCESS;
            }
            Outcome::Unresponsive => eprintln!("weir: the guest was not ready when it was ended"),
            Outcome::ApplicationFailed => eprintln!("weir: an application failed"),
            Outcome::Panic => eprintln!("weir: the kernel panicked"),
            Outcome::Other(what) => eprintln!("weir: {what}"),
        }
        ExitCode::FAILURE
    }
}
