//! Who is told that the console has received something.

use weir_kernel::refs::Ref;

use crate::arch::serial;
use crate::object::event::Event;
use crate::sync::Lock;

static WATCHER: Lock<Option<Ref<Event>>> = Lock::new(None);

/// Sets or clears the watcher.
pub(crate) fn watch(event: Option<Ref<Event>>) {
    let old = core::mem::replace(&mut *WATCHER.lock(), event);
    // Outside the lock: the last reference to the event may go here.
    drop(old);
}

/// The serial port has received bytes.
pub(crate) fn received() {
    serial::drain_console();
    let watcher = WATCHER.lock().clone();
    if let Some(event) = watcher {
        // A watcher that is gone needs no telling.
        let _ = event.signal();
    }
}
