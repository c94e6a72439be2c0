//! A running machine: QEMU, its two serial ports and its control socket.
//!
//! **Invariant: dropping a [`Vm`] ends its QEMU.** Where this process is killed, the kernel ends QEMU
//! ([`crate::child`]). The sockets are abstract ones: they have no file that could stay behind. Only a
//! process of the same user gets a connection.
//!
//! Reading order: [`config`] (the command line) · [`socket`] · [`lines`] · [`qmp`] · [`symbols`] (backtraces) ·
//! [`observer`] (counts from outside).

pub mod config;
mod lines;
pub mod observer;
mod qmp;
mod socket;
pub mod symbols;

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::process::{Child, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

pub use config::Config;
pub use lines::{Lines, without_escapes};

use crate::report::Report;
use crate::tools::Qemu;
use observer::Observer;
use qmp::Qmp;
use socket::Listener;

/// The console's command that ends the machine.
pub const POWER_OFF: &str = "poweroff";
/// How long QEMU may take to open its sockets.
const START_LIMIT: Duration = Duration::from_secs(30);
/// How long the guest may take to switch itself off.
const POWER_OFF_LIMIT: Duration = Duration::from_secs(5);
/// How long QEMU may take to end when told to.
const QUIT_LIMIT: Duration = Duration::from_secs(2);

/// Something happened.
#[derive(Debug)]
pub enum Event {
    /// The guest wrote to its console.
    Console(Vec<u8>),
    /// The guest reported.
    Report(Report),
    /// The guest wrote a line to the report port that is no report.
    Garbled(String),
    /// QEMU ended.
    Ended,
    /// Somebody outside asks for the end ([`Vm::sender`]).
    Stop,
}

/// How a machine ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The guest switched it off; every application that ended had succeeded.
    Success,
    /// The guest switched it off; an application had failed.
    ApplicationFailed,
    /// The kernel panicked.
    Panic,
    /// We ended it, because the guest did not switch it off in time.
    Unresponsive,
    /// Anything else, in words.
    Other(String),
}

impl Outcome {
    fn of(status: ExitStatus, complaint: &str) -> Outcome {
        // isa-debug-exit ends QEMU with `value << 1 | 1`.
        match status.code() {
            Some(0x21) => Outcome::Success,
            Some(0x23) => Outcome::ApplicationFailed,
            Some(0x41) => Outcome::Panic,
            // With -no-reboot, a triple fault is an orderly end of QEMU.
            Some(0) => Outcome::Other("the machine reset (triple fault?)".into()),
            _ => Outcome::Other(format!("QEMU ended with {status}: {}", complaint.trim())),
        }
    }
}

/// A running machine.
pub struct Vm {
    child: Child,
    command: Vec<String>,
    console: UnixStream,
    qmp: Qmp,
    observer: Option<Observer>,
    events: Receiver<Event>,
    sender: Sender<Event>,
    complaint: thread::JoinHandle<String>,
}

