//! The console's commands.

use alloc::string::String;

/// A command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Nothing was typed.
    Nothing,
    /// Says what there is.
    Help,
    /// Applications.
    Ps,
    /// PCI functions.
    Lsdev,
    /// Handles, of one application or of all.
    Grants(Option<String>),
    /// Blocked accesses of devices.
    Faults,
    /// Ends an application, if it runs, and starts it.
    Restart(String),
    /// Ends an application; its policy says what follows.
    Kill(String),
    /// Ends an application and starts another program in its place, with the same grants.
    Replace {
        /// Whose place.
        app: String,
        /// The program's name in the bundle.
        program: String,
    },
    /// Takes a device, by its address, away from its owner.
    Revoke(String),
    /// Takes a device from whoever has it and gives it to a running application.
    HandOver {
        /// Its address.
        device: String,
        /// Who gets it.
        app: String,
    },
    /// Hot-plug slots.
    Slots,
    /// Asks something of the slot with this number.
    Slot(u32, SlotAction),
    /// The last lines of the system log.
    Log(usize),
    /// The last events of one CPU or of all.
    Trace(Option<u64>),
    /// What CPUs and applications did in the last second.
    Top,
    /// The applications' counters, here and as a report.
    Report,
    /// Who reaches what, as a report.
    Audit,
    /// Ends the machine.
    PowerOff,
}

/// What can be asked of a hot-plug slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlotAction {
    /// Take its device from its owners, and switch it off.
    Eject,
    /// Switch it off under them.
    Cut,
    /// Use the device in it.
    SwitchOn,
}

/// What is wrong with a line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CommandError {
    /// No such command.
    #[error("unknown command `{0}`; try `help`")]
    Unknown(String),
    /// Wrong number of words, or not a number.
    #[error("usage: {0}")]
    Usage(&'static str),
}

/// Lines that `log` shows unless told.
const LOG_LINES: usize = 20;

/// Words and meaning of every command, in the order of `help`.
pub const HELP: [(&str, &str); 21] = [
    ("help", "this list"),
    ("ps", "applications: state, memory, CPU time"),
    ("lsdev", "PCI functions and their owners"),
    ("grants [APP]", "what applications hold"),
    ("faults", "accesses of devices that the IOMMU blocked"),
    ("restart APP", "end an application and start it again"),
    ("kill APP", "end an application; its policy says what follows"),
    ("replace APP PROGRAM", "end an application and start another program in its place"),
    ("revoke DEVICE", "take a device (an address of `lsdev`) away from its owner"),
    ("handover DEVICE APP", "give a device to a running application"),
    ("slots", "hot-plug slots"),
    ("eject SLOT", "take a slot's device from its owners and switch the slot off"),
    ("cut SLOT", "switch a slot off under its device's owners, as if it were pulled out"),
    ("switch-on SLOT", "use the device in a slot that is off"),
    ("log [LINES]", "the end of the system log"),
    ("trace [CPU]", "the last events inside the kernel"),
    ("top", "what CPUs and applications did in the last second"),
    ("report", "packet counters, also sent to the report port"),
    ("audit", "who reaches which memory, registers and interrupts, sent to the report port"),
    ("poweroff", "end the machine"),
    ("", "Ctrl-C clears the line"),
];

impl Command {
    /// Understands a line.
    ///
    /// # Errors
    /// Unknown command, wrong usage.
    pub fn parse(line: &str) -> Result<Command, CommandError> {
        let mut words = line.split_ascii_whitespace();
        let Some(name) = words.next() else { return Ok(Command::Nothing) };
        let (first, second) = (words.next(), words.next());
        let plain = |command, usage| match first {
            None => Ok(command),
            Some(_) => Err(CommandError::Usage(usage)),
        };
        let usage = |usage| CommandError::Usage(usage);
        let one = |usage: &'static str| match (first, second) {
            (Some(word), None) => Ok(String::from(word)),
            _ => Err(CommandError::Usage(usage)),
        };
        match name {
            "help" => plain(Command::Help, "help"),
            "ps" => plain(Command::Ps, "ps"),
            "lsdev" => plain(Command::Lsdev, "lsdev"),
            "grants" if second.is_none() => Ok(Command::Grants(first.map(String::from))),
            "grants" => Err(usage("grants [APP]")),
            "faults" => plain(Command::Faults, "faults"),
            "restart" => one("restart APP").map(Command::Restart),
            "kill" => one("kill APP").map(Command::Kill),
            "replace" => match (first, second, words.next()) {
                (Some(app), Some(program), None) => {
                    Ok(Command::Replace { app: app.into(), program: program.into() })
                }
                _ => Err(usage("replace APP PROGRAM")),
            },
            "revoke" => one("revoke DEVICE").map(Command::Revoke),
            "handover" => match (first, second, words.next()) {
                (Some(device), Some(app), None) => {
                    Ok(Command::HandOver { device: device.into(), app: app.into() })
                }
                _ => Err(usage("handover DEVICE APP")),
            },
            "slots" => plain(Command::Slots, "slots"),
            "eject" => slot(first, second, SlotAction::Eject, "eject SLOT"),
            "cut" => slot(first, second, SlotAction::Cut, "cut SLOT"),
            "switch-on" => slot(first, second, SlotAction::SwitchOn, "switch-on SLOT"),
            "log" if second.is_none() => {
                number(first, "log [LINES]").map(|lines| Command::Log(lines.unwrap_or(LOG_LINES)))
            }
            "log" => Err(usage("log [LINES]")),
            "trace" if second.is_none() => number(first, "trace [CPU]").map(Command::Trace),
            "trace" => Err(usage("trace [CPU]")),
            "top" => plain(Command::Top, "top"),
            "report" => plain(Command::Report, "report"),
            "audit" => plain(Command::Audit, "audit"),
            "poweroff" => plain(Command::PowerOff, "poweroff"),
            _ => Err(CommandError::Unknown(name.into())),
        }
    }
}

