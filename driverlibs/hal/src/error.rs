//! Errors of a host.

/// Why a host did not do what a driver asked. Nothing has changed then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An offset, a length, a width or an index is out of range or unaligned. The caller is at fault, or the
    /// device whose numbers it believed.
    #[error("out of range or unaligned")]
    OutOfRange,
    /// The host has no memory left, or the program reached its quota.
    #[error("out of memory or quota")]
    NoMemory,
    /// Somebody already uses it.
    #[error("in use")]
    Busy,
    /// The host, or the device, does not have it.
    #[error("not supported")]
    Unsupported,
    /// The program has no right to it.
    #[error("not permitted")]
    NotPermitted,
    /// The device was revoked or removed.
    #[error("device is gone")]
    Gone,
    /// A wait ended without what it waited for.
    #[error("timed out after {limit_us} µs")]
    TimedOut {
        /// The limit that passed; 0 where the wait had a deadline instead.
        limit_us: u64,
    },
    /// The device or the host's hardware did not answer, or answered wrongly.
    #[error("hardware did not answer")]
    Hardware,
}