impl Vm {
    /// Starts `qemu` as `config` says.
    ///
    /// # Errors
    /// QEMU does not start or refuses its options; the message is QEMU's.
    pub fn start(qemu: &Qemu, config: &Config) -> Result<Vm> {
        let (console, report, control) = (Listener::new()?, Listener::new()?, Listener::new()?);
        let mut arguments = config.arguments(console.name(), report.name(), control.name());
        let watching = config.observer.as_ref().map(|_| Listener::new()).transpose()?;
        if let (Some(plugin), Some(watching)) = (&config.observer, &watching) {
            arguments.extend(["-plugin".into(), observer::argument(plugin, watching.name())]);
        }
        let mut command = qemu.command();
        command.args(&arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        // In a process group of its own, so that Ctrl-C reaches us and not QEMU.
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut child = command.spawn().with_context(|| format!("cannot start {}", qemu.path.display()))?;
        let complaint = tail(child.stderr.take().context("piped above")?);
        let listeners = (&console, &report, &control, watching.as_ref());
        let (console, report, qmp, observer) = match connect(listeners, &mut child) {
            Ok(connections) => connections,
            Err(error) => {
                end(&mut child);
                let said = complaint.join().unwrap_or_default();
                bail!("QEMU did not start: {}", said.lines().last().unwrap_or(&error.to_string()));
            }
        };
        let (sender, events) = channel();
        let reports = listen_reports(report, sender.clone());
        listen_console(console.try_clone()?, sender.clone(), reports);
        let words = std::iter::once(qemu.path.display().to_string()).chain(arguments);
        Ok(Vm { child, command: words.collect(), console, qmp, observer, events, sender, complaint })
    }

    /// QEMU's process number.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The command line that started it.
    #[must_use]
    pub fn command(&self) -> &[String] {
        &self.command
    }

    /// For those who want to interrupt [`Vm::next`].
    #[must_use]
    pub fn sender(&self) -> Sender<Event> {
        self.sender.clone()
    }

    /// The console, to write to from another thread.
    ///
    /// # Errors
    /// The system has no more file descriptors.
    pub fn console(&self) -> Result<UnixStream> {
        Ok(self.console.try_clone()?)
    }

    /// The next event, or `None` when `limit` has passed.
    pub fn next(&self, limit: Duration) -> Option<Event> {
        match self.events.recv_timeout(limit) {
            Ok(event) => Some(event),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => Some(Event::Ended),
        }
    }

    /// Types `text` at the guest's console.
    ///
    /// # Errors
    /// QEMU has ended.
    pub fn type_text(&mut self, text: &str) -> Result<()> {
        self.console.write_all(text.as_bytes()).context("the guest's console is closed")
    }

    /// Plugs a device in: the arguments of QEMU's `device_add`.
    ///
    /// # Errors
    /// QEMU refuses.
    pub fn device_add(&mut self, device: &Value) -> Result<()> {
        self.qmp.execute("device_add", device).map(drop)
    }

    /// Asks for a device's removal: presses the attention button of its slot.
    ///
    /// # Errors
    /// QEMU refuses: there is none, or its removal was asked for before.
    pub fn device_del(&mut self, id: &str) -> Result<()> {
        self.qmp.execute("device_del", &json!({ "id": id })).map(drop)
    }

    /// Pulls the cable of a network back end or device, or plugs it in.
    ///
    /// # Errors
    /// QEMU refuses: there is none.
    pub fn set_link(&mut self, name: &str, up: bool) -> Result<()> {
        self.qmp.execute("set_link", &json!({ "name": name, "up": up })).map(drop)
    }

    /// Waits until a device has left its slot.
    ///
    /// # Errors
    /// It did not within `limit`.
    pub fn wait_deleted(&mut self, id: &str, limit: Duration) -> Result<()> {
        self.qmp.wait_event("DEVICE_DELETED", id, limit)
    }

    /// What was counted from outside so far, one per CPU.
    ///
    /// # Errors
    /// The machine was started without an observer, or has ended.
    pub fn observe(&mut self) -> Result<Vec<observer::Cpu>> {
        self.observer.as_mut().context("nobody counts from outside")?.ask()
    }

    /// Where a machine that fell silent stands: each CPU's program counter, stack and their segments, and how long QEMU has computed. For people, as
    /// well as QEMU still answers.
    pub fn whereabouts(&mut self) -> String {
        let question = json!({ "command-line": "info registers -a" });
        let said = self.qmp.execute("human-monitor-command", &question);
        let registers = said.as_ref().ok().and_then(Value::as_str).unwrap_or("QEMU does not answer");
        let is_telling = |line: &&str| {
            ["CPU#", "RIP=", "EIP=", "RSI=", "ESI=", "CS =", "SS ="].iter().any(|word| line.starts_with(word))
        };
        let places: Vec<&str> = registers.lines().filter(is_telling).map(str::trim).collect();
        let ticks = std::fs::read_to_string(format!("/proc/{}/stat", self.id())).unwrap_or_default();
        let used: u64 = ticks
            .rsplit_once(')')
            // User and system time, in hundredths of a second (proc(5)).
            .map_or(0, |(_, rest)| {
                rest.split(' ').skip(12).take(2).filter_map(|n| n.parse::<u64>().ok()).sum()
            });
        format!("QEMU has computed for {used}0 ms; {}", places.join(" "))
    }

    /// Asks the guest to switch the machine off, and ends it when it does not; events until then go to `see`.
    pub fn power_off(mut self, mut see: impl FnMut(Event)) -> Outcome {
        let deadline = Instant::now() + POWER_OFF_LIMIT;
        // A failure to type means that QEMU has ended; the loop sees that.
        let _ = self.type_text(&format!("\r{POWER_OFF}\r"));
        while let Some(left) = deadline.checked_duration_since(Instant::now()) {
            match self.next(left) {
                Some(Event::Ended) => return self.outcome(),
                Some(event) => see(event),
                None => break,
            }
        }
        self.quit();
        Outcome::Unresponsive
    }

    /// How it ended; waits for a QEMU that has closed its sockets.
    pub fn outcome(mut self) -> Outcome {
        let status = wait(&mut self.child, QUIT_LIMIT);
        end(&mut self.child);
        let complaint = std::mem::replace(&mut self.complaint, thread::spawn(String::new));
        let complaint = complaint.join().unwrap_or_default();
        match status {
            Some(status) => Outcome::of(status, &complaint),
            None => Outcome::Other("QEMU closed its sockets and did not end".into()),
        }
    }

    fn quit(&mut self) {
        if self.qmp.quit().is_err() || wait(&mut self.child, QUIT_LIMIT).is_none() {
            end(&mut self.child);
        }
    }
}

impl Drop for Vm {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

/// Waits for QEMU's connections, and until it has set up the machine.
fn connect(
    (console, report, control, watching): (&Listener, &Listener, &Listener, Option<&Listener>),
    child: &mut Child,
) -> Result<(UnixStream, UnixStream, Qmp, Option<Observer>)> {
    let deadline = Instant::now() + START_LIMIT;
    let mut accept = |listener: &Listener| loop {
        if let Some(stream) = listener.accept()? {
            return Ok(stream);
        }
        if let Some(status) = child.try_wait()? {
            bail!("{status}");
        }
        if Instant::now() > deadline {
            bail!("it opened no socket within {} s", START_LIMIT.as_secs());
        }
        thread::sleep(Duration::from_millis(2));
    };
    let (console, report, control) = (accept(console)?, accept(report)?, accept(control)?);
    let observer = watching.map(|watching| Observer::new(accept(watching)?)).transpose()?;
    Ok((console, report, Qmp::connect(control, START_LIMIT)?, observer))
}

fn listen_console(mut console: UnixStream, events: Sender<Event>, reports: thread::JoinHandle<()>) {
    thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(bytes @ 1..) = console.read(&mut buffer) {
            if events.send(Event::Console(buffer[..bytes].to_vec())).is_err() {
                return;
            }
        }
        // The end is the last event: what was reported before it has been sent. Nobody may be left to hear it.
        let _ = reports.join();
        let _ = events.send(Event::Ended);
    });
}

