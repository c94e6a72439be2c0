//! The supervisor's loop: one event for everything that happens, one deadline for everything that is due.
//!
//! **Invariant: the event's counter is read before looking for work**, so whatever happens meanwhile ends the
//! sleep. Nothing here blocks on an application.

use alloc::string::String;
use alloc::vec::Vec;

use weir_abi::Error;
use weir_abi::device::DeviceInfo;
use weir_abi::info::{FaultInfo, SystemInfo};
use weir_abi::manifest::{Manifest, WhenDone};
use weir_board::Snapshot;
use weir_init_logic::select::position;
use weir_init_logic::{report, snapshot};
use weir_rt::clock::now_ns;
use weir_rt::system::REPORTS;
use weir_rt::{Event, System, log};

use crate::app::App;
use crate::board::Board;
use crate::channels::Channels;
use crate::console::Console;
use crate::devices::{Devices, HandOver};
use crate::launch::Launcher;
use crate::sample::Sample;
use crate::slots::Slots;

/// Time between status reports.
const STATUS_NS: u64 = 1_000_000_000;
/// Power-off code: all is well.
const CODE_WELL: u64 = 0x10;
/// Power-off code: an application failed.
const CODE_FAILED: u64 = 0x11;

/// The supervisor's state.
pub(crate) struct Supervisor {
    pub(crate) system: System,
    pub(crate) devices: Devices,
    pub(crate) slots: Slots,
    channels: Channels,
    pub(crate) apps: Vec<App>,
    pub(crate) console: Console,
    /// What was counted a second ago, and at the last tick.
    pub(crate) samples: [Sample; 2],
    /// The console said so.
    pub(crate) is_power_off_wanted: bool,
    /// What applications are told, where one of them sees it.
    board: Option<Board>,
    pub(crate) files: &'static [u8],
    when_done: WhenDone,
    /// Signalled by ending processes and by the console.
    wake: Event,
    next_status_ns: u64,
    /// Every application was started once, and that is reported.
    is_ready: bool,
    pub(crate) hand_overs: Vec<HandOver>,
}

impl Supervisor {
    /// Prepares; starts nothing yet.
    pub(crate) fn new(system: System, files: &'static [u8], manifest: Manifest) -> Result<Supervisor, Error> {
        let wake = Event::create()?;
        system.watch_console(&wake)?;
        system.watch_pci(&wake)?;
        let channels = Channels::create(&manifest)?;
        let apps: Vec<App> = manifest.apps.into_iter().map(App::new).collect();
        let sees_status = apps.iter().any(|app| app.manifest.sees_status);
        let board = sees_status.then(Board::create).transpose()?;
        Ok(Supervisor {
            system,
            slots: Slots::find(system),
            channels,
            devices: Devices::open(system, manifest.unsafe_no_iommu, &wake),
            samples: [Sample::take(system, &apps), Sample::take(system, &apps)],
            apps,
            console: Console::new(system),
            is_power_off_wanted: false,
            board,
            files,
            when_done: manifest.when_done,
            wake,
            next_status_ns: 0,
            is_ready: false,
            hand_overs: Vec::new(),
        })
    }

    /// Runs the system; gives the code to power off with.
    pub(crate) fn run(mut self) -> u64 {
        for index in 0..self.apps.len() {
            if !self.is_asked_for(index) {
                self.start(index);
            }
        }
        loop {
            let seen = self.wake.count();
            self.look_around();
            self.tell_ready();
            if self.is_power_off_wanted || self.is_done() {
                return self.finish();
            }
            // It counted, or something is due: look around either way.
            let _ = self.wake.wait(seen, self.next_deadline_ns());
        }
    }

    /// Does everything that there is to do now.
    fn look_around(&mut self) {
        self.slots.look(self.system);
        if self.devices.look(self.system, &self.wake) {
            self.apps.iter_mut().for_each(App::try_again);
        }
        self.apps.iter_mut().for_each(|app| app.reap(false));
        for index in 0..self.apps.len() {
            if self.apps[index].take_due(now_ns()) {
                self.start(index);
            }
            self.start_awaiting(index);
        }
        self.channels.look(&self.apps);
        self.end_hand_overs();
        // One line at a time: another may be there already, which the counter will not tell again.
        while let Some(line) = self.read_line() {
            self.obey(&line);
        }
        if now_ns() >= self.next_status_ns {
            self.next_status_ns = now_ns().saturating_add(STATUS_NS);
            self.samples.swap(0, 1);
            self.samples[1] = Sample::take(self.system, &self.apps);
            self.report_status();
            self.hear_requests();
            self.publish();
        }
    }

    /// Reports once that every application was started.
    fn tell_ready(&mut self) {
        if !self.is_ready && !self.apps.iter().any(App::awaits_devices) {
            self.is_ready = true;
            self.report(&report::ready(&self.system_info()));
            self.console.prompt();
        }
    }

    /// Gives devices that are reset to the applications that they were promised to.
    fn end_hand_overs(&mut self) {
        let Supervisor { devices, apps, hand_overs, .. } = self;
        hand_overs.retain(|hand_over| {
            let receiver = apps.iter().find(|app| app.info().is_some_and(|info| info.id == hand_over.to));
            let place = hand_over.place;
            let Some((app, life)) = receiver.and_then(|app| Some((app, app.life()?))) else {
                log!("{place} is nobody's: who was to get it has ended");
                return false;
            };
            match devices.end_hand_over(hand_over, &life.process) {
                None => return true,
                Some(Ok(())) => log!("{place} was handed over to {}", app.name()),
                Some(Err(error)) => log!("{place} was not handed over to {}: {error}", app.name()),
            }
            false
        });
    }

