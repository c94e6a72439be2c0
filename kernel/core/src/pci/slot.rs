//! A hot-plug slot: what its port tells, what it is told, and when (PCIe 6.0 §6.7 "PCI Express Native Hot-Plug
//! Support").
//!
//! **Invariant: what is in the slot is used between [`Action::Bring`] and [`Action::Take`] only, and power is not
//! switched on again within a second of switching it off.**
//!
//! It never waits: [`Slot::poll`] does what can be done now, [`Slot::due_us`] says when to call it next at the latest.
//! What a port tells makes it look; what it then finds decides. Does not enumerate and does not revoke: the caller
//! does, when told. Glossary: *latch* — the manually operated retention latch, MRL.

mod port;

use pci_types::PciAddress;

use super::config::ConfigSpace;
use super::function::Function;
use super::registers::{Indicator, SlotControl, SlotStatus};
use port::Port;

/// How long contacts may bounce.
const SETTLE_US: u64 = 100_000;
/// How long a command may take (§6.7.3.2 "Command Completed Events").
const COMMAND_LIMIT_US: u64 = 1_000_000;
/// How long a link may take to come up.
const LINK_LIMIT_US: u64 = 1_000_000;
/// How long a device is left alone once its link is up (§6.6.1 "Conventional Reset").
const QUIET_US: u64 = 100_000;
/// How long it may then still ask for retries (§6.6.1).
const ANSWER_LIMIT_US: u64 = 1_000_000;
/// Time between two questions whether it answers.
const ASK_US: u64 = 10_000;
/// How long a button press can be taken back (§6.7.1.5 "Attention Button").
const BUTTON_US: u64 = 5_000_000;
/// How long power must stay off, and is believed to last (§6.7.1.8 "Power Controller").
const POWER_US: u64 = 1_000_000;
/// How often status is read at once: a port whose bits do not clear is left alone until the next time.
const READS: u32 = 8;

/// What the caller is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Something came and answers: list its functions, then [`Slot::brought`].
    Bring,
    /// It goes or has gone: take its functions from their owners and strike them off, then [`Slot::taken`].
    Take,
}

/// What is asked of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// Take what is in it, then switch off.
    Eject,
    /// Switch off under whoever uses it, as if it were pulled out.
    Cut,
    /// Use what is in a slot that is off.
    On,
}

/// How a slot is, as people see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Outline {
    /// Nothing is in it.
    Empty = 0,
    /// Something is coming.
    Coming = 1,
    /// What is in it is listed.
    On = 2,
    /// What is in it will be taken: the button was pressed.
    Leaving = 3,
    /// It is being switched off.
    Going = 4,
    /// Something is in it that is not used.
    Off = 5,
}

/// Where a slot is in its life. Times are the moments at which a state ends, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Empty,
    /// Something is there, perhaps.
    Settling {
        until: u64,
    },
    /// The power-on command is under way.
    Lighting,
    /// The link is to come up.
    Linking {
        until: u64,
    },
    /// The device is left alone.
    Quiet {
        until: u64,
        link_until: u64,
    },
    /// The device is to answer.
    Asking {
        until: u64,
    },
    /// The caller looks at it.
    Bringing,
    On,
    /// The button was pressed.
    Leaving {
        until: u64,
    },
    /// Power goes off under the owner.
    Cut {
        until: u64,
    },
    /// The caller takes it away. `returns`: it may come again by itself.
    Taking {
        returns: bool,
    },
    /// The power-off command is under way.
    Darkening {
        returns: bool,
    },
    /// Power must stay off. `is_new`: what is in the slot, if anything, was not there before.
    Cooling {
        until: u64,
        is_new: bool,
    },
    /// Something is there, without power.
    Off,
    /// The button was pressed at a slot that is off.
    Waking {
        until: u64,
    },
}

/// What a step came to.
enum Step {
    Moved,
    Stays,
    Acts(Action),
}

/// A slot.
#[derive(Debug)]
pub struct Slot {
    port: Port,
    state: State,
    /// What the port shall be told, and what it was told last.
    wanted: SlotControl,
    told: SlotControl,
    /// A command is under way, at most until then.
    command_until: Option<u64>,
    /// What was found when looking last.
    is_present: bool,
    has_link: bool,
    /// What happened since a state last took notice.
    events: SlotStatus,
    request: Option<Request>,
    /// How many hold it: it is being reset, which its link does not survive.
    holds: u32,
    changes: u64,
}