/// A command about the slot whose number is `first`.
fn slot(
    first: Option<&str>,
    second: Option<&str>,
    action: SlotAction,
    usage: &'static str,
) -> Result<Command, CommandError> {
    match (number(first, usage)?, second) {
        (Some(slot), None) => Ok(Command::Slot(slot, action)),
        _ => Err(CommandError::Usage(usage)),
    }
}

/// An optional number.
fn number<N: core::str::FromStr>(word: Option<&str>, usage: &'static str) -> Result<Option<N>, CommandError> {
    word.map(str::parse).transpose().map_err(|_| CommandError::Usage(usage))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn understands_every_command_of_the_help() {
        for (words, _) in HELP.iter().filter(|(words, _)| !words.is_empty()) {
            let line = words
                .replace("SLOT", "3")
                .replace("[LINES]", "5")
                .replace("[CPU]", "1")
                .replace("[APP]", "echo");
            assert!(Command::parse(&line).is_ok(), "{line}");
        }
        assert_eq!(Command::parse("  "), Ok(Command::Nothing));
        assert_eq!(Command::parse(" log  7 "), Ok(Command::Log(7)));
        assert_eq!(Command::parse("log"), Ok(Command::Log(20)));
        assert_eq!(Command::parse("trace"), Ok(Command::Trace(None)));
        assert_eq!(Command::parse("grants"), Ok(Command::Grants(None)));
        assert_eq!(Command::parse("revoke 01:00.0"), Ok(Command::Revoke("01:00.0".into())));
        let hand_over = Command::HandOver { device: "01:00.0".into(), app: "echo".into() };
        assert_eq!(Command::parse("handover 01:00.0 echo"), Ok(hand_over));
        let replace = Command::Replace { app: "switch".into(), program: "switch-2".into() };
        assert_eq!(Command::parse("replace switch switch-2"), Ok(replace));
        assert_eq!(Command::parse("cut 7"), Ok(Command::Slot(7, SlotAction::Cut)));
        assert_eq!(Command::parse("kill echo"), Ok(Command::Kill("echo".into())));
    }

    #[test]
    fn says_what_is_wrong() {
        let text = |line| Command::parse(line).unwrap_err().to_string();
        assert_eq!(text("reboot now"), "unknown command `reboot`; try `help`");
        assert_eq!(text("PS"), "unknown command `PS`; try `help`");
        assert_eq!(text("kill"), "usage: kill APP");
        assert_eq!(text("kill a b"), "usage: kill APP");
        assert_eq!(text("handover 01:00.0"), "usage: handover DEVICE APP");
        assert_eq!(text("handover a b c"), "usage: handover DEVICE APP");
        assert_eq!(text("replace switch"), "usage: replace APP PROGRAM");
        assert_eq!(text("replace a b c"), "usage: replace APP PROGRAM");
        assert_eq!(text("log many"), "usage: log [LINES]");
        assert_eq!(text("trace -1"), "usage: trace [CPU]");
        assert_eq!(text("eject"), "usage: eject SLOT");
        assert_eq!(text("cut first"), "usage: cut SLOT");
        assert_eq!(text("switch-on 1 2"), "usage: switch-on SLOT");
        assert_eq!(text("ps -ef"), "usage: ps");
        assert_eq!(text("grants a b"), "usage: grants [APP]");
    }
}
