//! One IOMMU: what it is told, in which order (48882 §2.3 "Software Considerations", §3.4).
//!
//! **Invariant 1: once `enable_translation` returned `Ok`, a requester reaches memory only through the domain it is
//! attached to; everybody else is blocked.**
//! **Invariant 2: a call that takes something away (`detach`, `invalidate`, `free_interrupt`) returns `Ok` only after
//! the unit confirmed that it forgot it.**
//! **Invariant 3: a unit that breaks down (time-out, stopped commands) is isolated: its device table blocks everybody
//! and every later call fails.** What its caches hold is then unknown: the environment must switch bus mastering off
//! for its requesters and keep their frames out of use. Interrupt entries stay as they are.
//!
//! Order: `enable_interrupt_remapping`, where wanted, then `enable_translation`; the size of interrupt entries cannot
//! change under a unit that is on. Until translation is on the unit takes no commands, and its caches hold nothing
//! of ours, so nothing is waited for.
//! Call with interrupts off and exclusive access (a lock); every wait is bounded. Does not resolve which functions it
//! covers (see [`acpi`](crate::acpi)).

mod interrupts;

use super::commands::{Commands, LARGEST_ORDER, Request};
use super::device_table::{DeviceTable, Translation};
use super::events::EventLog;
use super::interrupt::Remapping;
use super::registers::{
    CONTROL, Control, DEVICE_TABLE, END, EXCLUSION_BASE, FEATURES, Features, STATUS, Status,
};
use super::{Capabilities, Drained, Fault, Setup};
use crate::address::{DomainId, RequesterId, UnitIndex};
use crate::capabilities::Mode;
use crate::domain::{AnyDomain, Invalidation};
use crate::environment::{Clock, Registers, TableMemory};
use crate::error::{Error, Result, Wait};
use crate::hardware::{COMMAND_LIMIT_US, Hardware};
use crate::tables::Tables;

/// One IOMMU.
pub struct Unit<R, M, C> {
    index: UnitIndex,
    hardware: Hardware<R, M, C>,
    features: Features,
    capabilities: Capabilities,
    /// The unit may remember that something was not there.
    caches_not_present: bool,
    /// What the control register is to be once translation is on.
    control: Control,
    commands: Commands,
    events: EventLog,
    devices: DeviceTable,
    interrupts: Option<Remapping>,
    is_translating: bool,
    is_isolated: bool,
}

impl<R: Registers, M: TableMemory, C: Clock> Unit<R, M, C> {
    /// Takes a unit over from firmware: command buffer and event log are ours, its interrupts off, old events
    /// forgotten. Translation stays as firmware left it.
    ///
    /// `index` is the unit's place in the environment's list.
    ///
    /// # Errors
    /// `Unsupported` (no IOMMU, no host tables, registers not all mapped), `OutOfFrames`, `Timeout`. The requesters
    /// of such a unit must not be granted to anybody; frames it was given are lost.
    pub fn new(index: UnitIndex, registers: R, memory: M, clock: C, setup: Setup) -> Result<Self> {
        if !setup.capability.is_iommu() || registers.bytes() < END {
            return Err(Error::Unsupported);
        }
        let features = Features::of(&setup, || registers.read64(FEATURES));
        let capabilities = features.capabilities(&setup);
        if capabilities.depths == 0 {
            return Err(Error::Unsupported);
        }
        let tables = Tables::new(memory, capabilities.is_coherent);
        let mut hardware = Hardware { registers, tables, clock, needs_write_buffer_flush: false };
        let devices = DeviceTable::new(&hardware.tables)?;
        stop_processing(&mut hardware)?;
        let commands = Commands::new(&mut hardware)?;
        let events = EventLog::new(&mut hardware)?;
        Ok(Unit {
            index,
            hardware,
            features,
            capabilities,
            caches_not_present: setup.capability.caches_not_present(),
            control: Control::of(&setup).with_enabled(true).with_commands(true).with_event_log(true),
            commands,
            events,
            devices,
            interrupts: None,
            is_translating: false,
            is_isolated: false,
        })
    }

    /// What the unit can do; domains are built for the intersection over all units.
    #[must_use]
    pub fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    /// Whether the unit broke down.
    #[must_use]
    pub fn is_isolated(&self) -> bool {
        self.is_isolated
    }

