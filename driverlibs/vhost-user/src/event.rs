//! Kicks and interrupts as event files (`eventfd`).
//!
//! **Invariant: an event file lives as long as the device and outlives every connection**: a doorbell or an interrupt
//! that a driver holds is good again after the device was started anew.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use rustix::io::{Errno, read, write};
use weir_hal::{Error, Interrupt, Register};

use crate::clock::until;
use crate::connection::Link;

/// An event file, shared with the back end.
pub(crate) type Event = Arc<OwnedFd>;

/// Makes an event file that never blocks.
pub(crate) fn event() -> Result<Event, Errno> {
    Ok(Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?))
}

/// The doorbell of a queue: one system call per kick. The back end knows the queue by the file, so what is written to
/// it does not matter.
pub struct Kick {
    pub(crate) event: Event,
}

impl Register<u16> for Kick {
    /// Nothing can be read from a doorbell.
    fn read(&self) -> u16 {
        u16::MAX
    }

    fn write(&self, _number: u16) {
        // It fails only where 2⁶⁴ kicks already wait to be seen.
        let _ = write(&self.event, &1u64.to_ne_bytes());
    }
}

/// The interrupt of a queue.
pub struct Call {
    event: Event,
    link: Arc<Link>,
    /// How often it came, as far as was looked.
    seen: AtomicU64,
}

impl Call {
    pub(crate) fn new(event: Event, link: Arc<Link>) -> Call {
        Call { event, link, seen: AtomicU64::new(0) }
    }
}

impl Interrupt for Call {
    /// Costs a system call here: an event file cannot be looked at otherwise. Drivers ask before they sleep, not while
    /// they poll.
    fn count(&self) -> u64 {
        let mut new = [0; 8];
        let more = if read(&self.event, &mut new) == Ok(8) { u64::from_ne_bytes(new) } else { 0 };
        self.seen.fetch_add(more, Ordering::Relaxed).wrapping_add(more)
    }

    /// Nothing to do: what comes while nobody waits is counted and disturbs nobody.
    fn unmask(&self) -> Result<(), Error> {
        Ok(())
    }

    /// Nothing to do, as for `unmask`.
    fn mask(&self) -> Result<(), Error> {
        Ok(())
    }

    fn wait(&self, seen: u64, deadline_ns: u64) -> Result<u64, Error> {
        loop {
            let count = self.count();
            if count != seen {
                return Ok(count);
            }
            let stream = self.link.stream().ok_or(Error::Gone)?;
            let hung_up = PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR;
            let mut files = [
                PollFd::from_borrowed_fd(self.event.as_fd(), PollFlags::IN),
                PollFd::from_borrowed_fd(stream.as_fd(), PollFlags::RDHUP),
            ];
            match poll(&mut files, until(deadline_ns).as_ref()) {
                Ok(0) => return Err(Error::TimedOut { limit_us: 0 }),
                Ok(_) if files[1].revents().intersects(hung_up) => return Err(Error::Gone),
                Ok(_) | Err(Errno::INTR) => {}
                Err(_) => return Err(Error::Hardware),
            }
        }
    }
}
