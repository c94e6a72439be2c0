//! Resetting devices between owners, and at an owner's wish. **Nothing here waits**: a reset under way is looked at
//! by the scheduler's alarm.

use core::mem;

use weir_abi::Error;
use weir_abi::device::DevicePolicy;
use weir_kernel::pci::{PciError, PendingReset, Progress};

use super::{Device, Owner};
use crate::arch::time;
use crate::hotplug::{self, Hold};
use crate::pci::pci;
use crate::sched;

/// Whether a new owner may have the function.
#[expect(clippy::large_enum_variant, reason = "in place in each device: taking one away needs no memory")]
pub(super) enum Condition {
    /// Firmware or an owner may have left something in it.
    Used,
    /// Nothing may be asked of it.
    Resetting(Resetting),
    /// It was reset, and nobody used it since.
    Clean,
    /// It left the machine: nobody gets it, whatever comes.
    Gone,
    /// It did not come back from its reset: nobody gets it.
    Failed,
}

/// A reset under way.
pub(super) struct Resetting {
    pending: PendingReset,
    due_us: u64,
    /// The grant whose owner asked for it; `None` where the next owner needs it.
    asked_by: Option<u64>,
    /// Its slot does not mind that its link goes down.
    _hold: Hold,
}

fn now_us() -> u64 {
    time::now_ns() / 1000
}

impl Device {
    /// Begins the reset that a new owner needs, unless it is under way or done; says whether it is under way.
    pub(super) fn prepare(&self) -> Result<bool, Error> {
        let mut condition = self.change.lock();
        if self.owner.lock().is_some() {
            return Err(Error::Busy);
        }
        if matches!(*condition, Condition::Used | Condition::Failed) {
            self.begin_reset(&mut condition, None);
        }
        match *condition {
            Condition::Gone => Err(Error::Gone),
            Condition::Failed => Err(Error::Hardware),
            Condition::Resetting(_) => Ok(true),
            Condition::Used | Condition::Clean => Ok(false),
        }
    }

    /// Stops the function's transfers and begins its reset. One that the former owner asked for goes on first.
    pub(super) fn begin_reset(&self, condition: &mut Condition, asked_by: Option<u64>) {
        if matches!(condition, Condition::Resetting(_) | Condition::Gone) || !self.has_reset() {
            return;
        }
        // A reset forgets them (PCIe 6.0 §9.2.2.2 "FLR That Targets a PF").
        self.end_virtuals();
        let now_us = now_us();
        let settle_us = match self.oversight.lock().policy.reset_us {
            0 => DevicePolicy::RESET_US,
            known_us => known_us,
        };
        let hold = hotplug::hold(self.function().address);
        let begun = {
            let inventory = pci().inventory();
            let index = self.index(&inventory).map_err(|_| PciError::Vanished);
            index.and_then(|index| inventory.begin_reset(index, &pci().ecam, now_us, settle_us.into()))
        };
        match begun {
            Ok(pending) => {
                let resetting = Resetting { pending, due_us: now_us, asked_by, _hold: hold };
                *condition = Condition::Resetting(resetting);
                if let Some(due_ns) = self.advance(condition) {
                    sched::set_alarm(due_ns);
                }
            }
            Err(error) => self.fail(condition, error),
        }
    }

    /// Goes on with a reset whose time has come; says when to look again.
    pub(super) fn advance(&self, condition: &mut Condition) -> Option<u64> {
        let Condition::Resetting(reset) = condition else { return None };
        let now_us = now_us();
        if now_us >= reset.due_us {
            match reset.pending.step(&pci().ecam, now_us) {
                Ok(Progress::WaitUntil(us)) => reset.due_us = us,
                Ok(Progress::Done) => return self.finish(condition),
                Err(error) => {
                    self.fail(condition, error);
                    return None;
                }
            }
        }
        Some(reset.due_us.saturating_mul(1000))
    }

    /// The function is there again: the owner goes on, or the next one may come.
    fn finish(&self, condition: &mut Condition) -> Option<u64> {
        if let Some(table) = &self.msix {
            table.mask_all();
        }
        let Condition::Resetting(reset) = mem::replace(condition, Condition::Clean) else { return None };
        if let Some(grant) = reset.asked_by {
            *condition = Condition::Used;
            let mut guard = self.owner.lock();
            match guard.as_mut().filter(|owner| owner.grant == grant) {
                Some(owner) => self.resume(owner),
                None => {
                    // Its owner could reach the registers while it came back: once more, for the next one.
                    drop(guard);
                    self.begin_reset(condition, None);
                    return self.advance(condition);
                }
            }
        }
        self.tell_supervisor();
        None
    }

    /// The owner that asked for the reset goes on.
    fn resume(&self, owner: &mut Owner) {
        owner.is_resetting = false;
        let again = self.function().set_memory_decode(&pci().ecam, true);
        if let Err(error) = again.map_err(Error::from).and_then(|()| self.program_again(owner)) {
            log::warn!("{}: after a reset its owner asked for: {error}", self.function().address);
        }
        owner.tell();
    }

    /// The function does not come back.
    fn fail(&self, condition: &mut Condition, error: PciError) {
        log::error!("{}: reset: {error}; it is granted to nobody", self.function().address);
        *condition = Condition::Failed;
        if self.owner.lock().is_some() {
            // It is owned: just seen. Without the device its owner finds its registers gone.
            let _ = self.take_away(condition);
        }
        self.tell_supervisor();
    }
}