    /// Switches translation on with every requester blocked but those attached before.
    ///
    /// A unit that firmware left on goes on with firmware's table until ours is in force, so there is no moment
    /// without protection, unless its interrupt entries have another size.
    ///
    /// # Errors
    /// `AlreadyEnabled`, `Timeout`, `CommandError`, `Isolated`.
    pub fn enable_translation(&mut self) -> Result<()> {
        if self.is_translating {
            return Err(Error::AlreadyEnabled);
        }
        self.guarded(|unit| {
            unit.put_table_in_force();
            unit.hardware.wait_until(Wait::CommandsSwitched, COMMAND_LIMIT_US, |hardware| {
                let status = read_status(hardware);
                Ok(status.commands_run() && status.event_log_runs())
            })?;
            unit.is_translating = true;
            unit.forget_everything()
        })
    }

    /// Attaches `requester` to `domain`, blocked before. Until then nothing it asks for is translated.
    ///
    /// # Errors
    /// `IncompatibleDomain`, `AlreadyAttached`: nothing was changed. `Timeout`, `CommandError`, `Isolated`.
    pub fn attach(&mut self, requester: RequesterId, domain: &mut impl AnyDomain) -> Result<()> {
        let domain = domain.membership();
        self.guarded(|unit| {
            let walk = domain.walk();
            if walk.mode != Mode::AmdVi || !unit.capabilities.includes(walk.capabilities) {
                return Err(Error::IncompatibleDomain);
            }
            if unit.devices.translation(&unit.hardware.tables, requester).is_translated() {
                return Err(Error::AlreadyAttached { requester });
            }
            // Counted before anything can fail: a domain the unit may know is never destroyed.
            domain.count_attached(unit.index);
            let entry = Translation::through(walk.root, walk.levels, domain.id());
            unit.change_translation(requester, entry)?;
            if unit.caches_not_present {
                // A hypervisor that shadows our tables reads those of the domain when it is told of them.
                unit.forget([Request::Domain { domain: domain.id() }])?;
            }
            Ok(())
        })
    }

    /// Blocks `requester`, which was in `domain`. When this has returned `Ok` no access of it lands any more.
    ///
    /// # Errors
    /// `NotAttached`: nothing was changed. `Timeout`, `CommandError`, `Isolated`: the domain stays attached.
    pub fn detach(&mut self, requester: RequesterId, domain: &mut impl AnyDomain) -> Result<()> {
        let domain = domain.membership();
        self.guarded(|unit| {
            if !unit.devices.translation(&unit.hardware.tables, requester).is_in(domain.id()) {
                return Err(Error::NotAttached { requester });
            }
            // The entry before the pages, or a translation could come back through a stale entry.
            unit.change_translation(requester, Translation::blocked())?;
            unit.forget([Request::Domain { domain: domain.id() }])?;
            domain.count_detached(unit.index);
            Ok(())
        })
    }

    /// Stops (or starts again) recording faults of `requester`, against storms. Its access rights do not change.
    /// Attaching and detaching start recording again.
    ///
    /// # Errors
    /// `Timeout`, `CommandError`, `Isolated`.
    pub fn mute_faults(&mut self, requester: RequesterId, is_muted: bool) -> Result<()> {
        self.guarded(|unit| {
            let entry = unit.devices.translation(&unit.hardware.tables, requester);
            unit.change_entry(requester, entry.with_is_muted(is_muted), is_muted)
        })
    }

    /// Makes the unit take note of a changed domain; called back from
    /// [`Unflushed::flush`](crate::domain::Unflushed::flush).
    ///
    /// Additions cost nothing but on units that remember what was not there.
    ///
    /// # Errors
    /// `Timeout`, `CommandError`, `Isolated`: the unit may still use what was unmapped.
    pub fn invalidate(&mut self, change: &Invalidation) -> Result<()> {
        self.guarded(|unit| {
            if change.is_removal || unit.caches_not_present {
                return unit.forget([covering(change)]);
            }
            Ok(())
        })
    }

    /// Reports and clears the recorded faults, each record once.
    pub fn drain_faults(&mut self, report: impl FnMut(Fault)) -> Drained {
        if !self.is_translating {
            return Drained::NOTHING;
        }
        self.events.drain(&mut self.hardware, self.control, report)
    }

    fn change_translation(&mut self, requester: RequesterId, entry: Translation) -> Result<()> {
        self.change_entry(requester, entry, false)
    }

    /// Writes both halves of an entry and has the unit forget what it knew of it.
    fn change_entry(&mut self, requester: RequesterId, entry: Translation, is_muted: bool) -> Result<()> {
        let tables = &self.hardware.tables;
        let interrupts = self.devices.interrupts(tables, requester);
        if interrupts.is_muted() != is_muted {
            self.devices.set_interrupts(tables, requester, interrupts.with_is_muted(is_muted));
        }
        self.devices.set_translation(tables, requester, entry);
        self.forget([Request::DeviceEntry { requester }])
    }

