//! The console's commands, carried out.

use alloc::string::String;
use alloc::vec::Vec;
use alloc::{format, vec};

use weir_abi::Error;
use weir_abi::info::{FaultInfo, GrantInfo, TraceInfo};
use weir_init_logic::command::{Command, HELP, SlotAction};
use weir_init_logic::show;
use weir_init_logic::table::{Align, Table};
use weir_rt::kernel_page;
use weir_rt::system::SlotControl;

use crate::app::App;
use crate::audit;
use crate::launch::find_program;
use crate::sample::Sample;
use crate::supervisor::Supervisor;

/// Faults the kernel keeps.
const FAULTS_KEPT: u64 = 256;
/// Events that `trace` shows.
const TRACE_LINES: usize = 40;
/// Bits by which a CPU's number stands above an event's.
const TRACE_CPU_SHIFT: u32 = 48;
/// Log text read at once.
const LOG_PART_BYTES: usize = 4096;

impl Supervisor {
    /// Carries out a line from the console, shows the answer and the prompt.
    pub(crate) fn obey(&mut self, line: &str) {
        let answer = match Command::parse(line) {
            Ok(command) => self.carry_out(command),
            Err(error) => format!("{error}\n"),
        };
        self.console.print(&answer);
        if !self.is_power_off_wanted {
            self.console.prompt();
        }
    }

    fn carry_out(&mut self, command: Command) -> String {
        match command {
            Command::Nothing => String::new(),
            Command::Help => help(),
            Command::Ps => {
                show::applications(self.apps.iter().map(|app| (app.status(), app.program(), app.info())))
            }
            Command::Lsdev => show::devices(&self.devices.infos(), |id| self.process_name(id)),
            Command::Grants(app) => self.grants(app.as_deref()),
            Command::Faults => {
                let counts = show::fault_counts(&self.system_info(), &self.devices.infos());
                counts + &show::faults(&self.faults(), |id| self.process_name(id))
            }
            Command::Restart(name) => self.restart(&name),
            Command::Kill(name) => self.kill(&name),
            Command::Replace { app, program } => self.replace(&app, program),
            Command::Revoke(place) => self.devices.revoke(&place),
            Command::HandOver { device, app } => self.hand_over(&device, &app),
            Command::Slots => show::slots(self.slots.infos()),
            Command::Slot(number, action) => self.slots.control(self.system, number, operation(action)),
            Command::Log(lines) => format!("{}\n", show::last_lines(&self.log_text(), lines)),
            Command::Trace(cpu) => self.trace(cpu),
            Command::Top => self.top(),
            Command::Report => {
                self.report_status();
                show::counters(self.apps.iter().map(App::status))
            }
            Command::Audit => {
                self.report(&audit::report(self.system, &self.devices.infos(), self.devices.indices()));
                String::new()
            }
            Command::PowerOff => {
                self.is_power_off_wanted = true;
                String::new()
            }
        }
    }

    /// The name of the process with this number.
    pub(crate) fn process_name(&self, id: u32) -> String {
        match self.apps.iter().find(|app| app.was_process(id)) {
            Some(app) => app.name().into(),
            None if id == kernel_page().process_id => "init".into(),
            None => format!("process {id}"),
        }
    }

    fn grants(&self, only: Option<&str>) -> String {
        let own = ("init", kernel_page().process_id);
        let apps = self.apps.iter().filter_map(|app| Some((app.name(), app.info()?.id)));
        let holders: Vec<_> =
            apps.chain([own]).filter(|(name, _)| only.is_none_or(|only| only == *name)).collect();
        if let (Some(only), []) = (only, holders.as_slice()) {
            return not_running(only);
        }
        show::grants(holders.iter().flat_map(|(name, id)| {
            let first = u64::from(*id) << 32;
            let records = (first..).map_while(|index| self.system.info::<GrantInfo>(index).ok());
            records.map(|grant| (*name, grant))
        }))
    }

    fn faults(&self) -> Vec<FaultInfo> {
        let end = self.system_info().faults;
        // One may be overwritten meanwhile: it is not shown.
        (end.saturating_sub(FAULTS_KEPT)..end).filter_map(|number| self.system.info(number).ok()).collect()
    }

    fn restart(&mut self, name: &str) -> String {
        let Some(app) = self.apps.iter_mut().find(|app| app.name() == name) else {
            return unknown(name);
        };
        // `Gone`: it has ended by itself.
        let _ = app.life().map(|life| life.process.kill());
        app.reap(true);
        app.start_now();
        format!("starting {name}\n")
    }

