//! An interrupt message (MSI-X), as an event file of Linux.
//!
//! **Invariant: a masked message has no event file in the kernel.** VFIO has no other mask for MSI-X; the table entry
//! itself is masked then, and a message sent meanwhile pends in the device.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::io::Errno;
use weir_hal::{Clock, Error};

use crate::MonotonicClock;
use crate::error::to_host;
use crate::function::Handle;

const NS_PER_SECOND: u64 = 1_000_000_000;

/// A file that counts.
pub(crate) fn event() -> Result<OwnedFd, Errno> {
    eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)
}

/// A bound interrupt message. Dropping it unbinds it.
pub struct Message {
    function: Arc<Handle>,
    index: u16,
    event: OwnedFd,
    /// What was read from the event file so far.
    count: AtomicU64,
}

impl Message {
    /// The message `index`, which is bound, counted by `event`.
    pub(crate) fn new(function: Arc<Handle>, index: u16, event: OwnedFd) -> Message {
        Message { function, index, event, count: AtomicU64::new(0) }
    }

    /// Adds what came since the last reading.
    fn collect(&self) -> Result<u64, Errno> {
        let mut came = [0; 8];
        match rustix::io::read(&self.event, &mut came) {
            Ok(_) => {
                let came = u64::from_ne_bytes(came);
                Ok(self.count.fetch_add(came, Ordering::Relaxed) + came)
            }
            Err(Errno::AGAIN | Errno::INTR) => Ok(self.count.load(Ordering::Relaxed)),
            Err(errno) => Err(errno),
        }
    }

    /// Sleeps until the event file has something to read; `false` where the deadline passed.
    fn sleep(&self, deadline_ns: u64) -> Result<bool, Errno> {
        let left_ns = deadline_ns.saturating_sub(MonotonicClock.now_ns());
        let seconds = i64::try_from(left_ns / NS_PER_SECOND).unwrap_or(i64::MAX);
        let ns = i64::try_from(left_ns % NS_PER_SECOND).unwrap_or(0);
        let limit = (deadline_ns != u64::MAX).then_some(Timespec { tv_sec: seconds, tv_nsec: ns });
        let mut files = [PollFd::new(&self.event, PollFlags::IN)];
        match poll(&mut files, limit.as_ref()) {
            Ok(ready) => Ok(ready > 0),
            // A signal; the caller looks and sleeps again.
            Err(Errno::INTR) => Ok(true),
            Err(errno) => Err(errno),
        }
    }
}

impl weir_hal::Interrupt for Message {
    fn count(&self) -> u64 {
        self.collect().unwrap_or_else(|_| self.count.load(Ordering::Relaxed))
    }

    fn unmask(&self) -> Result<(), Error> {
        self.function.set_trigger(self.index, self.event.as_fd().as_raw_fd()).map_err(to_host)
    }

    fn mask(&self) -> Result<(), Error> {
        self.function.clear_trigger(self.index).map_err(to_host)
    }

    fn wait(&self, seen: u64, deadline_ns: u64) -> Result<u64, Error> {
        loop {
            let count = self.collect().map_err(to_host)?;
            if count != seen {
                return Ok(count);
            }
            if !self.sleep(deadline_ns).map_err(to_host)? {
                return Err(Error::TimedOut { limit_us: 0 });
            }
        }
    }
}

impl Drop for Message {
    fn drop(&mut self) {
        self.function.unbind(self.index);
    }
}