impl Slot {
    /// The slot of a port, if it has one that can be driven: hot-plug capable, with a bus behind it.
    #[must_use]
    pub fn of(port: &Function, space: &dyn ConfigSpace) -> Option<Slot> {
        let port = Port::of(port, space)?;
        let control = port.read_control(space);
        Some(Slot {
            port,
            state: State::Empty,
            wanted: control,
            told: control,
            command_until: None,
            is_present: false,
            has_link: false,
            events: SlotStatus::new(),
            request: None,
            holds: 0,
            changes: 0,
        })
    }

    /// The port.
    #[must_use]
    pub fn port(&self) -> PciAddress {
        self.port.address
    }

    /// The number printed beside it.
    #[must_use]
    pub fn number(&self) -> u16 {
        self.port.slot.number()
    }

    /// Which of the port's interrupt messages tells of the slot.
    #[must_use]
    pub fn read_message(&self, space: &dyn ConfigSpace) -> u8 {
        self.port.read_message(space)
    }

    /// How often its outline has changed.
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// Begins: what happened before is forgotten, from now on the port tells. `is_listed`: what is in it was found at
    /// boot.
    pub fn start(&mut self, space: &dyn ConfigSpace, now_us: u64, is_listed: bool) {
        let enabled = SlotControl::new()
            .with_tells_button(self.port.slot.has_button())
            .with_tells_power_fault(self.port.slot.has_power_controller())
            .with_tells_latch(self.port.slot.has_latch())
            .with_tells_presence(true)
            .with_tells_completion(!self.port.slot.is_silent())
            .with_tells_link(self.port.reports_link)
            .with_interrupts(true)
            .with_is_power_off(self.told.is_power_off())
            .with_attention_indicator(self.told.attention_indicator())
            .with_power_indicator(self.told.power_indicator());
        self.look(space);
        self.events = SlotStatus::new();
        self.wanted = enabled;
        self.state = match (is_listed, self.is_present) {
            (true, _) => State::On,
            (false, true) => State::Settling { until: now_us + SETTLE_US },
            (false, false) => State::Empty,
        };
        if is_listed {
            self.show(Indicator::On);
        } else if !self.is_present {
            self.switch_off();
        }
    }

    /// How it is.
    #[must_use]
    pub fn outline(&self) -> Outline {
        match self.state {
            State::Empty => Outline::Empty,
            State::Settling { .. } | State::Lighting | State::Linking { .. } => Outline::Coming,
            State::Quiet { .. } | State::Asking { .. } | State::Bringing => Outline::Coming,
            State::On => Outline::On,
            State::Leaving { .. } => Outline::Leaving,
            State::Cut { .. } | State::Taking { .. } | State::Darkening { .. } => Outline::Going,
            State::Cooling { .. } => Outline::Going,
            State::Off | State::Waking { .. } => Outline::Off,
        }
    }

    /// Looks at the port and does what there is to do now. To be called again until it gives no action.
    pub fn poll(&mut self, space: &dyn ConfigSpace, now_us: u64) -> Option<Action> {
        let before = self.outline();
        self.look(space);
        let action = loop {
            // A port takes one command at a time; a power switch that has not moved yet decides nothing.
            if !self.is_obeyed(space, now_us) {
                break None;
            }
            match self.step(space, now_us) {
                Step::Moved => {}
                Step::Stays => break None,
                Step::Acts(action) => break Some(action),
            }
        };
        self.changes += u64::from(self.outline() != before);
        action
    }

    /// When to call [`Slot::poll`] next, at the latest; `u64::MAX` for "when the port tells".
    #[must_use]
    pub fn due_us(&self, now_us: u64) -> u64 {
        if let Some(until) = self.command_until {
            return until;
        }
        match self.state {
            State::Asking { until } => until.min(now_us + ASK_US),
            State::Settling { until }
            | State::Linking { until }
            | State::Quiet { until, .. }
            | State::Leaving { until }
            | State::Cut { until }
            | State::Cooling { until, .. }
            | State::Waking { until } => until,
            _ => u64::MAX,
        }
    }

