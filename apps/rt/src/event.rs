//! Events: counters in the kernel page that one can wait for.
//!
//! **Invariant: no wake-up is lost if the counter is read before looking for work and [`Event::wait`] gets
//! the value read.** Slots of the kernel page are given out here.

use core::sync::atomic::{AtomicU64, Ordering};

use weir_abi::call::{EVENT_CREATE, EVENT_SIGNAL, EVENT_WAIT};
use weir_abi::page::{BELL_EVENT, MAX_EVENTS};
use weir_abi::{Error, Handle};

use crate::call::call;
use crate::handle::{Object, Owned, object};
use crate::kernel_page::kernel_page;
use crate::process::Process;

/// A counter of this process that interrupts, other threads and the kernel advance.
#[derive(Debug)]
pub struct Event(Owned, Slot);

object!(Event);

impl Event {
    /// Makes an event: `event_create`.
    ///
    /// # Errors
    /// `Quota` (also: no slot of the kernel page left), `NoMemory`.
    pub fn create() -> Result<Event, Error> {
        let slot = SLOTS.take().ok_or(Error::Quota)?;
        // SAFETY: nothing of this program's memory is concerned.
        let handle = unsafe { call(EVENT_CREATE, [slot.0 as u64, 0, 0, 0, 0, 0]) }?;
        Ok(Event(Owned::new(Handle(handle)), slot))
    }

    /// The bell of this program's channels, an event that the supervisor made.
    pub(crate) fn bell(handle: Handle) -> Event {
        // Taken before anything of this program can take it: it is read once, at the start.
        Event(Owned::new(handle), Slot(BELL_EVENT))
    }

    /// Makes the bell of another process, which the caller rules: `event_create`.
    ///
    /// # Errors
    /// As [`Event::create`]; `Busy` where it has one.
    pub fn create_bell(process: &Process) -> Result<RemoteEvent, Error> {
        let arguments = [BELL_EVENT as u64, process.handle().0, 0, 0, 0, 0];
        // SAFETY: nothing of this program's memory is concerned.
        let handle = unsafe { call(EVENT_CREATE, arguments) }?;
        Ok(RemoteEvent::from_handle(Handle(handle)))
    }

    /// The counter now. No kernel entry.
    #[inline]
    #[must_use]
    pub fn count(&self) -> u64 {
        kernel_page().events[self.1.0].load(Ordering::Acquire)
    }

    /// Sleeps until the counter differs from `seen`, and gives it: `event_wait`. `deadline_ns` is on the
    /// clock of [`crate::clock::now_ns`]; `u64::MAX` means none.
    ///
    /// # Errors
    /// `TimedOut`.
    pub fn wait(&self, seen: u64, deadline_ns: u64) -> Result<u64, Error> {
        // SAFETY: nothing of this program's memory is concerned.
        unsafe { call(EVENT_WAIT, [self.0.raw(), seen, deadline_ns, 0, 0, 0]) }
    }

    /// Adds one and wakes the sleepers: `event_signal`.
    ///
    /// # Errors
    /// `Gone`.
    pub fn signal(&self) -> Result<(), Error> {
        // SAFETY: nothing of this program's memory is concerned.
        unsafe { call(EVENT_SIGNAL, [self.0.raw(), 0, 0, 0, 0, 0]) }.map(drop)
    }
}

/// An event of another process: it can be signalled only.
#[derive(Debug)]
pub struct RemoteEvent(Owned);

object!(RemoteEvent);

impl RemoteEvent {
    /// Takes over a handle to an `Event`.
    pub(crate) fn from_handle(handle: Handle) -> RemoteEvent {
        RemoteEvent(Owned::new(handle))
    }

    /// Adds one and wakes the sleepers: `event_signal`.
    ///
    /// # Errors
    /// `Gone`: the process has ended.
    pub fn signal(&self) -> Result<(), Error> {
        // SAFETY: nothing of this program's memory is concerned.
        unsafe { call(EVENT_SIGNAL, [self.0.raw(), 0, 0, 0, 0, 0]) }.map(drop)
    }
}

/// Keeps the bell's slot from being given to others. Before `main`.
pub(crate) fn reserve_bell() {
    SLOTS.0[BELL_EVENT / 64].fetch_or(1 << (BELL_EVENT % 64), Ordering::Relaxed);
}

/// A slot of the kernel page, given back when dropped (after the handle: fields drop in order).
#[derive(Debug)]
struct Slot(usize);

impl Drop for Slot {
    fn drop(&mut self) {
        SLOTS.give_back(self.0);
    }
}

const WORDS: usize = MAX_EVENTS / 64;
const _: () = assert!(MAX_EVENTS.is_multiple_of(64));

static SLOTS: Slots = Slots([const { AtomicU64::new(0) }; WORDS]);

/// Which slots are taken, a bit each.
struct Slots([AtomicU64; WORDS]);

impl Slots {
    fn take(&self) -> Option<Slot> {
        self.0.iter().enumerate().find_map(|(i, word)| Some(Slot(i * 64 + take_bit(word)?)))
    }

    fn give_back(&self, slot: usize) {
        self.0[slot / 64].fetch_and(!(1 << (slot % 64)), Ordering::Release);
    }
}

/// Sets the lowest clear bit and gives its number.
pub(crate) fn take_bit(word: &AtomicU64) -> Option<usize> {
    let lowest_clear = |taken: u64| (taken != u64::MAX).then(|| taken | (taken + 1));
    let before = word.fetch_update(Ordering::Acquire, Ordering::Relaxed, lowest_clear).ok()?;
    Some(before.trailing_ones() as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_each_slot_once_and_again() {
        let slots = Slots([const { AtomicU64::new(0) }; WORDS]);
        for expected in 0..MAX_EVENTS {
            assert_eq!(core::mem::ManuallyDrop::new(slots.take().unwrap()).0, expected);
        }
        assert!(slots.take().is_none());
        slots.give_back(77);
        assert_eq!(core::mem::ManuallyDrop::new(slots.take().unwrap()).0, 77);
        assert!(slots.take().is_none());
    }

    /// Under Miri, whose threads change places anywhere and whose loads may be old, this is the model of two threads.
    #[test]
    fn no_two_threads_have_a_slot_at_once() {
        let slots = Slots([const { AtomicU64::new(u64::MAX) }; WORDS]);
        // Two slots for three threads.
        slots.0[0].store(u64::MAX << 2, Ordering::Relaxed);
        // Relaxed: that an owner sees what the one before it did is due to the slots alone.
        let owners = [const { AtomicU64::new(0) }; 2];
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    for _ in 0..20 {
                        let Some(slot) = slots.take().map(core::mem::ManuallyDrop::new) else { continue };
                        assert_eq!(owners[slot.0].load(Ordering::Relaxed), 0);
                        owners[slot.0].store(1, Ordering::Relaxed);
                        owners[slot.0].store(0, Ordering::Relaxed);
                        slots.give_back(slot.0);
                    }
                });
            }
        });
        assert_eq!(slots.0[0].load(Ordering::Relaxed), u64::MAX << 2);
    }
}
