//! One event for everything that can end a program's sleep.
//!
//! **Invariant: what rings after [`Doorbell::listen`] ends the next wait**, however much the program looks at in between:
//!
//! ```text
//! bell.listen();                                  // first the counter,
//! if every ring may sleep { wait on the bell }    // then the looks, then the sleep
//! ```

use core::sync::atomic::{AtomicU64, Ordering};

use weir_abi::Error;

use crate::event::Event;

/// An event, and how far it had counted before the program looked for work.
#[derive(Debug)]
pub struct Doorbell {
    event: Event,
    /// `u64::MAX` where nobody listens.
    heard: AtomicU64,
}

impl Doorbell {
    /// A bell that the event rings.
    #[must_use]
    pub fn new(event: Event) -> Doorbell {
        Doorbell { event, heard: AtomicU64::new(u64::MAX) }
    }

    /// The event.
    #[must_use]
    pub fn event(&self) -> &Event {
        &self.event
    }

    /// From now on, what rings ends the next wait.
    pub fn listen(&self) {
        self.heard.store(self.event.count(), Ordering::Relaxed);
    }

    /// Sleeps until it rings, or has since [`Doorbell::listen`], or the deadline.
    ///
    /// # Errors
    /// `TimedOut`.
    pub fn wait(&self, deadline_ns: u64) -> Result<u64, Error> {
        self.wait_from(self.event.count(), deadline_ns)
    }

    /// As [`Doorbell::wait`], for who has read the counter, too.
    pub(crate) fn wait_from(&self, seen: u64, deadline_ns: u64) -> Result<u64, Error> {
        let heard = self.heard.swap(u64::MAX, Ordering::Relaxed);
        self.event.wait(heard.min(seen), deadline_ns)
    }
}