    /// Asks something of the slot; [`Slot::poll`] does it. Says whether it makes sense now.
    pub fn request(&mut self, request: Request) -> bool {
        let is_sensible = match request {
            Request::Eject | Request::Cut => matches!(self.state, State::On | State::Leaving { .. }),
            Request::On => matches!(self.state, State::Off | State::Waking { .. }),
        };
        if is_sensible {
            self.request = Some(request);
        }
        is_sensible
    }

    /// [`Action::Bring`] is done; `is_listed` says with what success. What cannot be listed loses its power.
    pub fn brought(&mut self, is_listed: bool) {
        if self.state != State::Bringing {
            return;
        }
        self.changes += 1;
        if is_listed {
            self.show(Indicator::On);
            self.state = State::On;
        } else {
            self.give_up();
        }
    }

    /// [`Action::Take`] is done.
    pub fn taken(&mut self) {
        if let State::Taking { returns } = self.state {
            self.switch_off();
            self.state = State::Darkening { returns };
        }
    }

    /// Somebody resets what is in the slot: until the last [`Slot::release`] its link may go down and up.
    pub fn hold(&mut self) {
        self.holds += 1;
    }

    /// That reset is over.
    pub fn release(&mut self, space: &dyn ConfigSpace) {
        self.holds = self.holds.saturating_sub(1);
        if self.holds == 0 {
            self.look(space);
            self.events = self.events.with_presence_changed(false).with_link_changed(false);
        }
    }

    /// Reads what happened and how things are, and clears exactly that.
    fn look(&mut self, space: &dyn ConfigSpace) {
        for _ in 0..READS {
            let Some(status) = self.port.read_status(space) else {
                // The port itself is gone, and all that is behind it.
                (self.is_present, self.has_link) = (false, false);
                self.events.set_completed(true);
                return;
            };
            let is_open = self.port.slot.has_latch() && status.is_latch_open();
            self.is_present = status.is_present() && !is_open;
            let events = port::events(status);
            if events == SlotStatus::new() {
                break;
            }
            self.port.clear(space, events);
            self.events = SlotStatus::from_bits(self.events.into_bits() | events.into_bits());
        }
        self.has_link = self.port.read_link(space);
    }

    /// Whether the port has done what it shall; otherwise tells it, or waits for the command under way.
    fn is_obeyed(&mut self, space: &dyn ConfigSpace, now_us: u64) -> bool {
        let is_over = self.take_completion() || self.command_until.is_some_and(|until| now_us >= until);
        if is_over {
            self.command_until = None;
        }
        if self.command_until.is_none() && self.wanted != self.told {
            self.told = self.wanted;
            self.port.write_control(space, self.wanted);
            // It may be done at once.
            self.look(space);
            let is_done = self.take_completion() || self.port.slot.is_silent();
            self.command_until = (!is_done).then_some(now_us + COMMAND_LIMIT_US);
        }
        self.command_until.is_none()
    }

    fn take_completion(&mut self) -> bool {
        let is_completed = self.events.completed();
        self.events.set_completed(false);
        is_completed
    }

