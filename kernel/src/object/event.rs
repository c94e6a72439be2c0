//! Events: counters in a process's kernel page that threads can sleep on.

use core::sync::atomic::{AtomicBool, Ordering};

use weir_abi::Error;
use weir_abi::page::MAX_EVENTS;
use weir_kernel::refs::Ref;

use super::process::Process;
use super::thread::{State, Thread};
use crate::sched::{self, SCHED, Sched};

/// An event of `process`.
pub(crate) struct Event {
    pub(crate) process: Ref<Process>,
    pub(crate) slot: usize,
}

impl Event {
    /// Takes the slot and makes the event.
    pub(crate) fn create(process: &Ref<Process>, slot: u64) -> Result<Ref<Event>, Error> {
        let slot = usize::try_from(slot).ok().filter(|s| *s < MAX_EVENTS).ok_or(Error::BadArgument)?;
        if process.event_slots[slot].swap(true, Ordering::Relaxed) {
            return Err(Error::Busy);
        }
        // Dropping the value on failure frees the slot again.
        Ref::try_new(Event { process: process.clone(), slot }).ok_or(Error::NoMemory)
    }

    /// Adds one and wakes the sleepers.
    pub(crate) fn signal(&self) -> Result<(), Error> {
        self.signal_locked(&mut SCHED.lock())
    }

    /// As [`Event::signal`], for callers that hold the scheduler.
    pub(crate) fn signal_locked(&self, sched: &mut Sched) -> Result<(), Error> {
        if !self.process.is_running(sched) {
            return Err(Error::Gone);
        }
        let counter = &self.process.page().events[self.slot];
        let count = counter.fetch_add(1, Ordering::Release) + 1;
        for slot in 0..self.process.thread_slots_used(sched) {
            let Some(thread) = self.process.thread(sched, slot) else { continue };
            let is_waiting = thread.state(sched) == State::Blocked
                && core::ptr::eq(thread.scheduling.get(sched).waits_for.get(), self);
            if is_waiting {
                sched.wake(&thread, Ok(count));
            }
        }
        Ok(())
    }

    /// Blocks `thread` (the running one) until the counter differs from `seen`; returns the count where it
    /// already does, `None` where the thread now sleeps.
    pub(crate) fn wait(&self, thread: &Thread, seen: u64, deadline_ns: u64) -> Result<Option<u64>, Error> {
        let mut sched = SCHED.lock();
        let count = self.process.page().events[self.slot].load(Ordering::Acquire);
        if count != seen {
            return Ok(Some(count));
        }
        if deadline_ns <= crate::arch::time::now_ns() {
            return Err(Error::TimedOut);
        }
        sched::block(&mut sched, thread, self, deadline_ns);
        Ok(None)
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        let slot: &AtomicBool = &self.process.event_slots[self.slot];
        slot.store(false, Ordering::Relaxed);
    }
}
