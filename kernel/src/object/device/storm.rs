//! Storms: a device that faults or interrupts too often is kept from keeping the CPU.
//!
//! **Invariant: per window of 100 ms a device costs at most two fault budgets and one interrupt budget per message of
//! kernel entries, whatever it does.** Above its fault budget its faults are not recorded until the window ends; if
//! that does not help, or the tenth time in a row, the supervisor's policy takes it away from its owner. Above its
//! interrupt budget a message is stopped at the device and at the unit until the window ends.

use weir_abi::Error;
use weir_abi::device::{DevicePolicy, STORM_WINDOW_NS};
use weir_kernel::meter::{Finding, Meter, WINDOW_NS};
use weir_kernel::refs::Ref;

use super::{Condition, Device, DeviceRef};
use crate::arch::time;
use crate::iommu;
use crate::object::event::Event;
use crate::pci::pci;
use crate::sched;

const _: () = assert!(WINDOW_NS == STORM_WINDOW_NS);

/// What the supervisor wants of a device, and how that stands.
pub(super) struct Oversight {
    pub(super) policy: DevicePolicy,
    pub(super) watcher: Option<Ref<Event>>,
    /// Blocked accesses that were recorded.
    pub(super) faults: u64,
    pub(super) fault_storms: u64,
    pub(super) interrupt_storms: u64,
    meter: Meter,
    muted_until_ns: Option<u64>,
}

impl Oversight {
    pub(super) const fn new() -> Oversight {
        Oversight {
            policy: DevicePolicy::DEFAULT,
            watcher: None,
            faults: 0,
            fault_storms: 0,
            interrupt_storms: 0,
            meter: Meter::new(DevicePolicy::DEFAULT.fault_budget),
            muted_until_ns: None,
        }
    }

    /// Faults are recorded again: attaching and detaching see to that.
    pub(super) fn begin_grant(&mut self) {
        self.meter = Meter::new(self.policy.fault_budget);
        self.muted_until_ns = None;
    }

    pub(super) fn end_grant(&mut self) {
        self.begin_grant();
    }

    pub(super) fn is_muted(&self) -> bool {
        self.muted_until_ns.is_some()
    }
}

impl Device {
    /// Counts a recorded fault, and acts where there are too many.
    pub(super) fn count_fault(&self, now_ns: u64) {
        let (finding, until_ns, is_first, policy) = {
            let mut oversight = self.oversight.lock();
            oversight.faults += 1;
            let finding = oversight.meter.count(now_ns);
            let Oversight { meter, policy, .. } = &*oversight;
            (finding, meter.window_end_ns(), meter.is_first_storm(), *policy)
        };
        match finding {
            Finding::Calm => {}
            Finding::Endless
                if policy.has(DevicePolicy::REVOKE_ON_STORM) && self.revoke() != Err(Error::NotFound) =>
            {
                log::error!("{}: it faults without end: taken away", self.function().address);
                self.tell_supervisor();
            }
            Finding::Storm | Finding::Endless => self.mute(until_ns, is_first),
        }
    }

    /// Has the faults of the device not recorded until the window ends. They are blocked all the same.
    fn mute(&self, until_ns: u64, is_first: bool) {
        let Ok(cover) = &self.cover else { return };
        if let Err(error) = iommu::mute_faults(cover, true) {
            // A unit that broke down cannot be told; it goes on recording. One that is gone masters nothing, either.
            let _ = self.function().set_bus_master(&pci().ecam, false);
            let address = self.function().address;
            log::error!(
                "{address}: the unit cannot be kept from recording its faults ({error}): bus mastering is off"
            );
        }
        {
            let mut oversight = self.oversight.lock();
            oversight.muted_until_ns = Some(until_ns);
            oversight.fault_storms += 1;
        }
        if is_first {
            log::warn!("{}: too many faults; most are not recorded", self.function().address);
            self.tell_supervisor();
        }
        if let Some(owner) = self.owner.lock().as_ref() {
            owner.process.count_muted();
            owner.tell();
        }
        sched::set_alarm(until_ns);
    }

    /// Ends the storms whose window is over; says when the next one's is.
    pub(super) fn end_storms(&self) -> Option<u64> {
        let now_ns = time::now_ns();
        let muted = self.end_mute(now_ns);
        let mut guard = self.owner.lock();
        let Some(owner) = guard.as_mut().filter(|owner| !owner.is_resetting) else { return muted };
        let mut next = muted;
        for (index, bound) in (0u16..).zip(&mut owner.interrupts) {
            let Some(bound) = bound else { continue };
            match bound.stopped_until_ns {
                Some(until_ns) if until_ns <= now_ns => {
                    bound.stopped_until_ns = None;
                    if let Err(error) = self.open_again(index, bound) {
                        log::error!("{}: interrupt {index} stays stopped: {error}", self.function().address);
                    }
                }
                Some(until_ns) => next = Some(next.map_or(until_ns, |next| next.min(until_ns))),
                None => {}
            }
        }
        next
    }

    fn end_mute(&self, now_ns: u64) -> Option<u64> {
        let until_ns = self.oversight.lock().muted_until_ns?;
        if until_ns > now_ns {
            return Some(until_ns);
        }
        self.oversight.lock().muted_until_ns = None;
        if let Err(error) = iommu::mute_faults(self.cover.as_ref().ok()?, false) {
            log::error!("{}: its faults stay unrecorded: {error}", self.function().address);
        }
        None
    }

    /// Tells the supervisor that something happened to the device.
    pub(super) fn tell_supervisor(&self) {
        let watcher = self.oversight.lock().watcher.clone();
        if let Some(event) = watcher {
            // Without a supervisor there is nobody to tell.
            let _ = event.signal();
        }
    }
}

impl DeviceRef {
    /// Sets what the device may do; for the supervisor only.
    pub(crate) fn set_policy(&self, policy: DevicePolicy) -> Result<(), Error> {
        if policy.flags & !DevicePolicy::FLAGS != 0 || policy.reset_us > DevicePolicy::RESET_US {
            return Err(Error::BadArgument);
        }
        {
            let condition = self.device.change.lock();
            if matches!(*condition, Condition::Gone) {
                return Err(Error::Gone);
            }
            self.device.want_scratch(policy.has(DevicePolicy::SCRATCH))?;
        }
        let mut oversight = self.device.oversight.lock();
        oversight.policy = policy;
        oversight.meter = Meter::new(policy.fault_budget);
        Ok(())
    }

    /// Interrupt `index` came too often: stops it until `until_ns`, at the device and, in case that ignores it, at
    /// the unit.
    pub(crate) fn stop_interrupt(&self, index: u16, until_ns: u64, is_first: bool) {
        let stopped = self.with_owner(|device, owner| {
            let bound = owner.interrupts[usize::from(index)].as_mut().ok_or(Error::Gone)?;
            if !owner.is_resetting {
                // A function that is gone sends nothing; its entry is closed all the same.
                let _ = device.set_masked(index, true);
            }
            bound.close(device.cover.as_ref().ok());
            bound.stopped_until_ns = Some(until_ns);
            Ok(())
        });
        // Revoked meanwhile: it sends nothing any more.
        if stopped.is_err() {
            return;
        }
        self.device.oversight.lock().interrupt_storms += 1;
        if is_first {
            let address = self.device.function().address;
            log::warn!("{address}: too many interrupts; {index} is stopped now and then");
            self.device.tell_supervisor();
        }
        sched::set_alarm(until_ns);
    }
}