fn listen_reports(mut port: UnixStream, events: Sender<Event>) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        let mut lines = Lines::default();
        let mut buffer = [0; 4096];
        while let Ok(bytes @ 1..) = port.read(&mut buffer) {
            for line in lines.push(&buffer[..bytes]) {
                let event = match serde_json::from_str(&line) {
                    Ok(report) => Event::Report(report),
                    Err(_) => Event::Garbled(line),
                };
                if events.send(event).is_err() {
                    return;
                }
            }
        }
    })
}

/// Collects the last that `source` says.
fn tail(mut source: impl Read + Send + 'static) -> thread::JoinHandle<String> {
    const KEPT: usize = 8192;
    thread::spawn(move || {
        let mut text = Vec::new();
        let mut buffer = [0; 1024];
        while let Ok(bytes @ 1..) = source.read(&mut buffer) {
            text.extend_from_slice(&buffer[..bytes]);
            text.drain(..text.len().saturating_sub(KEPT));
        }
        String::from_utf8_lossy(&text).into_owned()
    })
}

fn wait(child: &mut Child, limit: Duration) -> Option<ExitStatus> {
    let deadline = Instant::now() + limit;
    loop {
        if let Ok(Some(status)) = child.try_wait() {
            return Some(status);
        }
        if Instant::now() > deadline {
            return None;
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// Kills and reaps it; nothing happens where it has ended.
fn end(child: &mut Child) {
    let _ = child.kill();
    let _ = child.wait();
}