    /// A line from the console, unless the machine is about to end or not everything was started.
    fn read_line(&mut self) -> Option<String> {
        if self.is_power_off_wanted || !self.is_ready {
            return None;
        }
        self.console.read_line().unwrap_or_else(|error| {
            log!("the console cannot be read: {error}");
            None
        })
    }

    /// Whether it is started when another application asks for it, and not before.
    fn is_asked_for(&self, index: usize) -> bool {
        let name = self.apps[index].name();
        self.apps.iter().any(|app| app.manifest.may_start.as_deref() == Some(name))
    }

    /// Starts what applications ask for that may, unless it runs.
    fn hear_requests(&mut self) {
        for asking in 0..self.apps.len() {
            if !self.apps[asking].asks() {
                continue;
            }
            let wanted = self.apps[asking].manifest.may_start.as_deref();
            let Some(index) = self.apps.iter().position(|app| Some(app.name()) == wanted) else { continue };
            if self.apps[index].is_unborn() {
                self.start(index);
            } else if self.apps[index].life().is_none() {
                self.apps[index].start_now();
            }
        }
    }

    /// Tells applications how the machine is.
    fn publish(&mut self) {
        // Taken out, so that the rest can be read meanwhile.
        if let Some(mut board) = self.board.take() {
            board.publish(&self.snapshot());
            self.board = Some(board);
        }
    }

    /// How the machine is.
    fn snapshot(&self) -> Snapshot {
        let system = self.system_info();
        let infos = self.devices.infos();
        let name = |id| (id != 0).then(|| self.process_name(id));
        let promised = |app: &App| -> Vec<u32> {
            let grants = app.manifest.devices.iter();
            grants.filter_map(|grant| Some(infos[position(&infos, grant.select)?].address)).collect()
        };
        let all_promised: Vec<u32> = self.apps.iter().flat_map(promised).collect();
        let is_shown =
            |info: &&DeviceInfo| info.owner != 0 || info.faults > 0 || all_promised.contains(&info.address);
        let numbers = system.faults.saturating_sub(snapshot::FAULTS_SHOWN)..system.faults;
        let faults = numbers.rev().filter_map(|number| Some((number, self.system.info(number).ok()?)));
        let owner = |app: &App| snapshot::owner(&app.status(), app.info().as_ref(), promised(app));
        Snapshot {
            startable: self.apps.iter().find_map(|app| app.manifest.may_start.clone()),
            owners: self.apps.iter().map(owner).collect(),
            devices: infos
                .iter()
                .filter(is_shown)
                .map(|info| snapshot::device(info, name(info.owner)))
                .collect(),
            cpus: self.samples[1].cpus.iter().map(snapshot::cpu).collect(),
            last_faults: faults
                .map(|(number, info): (u64, FaultInfo)| snapshot::fault(number, &info, name(info.owner)))
                .collect(),
            ..snapshot::machine(&system)
        }
    }

    /// Has an application's devices reset; it starts when they are.
    fn start(&mut self, index: usize) {
        self.devices.prepare(&self.apps[index].manifest.devices);
        self.apps[index].await_devices();
        self.start_awaiting(index);
    }

    /// Starts an application whose devices are reset. First lives begin in the manifest's order, so that of two that ask
    /// for one device it is the first that gets it, however long its resets take.
    fn start_awaiting(&mut self, index: usize) {
        let app = &self.apps[index];
        let is_its_turn = !self.apps[..index].iter().any(App::awaits_first_life);
        if app.awaits_devices() && is_its_turn && !self.devices.are_resetting(&app.manifest.devices) {
            self.launch(index);
        }
    }

    /// Starts an application, or says why not.
    fn launch(&mut self, index: usize) {
        let Supervisor { system, files, devices, channels, board, wake: ended, apps, .. } = self;
        let app = &mut apps[index];
        let board = board.as_ref();
        let launcher = Launcher { system: *system, files, devices, channels, board, ended };
        match launcher.launch(index, &app.manifest, app.program(), app.restarts()) {
            Ok(life) => app.begin(life),
            Err(error) => {
                log!("app {} is not started: {error}", app.name());
                app.refuse(error.is_of_device());
            }
        }
    }

    fn is_done(&self) -> bool {
        self.when_done == WhenDone::PowerOff && self.apps.iter().all(App::is_done)
    }

    fn next_deadline_ns(&self) -> u64 {
        self.apps.iter().filter_map(App::due_ns).chain([self.next_status_ns]).min().unwrap_or(u64::MAX)
    }

    /// Sends the last reports.
    fn finish(&self) -> u64 {
        let code = if self.apps.iter().any(App::has_failed) { CODE_FAILED } else { CODE_WELL };
        self.report_status();
        self.report(&report::end(code));
        code
    }

    /// The machine's state.
    pub(crate) fn system_info(&self) -> SystemInfo {
        // The record exists in every kernel of this interface version; zeros would be seen in the reports.
        self.system.info(0).unwrap_or_default()
    }

    /// Sends a status report.
    pub(crate) fn report_status(&self) {
        self.report(&report::status(&self.system_info(), self.apps.iter().map(App::status)));
    }

    /// Sends a line to the machine-readable port.
    pub(crate) fn report(&self, line: &str) {
        // A machine without a second serial port has nobody who listens.
        let _ = self.system.write_console(REPORTS, line.as_bytes());
    }
}