    fn kill(&mut self, name: &str) -> String {
        let Some(app) = self.apps.iter().find(|app| app.name() == name) else {
            return unknown(name);
        };
        match app.life().map(|life| life.process.kill()) {
            Some(Ok(())) => format!("killed {name}\n"),
            None | Some(Err(Error::Gone)) => not_running(name),
            Some(Err(error)) => format!("{name} cannot be killed: {error}\n"),
        }
    }

    /// Ends a running application and starts another program in its place: with the same grants, and devices that are reset
    /// in between. The old one runs on where that cannot be.
    fn replace(&mut self, name: &str, program: String) -> String {
        let files = self.files;
        let Some(app) = self.apps.iter_mut().find(|app| app.name() == name) else {
            return unknown(name);
        };
        if !app.may_become(&program) {
            return format!(
                "`{name}` cannot become `{program}`; its manifest entry says what: `replacements`\n"
            );
        }
        if let Err(error) = find_program(files, &program) {
            return format!("`{name}` stays `{}`: {error}\n", app.program());
        }
        match app.life().map(|life| life.process.kill()) {
            Some(Ok(())) => {}
            None | Some(Err(Error::Gone)) => return not_running(name),
            Some(Err(error)) => return format!("{name} cannot be killed: {error}\n"),
        }
        app.reap(true);
        let answer = format!("{name}: `{program}` takes the place of `{}`\n", app.program());
        app.set_program(program);
        app.start_now();
        answer
    }

    /// Takes a device from whoever has it and promises it to a running application.
    fn hand_over(&mut self, place: &str, name: &str) -> String {
        let Some(app) = self.apps.iter().find(|app| app.name() == name) else {
            return unknown(name);
        };
        let Some(info) = app.info() else { return not_running(name) };
        match self.devices.begin_hand_over(place, info.id) {
            Ok(hand_over) => {
                self.hand_overs.push(hand_over);
                format!("{place} is being reset for {name}\n")
            }
            Err(problem) => problem,
        }
    }

    /// All the text that the system log still holds.
    fn log_text(&self) -> String {
        let mut text = Vec::new();
        let (mut from, mut buffer) = (0, vec![0; LOG_PART_BYTES]);
        while let Ok((position, bytes)) = self.system.read_log(from, &mut buffer)
            && bytes > 0
        {
            text.extend_from_slice(&buffer[..bytes]);
            from = position + bytes as u64;
        }
        String::from_utf8_lossy(&text).into_owned()
    }

    fn trace(&self, only: Option<u64>) -> String {
        let cpus = u64::from(self.system_info().cpus);
        if let Some(cpu) = only.filter(|cpu| *cpu >= cpus) {
            return format!("there is no CPU {cpu}; there are {cpus}\n");
        }
        let wanted = only.map_or(0..cpus, |cpu| cpu..cpu + 1);
        let mut events: Vec<_> = wanted.flat_map(|cpu| self.events(cpu)).collect();
        events.sort_by_key(|(_, event)| event.time_ns);
        show::trace(&events[events.len().saturating_sub(TRACE_LINES)..])
    }

    /// The events that one CPU still holds, oldest first.
    fn events(&self, cpu: u64) -> impl Iterator<Item = (u64, TraceInfo)> {
        let system = self.system;
        let mut next = 0;
        core::iter::from_fn(move || {
            let event: TraceInfo = system.info(cpu << TRACE_CPU_SHIFT | next).ok()?;
            next = event.number + 1;
            Some((cpu, event))
        })
    }

    fn top(&self) -> String {
        let (before, now) = (&self.samples[0], Sample::take(self.system, &self.apps));
        let interval_ns = now.time_ns.saturating_sub(before.time_ns);
        let mut text = show::cpus(&before.cpus, &now.cpus, interval_ns);
        text.push('\n');
        text.push_str(&show::load(now.since(before, &self.apps), interval_ns));
        text
    }
}

fn operation(action: SlotAction) -> SlotControl {
    match action {
        SlotAction::Eject => SlotControl::Eject,
        SlotAction::Cut => SlotControl::Cut,
        SlotAction::SwitchOn => SlotControl::SwitchOn,
    }
}

fn help() -> String {
    let mut table = Table::new([("COMMAND", Align::Left), ("WHAT IT DOES", Align::Left)]);
    for (words, meaning) in &HELP {
        table.row([words, meaning]);
    }
    table.render("")
}

fn unknown(name: &str) -> String {
    format!("no application `{name}`; see `ps`\n")
}

fn not_running(name: &str) -> String {
    format!("`{name}` does not run; see `ps`\n")
}
