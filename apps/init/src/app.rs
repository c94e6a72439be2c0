//! One application: its manifest entry, its present life, and what its earlier lives left.
//!
//! **Invariant: at most one life at a time; counters of ended lives are added up exactly once.**

use alloc::string::String;
use core::sync::atomic::Ordering;

use weir_abi::info::ProcessInfo;
use weir_abi::manifest;
use weir_init_logic::backoff::Backoff;
use weir_init_logic::counters::Counters;
use weir_init_logic::ending::Ending;
use weir_init_logic::report::AppStatus;
use weir_rt::clock::now_ns;
use weir_rt::log;

use crate::board::Request;
use crate::launch::Life;

/// An application.
pub(crate) struct App {
    pub(crate) manifest: manifest::App,
    /// The program of its next life, and of this one; the manifest's until it is replaced.
    program: String,
    life: Option<Life>,
    /// How its last life ended; `None` until then.
    last: Option<Ending>,
    /// How often it was started again.
    restarts: u32,
    /// Counters of its ended lives.
    earlier: Counters,
    backoff: Backoff,
    /// When it is to be started again.
    due_ns: Option<u64>,
    /// It was refused because a device was not there.
    lacks_device: bool,
    /// It is to be started as soon as its devices are reset.
    awaits_devices: bool,
    /// The number of its last process.
    process: Option<u32>,
}

impl App {
    pub(crate) fn new(manifest: manifest::App) -> App {
        let (earlier, backoff) = (Counters::default(), Backoff::default());
        App {
            program: manifest.program.clone(),
            manifest,
            life: None,
            last: None,
            restarts: 0,
            earlier,
            backoff,
            due_ns: None,
            lacks_device: false,
            awaits_devices: false,
            process: None,
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.manifest.name
    }

    /// The program that it is, or will be.
    pub(crate) fn program(&self) -> &str {
        &self.program
    }

    /// Whether the manifest lets `program` take its place.
    pub(crate) fn may_become(&self, program: &str) -> bool {
        self.manifest.replacements.iter().chain([&self.manifest.program]).any(|name| name == program)
    }

    /// Has its lives from the next on be those of `program`.
    pub(crate) fn set_program(&mut self, program: String) {
        self.program = program;
    }

    pub(crate) fn restarts(&self) -> u32 {
        self.restarts
    }

    pub(crate) fn life(&self) -> Option<&Life> {
        self.life.as_ref()
    }

    /// It is to be started as soon as its devices are reset.
    pub(crate) fn await_devices(&mut self) {
        self.awaits_devices = true;
    }

    /// Whether that is so.
    pub(crate) fn awaits_devices(&self) -> bool {
        self.awaits_devices
    }

    /// Whether that is so for its first life.
    pub(crate) fn awaits_first_life(&self) -> bool {
        self.awaits_devices && self.last.is_none()
    }

    /// Devices came or went: it may be started now where it was refused for want of one.
    pub(crate) fn try_again(&mut self) {
        if self.lacks_device && self.life.is_none() {
            self.due_ns = Some(0);
        }
    }

    /// Records that it was refused; `lacks_device`: for want of a device, which may come.
    pub(crate) fn refuse(&mut self, lacks_device: bool) {
        (self.awaits_devices, self.lacks_device) = (false, lacks_device);
        self.last = Some(Ending::Refused);
    }

    /// Begins a life.
    pub(crate) fn begin(&mut self, life: Life) {
        (self.awaits_devices, self.lacks_device) = (false, false);
        self.life = Some(life);
        self.process = self.info().map(|info| info.id);
    }

    /// Whether it is time for another life; says so once.
    pub(crate) fn take_due(&mut self, now_ns: u64) -> bool {
        let is_due = self.due_ns.is_some_and(|due| due <= now_ns);
        if is_due {
            self.due_ns = None;
            self.restarts += 1;
        }
        is_due
    }

    /// When it is to be started again.
    pub(crate) fn due_ns(&self) -> Option<u64> {
        self.due_ns
    }

    /// Wants another life at once, whatever its policy says.
    pub(crate) fn start_now(&mut self) {
        self.backoff = Backoff::default();
        self.due_ns = Some(0);
        self.awaits_devices = false;
    }

    /// Buries a life that has ended and, unless `is_wanted` (the console ended it), says what follows.
    pub(crate) fn reap(&mut self, is_wanted: bool) {
        let Some(info) = self.info() else { return };
        let Some(ending) = Ending::of(&info) else { return };
        let counters = self.counters();
        let Some(life) = self.life.take() else { return };
        (self.earlier, self.last) = (counters, Some(ending));
        let name = self.name();
        if is_wanted {
            log!("app {name} {ending}");
        } else if ending.is_restarted(self.manifest.restart) {
            let now = now_ns();
            let delay = self.backoff.delay_after(now.saturating_sub(life.started_ns));
            self.due_ns = Some(now.saturating_add(delay));
            match delay / 1_000_000 {
                0 => log!("app {} {ending}; starting it again", self.name()),
                ms => log!("app {} {ending}; starting it again in {ms} ms", self.name()),
            }
        } else {
            log!("app {name} {ending}");
        }
    }

    /// Whether process `id` is its present or last one.
    pub(crate) fn was_process(&self, id: u32) -> bool {
        self.process == Some(id)
    }

    /// Whether it asks now for the application that it may have started.
    pub(crate) fn asks(&mut self) -> bool {
        let request = self.life.as_mut().and_then(|life| life.request.as_mut());
        request.is_some_and(Request::is_heard)
    }

    /// Whether it never ran.
    pub(crate) fn is_unborn(&self) -> bool {
        self.life.is_none() && self.last.is_none()
    }

    /// What the kernel knows about its process.
    pub(crate) fn info(&self) -> Option<ProcessInfo> {
        // An open handle's query cannot fail; without an answer it counts as having none.
        self.life.as_ref().and_then(|life| life.process.info().ok())
    }

    /// Whether it failed and does not run.
    pub(crate) fn has_failed(&self) -> bool {
        self.life.is_none() && !self.last.is_none_or(Ending::is_success)
    }

    /// Whether it has ended for good.
    pub(crate) fn is_done(&self) -> bool {
        self.life.is_none() && self.due_ns.is_none() && !self.awaits_devices
    }

    /// Its counters over all its lives.
    fn counters(&self) -> Counters {
        let Some(life) = &self.life else { return self.earlier };
        let faults = self.info().map_or(0, |info| info.faults);
        self.earlier.plus(Counters::read(&life.stats, faults))
    }

    /// What reports say about it.
    pub(crate) fn status(&self) -> AppStatus<'_> {
        let (state, code) = match (&self.life, self.due_ns, self.last) {
            (Some(_), _, _) => ("running", 0),
            (None, Some(_), Some(ending)) => ("waiting", ending.state().1),
            (None, _, None) => ("waiting", 0),
            (None, None, Some(ending)) if self.awaits_devices => ("waiting", ending.state().1),
            (None, None, Some(ending)) => ending.state(),
        };
        let is_ready = self.life.as_ref().is_some_and(|life| life.stats.ready.load(Ordering::Acquire) == 1);
        let (restarts, counters) = (self.restarts, self.counters());
        AppStatus { name: self.name(), state, code, restarts, is_ready, counters }
    }
}
