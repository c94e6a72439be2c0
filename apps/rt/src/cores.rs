//! Whole cores.

use weir_abi::Handle;

use crate::handle::{Owned, object};

/// A CPU granted whole: it runs only the threads started with it, without timer ticks or foreign interrupts.
#[derive(Debug)]
pub struct Core(Owned);

object!(Core);

impl Core {
    /// Takes over a handle to a `Core`.
    pub(crate) fn from_handle(handle: Handle) -> Core {
        Core(Owned::new(handle))
    }
}