    fn step(&mut self, space: &dyn ConfigSpace, now_us: u64) -> Step {
        let events = core::mem::take(&mut self.events);
        let request = self.request.take();
        let next = match self.state {
            State::Empty if self.is_present => State::Settling { until: now_us + SETTLE_US },
            State::Settling { .. } if !self.is_present => self.empty(),
            State::Settling { .. } if is_replaced(events) => State::Settling { until: now_us + SETTLE_US },
            State::Settling { until } if now_us >= until => self.light(space),
            State::Lighting => State::Linking { until: now_us + LINK_LIMIT_US },
            State::Linking { .. } | State::Quiet { .. } | State::Asking { .. }
                if !self.is_present || events.power_fault() =>
            {
                self.give_up();
                return Step::Moved;
            }
            State::Linking { until } if self.has_link => {
                State::Quiet { until: now_us + QUIET_US, link_until: until }
            }
            State::Quiet { link_until, .. } if !self.has_link => State::Linking { until: link_until },
            State::Quiet { until, .. } if now_us >= until => {
                State::Asking { until: now_us + ANSWER_LIMIT_US }
            }
            State::Asking { .. } if self.port.read_answer(space) => {
                self.state = State::Bringing;
                return Step::Acts(Action::Bring);
            }
            State::Linking { until } | State::Asking { until } if now_us >= until => {
                self.give_up();
                return Step::Moved;
            }
            State::On | State::Leaving { .. } | State::Cut { .. } => {
                return self.step_used(events, request, now_us);
            }
            State::Darkening { returns } => State::Cooling { until: now_us + POWER_US, is_new: returns },
            State::Cooling { until, is_new: false } if !self.is_present || is_replaced(events) => {
                State::Cooling { until, is_new: true }
            }
            State::Cooling { until, is_new } if now_us >= until => match (self.is_present, is_new) {
                (true, true) => State::Settling { until: now_us + SETTLE_US },
                (true, false) => State::Off,
                (false, _) => self.empty(),
            },
            State::Off | State::Waking { .. } if !self.is_present => self.empty(),
            State::Off if is_replaced(events) => State::Settling { until: now_us + SETTLE_US },
            State::Off | State::Waking { .. } if request == Some(Request::On) => self.light(space),
            State::Off if events.button() => {
                self.show(Indicator::Blinks);
                State::Waking { until: now_us + BUTTON_US }
            }
            State::Waking { .. } if events.button() => {
                self.show(Indicator::Off);
                State::Off
            }
            State::Waking { until } if now_us >= until => self.light(space),
            _ => return Step::Stays,
        };
        self.state = next;
        Step::Moved
    }

    /// A step of a slot whose functions are listed.
    fn step_used(&mut self, events: SlotStatus, request: Option<Request>, now_us: u64) -> Step {
        let is_lost = self.holds == 0
            && (is_replaced(events) || events.link_changed() || !self.is_present || !self.has_link);
        let next = match self.state {
            // A broken power supply does not mend itself; what was pulled may come again.
            _ if events.power_fault() => State::Taking { returns: false },
            State::Cut { until } if is_lost || now_us >= until => State::Taking { returns: false },
            State::Cut { .. } => return Step::Stays,
            _ if is_lost => State::Taking { returns: true },
            _ if request == Some(Request::Eject) => State::Taking { returns: false },
            _ if request == Some(Request::Cut) && self.port.slot.has_power_controller() => {
                self.wanted = self.wanted.with_is_power_off(true);
                State::Cut { until: now_us + POWER_US }
            }
            _ if request == Some(Request::Cut) => State::Taking { returns: false },
            State::Leaving { until } if now_us >= until => State::Taking { returns: false },
            State::Leaving { .. } if events.button() => {
                self.show(Indicator::On);
                State::On
            }
            State::On if events.button() => {
                self.show(Indicator::Blinks);
                State::Leaving { until: now_us + BUTTON_US }
            }
            _ => return Step::Stays,
        };
        self.state = next;
        if matches!(next, State::Taking { .. }) { Step::Acts(Action::Take) } else { Step::Moved }
    }

    fn light(&mut self, space: &dyn ConfigSpace) -> State {
        self.port.reset_payload(space);
        self.wanted = self.wanted.with_is_power_off(false);
        self.attend(Indicator::Off);
        self.show(Indicator::Blinks);
        State::Lighting
    }

    /// What is in the slot is of no use: it loses its power, and the attention indicator says so.
    fn give_up(&mut self) {
        self.switch_off();
        self.attend(Indicator::On);
        self.state = State::Darkening { returns: false };
    }

    fn empty(&mut self) -> State {
        self.switch_off();
        self.attend(Indicator::Off);
        State::Empty
    }

    fn switch_off(&mut self) {
        self.wanted = self.wanted.with_is_power_off(self.port.slot.has_power_controller());
        self.show(Indicator::Off);
    }

    /// Sets the power indicator, where there is one.
    fn show(&mut self, indicator: Indicator) {
        if self.port.slot.has_power_indicator() {
            self.wanted = self.wanted.with_power_indicator(indicator);
        }
    }

    fn attend(&mut self, indicator: Indicator) {
        if self.port.slot.has_attention_indicator() {
            self.wanted = self.wanted.with_attention_indicator(indicator);
        }
    }
}

/// What was in the slot may have been replaced, whatever is in it now.
fn is_replaced(events: SlotStatus) -> bool {
    events.presence_changed() || events.latch_changed()
}