    /// Has the unit forget something of what it learned from our tables.
    fn forget(&mut self, requests: impl IntoIterator<Item = Request>) -> Result<()> {
        if !self.is_translating {
            // Our tables are not in force yet, and everything is forgotten when they are.
            return Ok(());
        }
        self.commands.run(&mut self.hardware, requests)
    }

    /// Each device entry is named one by one even where one command means all: QEMU's unit starts to translate for
    /// a device with that command alone, and lets it pass before.
    fn forget_everything(&mut self) -> Result<()> {
        let ids = || 0..=u16::MAX;
        self.forget(ids().map(|id| Request::DeviceEntry { requester: RequesterId(id) }))?;
        if self.features.has_invalidate_all() {
            return self.forget([Request::All]);
        }
        self.forget(ids().map(|id| Request::InterruptTable { requester: RequesterId(id) }))?;
        self.forget(ids().map(|id| Request::Domain { domain: DomainId(id) }))
    }

    /// Bases first, then the switches, translation last (§2.3.1 "Initialization").
    fn put_table_in_force(&mut self) {
        let (registers, control) = (&mut self.hardware.registers, self.control);
        let mut before = Control::from_bits(registers.read64(CONTROL));
        if before.enabled() && !before.has_entries_of(control) {
            before.set_enabled(false);
            registers.write64(CONTROL, before.into_bits());
        }
        // Whatever it excludes would not be translated at all.
        registers.write64(EXCLUSION_BASE, 0);
        registers.write64(DEVICE_TABLE, self.devices.register().into_bits());
        registers.write64(CONTROL, control.with_enabled(before.enabled()).into_bits());
        registers.write64(CONTROL, control.into_bits());
    }

    /// Runs `step` unless the unit broke down before, and isolates it if it breaks down now.
    fn guarded<T>(&mut self, step: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        if self.is_isolated {
            return Err(Error::Isolated);
        }
        step(self).inspect_err(|error| {
            if error.is_breakdown() {
                self.isolate();
            }
        })
    }

    /// Blocks every requester as well as a unit that does not answer can be made to.
    fn isolate(&mut self) {
        self.is_isolated = true;
        self.devices.block_all(&self.hardware.tables);
        // A new start of the command buffer gives the unit a chance to forget what it had of our tables. It has failed
        // already: whether it still does this changes nothing in what is reported.
        let _ = self.start_commands_again().and_then(|()| self.forget_everything());
    }

    fn start_commands_again(&mut self) -> Result<()> {
        self.hardware.registers.write64(CONTROL, self.control.with_commands(false).into_bits());
        self.hardware.wait_until(Wait::CommandsSwitched, COMMAND_LIMIT_US, |hardware| {
            Ok(!read_status(hardware).commands_run())
        })?;
        self.commands.reset(&mut self.hardware);
        self.hardware.registers.write64(CONTROL, self.control.into_bits());
        self.hardware.wait_until(Wait::CommandsSwitched, COMMAND_LIMIT_US, |hardware| {
            Ok(read_status(hardware).commands_run())
        })
    }
}

/// The smallest request that covers a change: one aligned block of pages, else the domain.
fn covering(change: &Invalidation) -> Request {
    let domain = change.domain;
    let (first, last) = (change.range.start >> 12, (change.range.end - 1) >> 12);
    let order = u64::BITS - (first ^ last).leading_zeros();
    if order > LARGEST_ORDER {
        return Request::Domain { domain };
    }
    Request::Pages { domain, page: first >> order << order, order }
}

fn read_status<R: Registers, M, C>(hardware: &Hardware<R, M, C>) -> Status {
    Status::from_bits(hardware.registers.read64(STATUS))
}

/// Stops firmware's command buffer and logs, translation aside, and forgets what they had to report.
fn stop_processing<R: Registers, M: TableMemory, C: Clock>(hardware: &mut Hardware<R, M, C>) -> Result<()> {
    let before = Control::from_bits(hardware.registers.read64(CONTROL));
    let stopped = before.with_commands(false).with_event_log(false).with_event_interrupt(false);
    let stopped = stopped.with_completion_interrupt(false);
    hardware.registers.write64(CONTROL, stopped.into_bits());
    hardware.wait_until(Wait::CommandsSwitched, COMMAND_LIMIT_US, |hardware| {
        let status = read_status(hardware);
        Ok(!status.commands_run() && !status.event_log_runs())
    })?;
    let reports = Status::new().with_event_overflow(true).with_event_interrupt(true);
    hardware.registers.write64(STATUS, reports.with_completion_interrupt(true).into_bits());
    Ok(())
}
