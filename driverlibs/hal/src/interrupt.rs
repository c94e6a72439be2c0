//! An interrupt message of a device, as a counter.

use crate::Error;

/// One interrupt message. Dropping it masks and frees it.
///
/// Sleeping without losing a wake-up: read [`Interrupt::count`], ask the device for interrupts, look for
/// work once more, and only then [`Interrupt::wait`] with the count read first.
pub trait Interrupt: Send {
    /// How often it came. Costs a load, no kernel entry; over VFIO, where the count is the kernel's, a system call.
    fn count(&self) -> u64;

    /// Lets messages through.
    ///
    /// # Errors
    /// `Gone`.
    fn unmask(&self) -> Result<(), Error>;

    /// Stops messages; those in between are lost or pend, as the device likes.
    ///
    /// # Errors
    /// `Gone`.
    fn mask(&self) -> Result<(), Error>;

    /// Sleeps until the count differs from `seen` and returns it; at once where it already does.
    /// `deadline_ns` is a time of the host's [`crate::Clock`], `u64::MAX` for none.
    ///
    /// # Errors
    /// `TimedOut`, `Gone`.
    fn wait(&self, seen: u64, deadline_ns: u64) -> Result<u64, Error>;
}
