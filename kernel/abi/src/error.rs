//! Errors a system call returns.

/// Why a system call did nothing. The numbers are stable; 0 means success and is not an error.
///
/// A call that returns an error has changed nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[repr(u32)]
pub enum Error {
    /// No such system call number.
    #[error("no such system call")]
    BadCall = 1,
    /// The handle is not open, or belonged to an object that is gone.
    #[error("handle is not open")]
    BadHandle = 2,
    /// The handle is open but names an object of another kind.
    #[error("handle names an object of another kind")]
    WrongObject = 3,
    /// The handle lacks a right that the call needs.
    #[error("handle lacks the right")]
    NoRight = 4,
    /// An argument is out of range, unaligned or contradicts another.
    #[error("argument out of range")]
    BadArgument = 5,
    /// A user pointer is not mapped, or not with the needed permission.
    #[error("address not accessible")]
    BadAddress = 6,
    /// The machine has no frame or no kernel memory left.
    #[error("out of memory")]
    NoMemory = 7,
    /// The process reached a quota.
    #[error("quota reached")]
    Quota = 8,
    /// Somebody else owns it.
    #[error("owned by another process")]
    Busy = 9,
    /// There is no such thing.
    #[error("not found")]
    NotFound = 10,
    /// The deadline passed first.
    #[error("deadline passed")]
    TimedOut = 11,
    /// The object was revoked, or its process is dead.
    #[error("object is gone")]
    Gone = 12,
    /// The hardware or this kernel does not have it.
    #[error("not supported here")]
    Unsupported = 13,
    /// No IOMMU covers the device, so it cannot be confined.
    #[error("no IOMMU covers the device")]
    NoIommu = 14,
    /// The device shares its isolation group with another owner's, or cannot be confined or reset.
    #[error("device cannot be isolated")]
    NotIsolated = 15,
    /// The device or IOMMU unit did not answer in time, or answered wrongly.
    #[error("hardware did not answer")]
    Hardware = 16,
}

impl Error {
    const ALL: [Error; 16] = [
        Error::BadCall,
        Error::BadHandle,
        Error::WrongObject,
        Error::NoRight,
        Error::BadArgument,
        Error::BadAddress,
        Error::NoMemory,
        Error::Quota,
        Error::Busy,
        Error::NotFound,
        Error::TimedOut,
        Error::Gone,
        Error::Unsupported,
        Error::NoIommu,
        Error::NotIsolated,
        Error::Hardware,
    ];

    /// The error that a status register value stands for; an unknown number reads as [`Error::BadCall`].
    #[must_use]
    pub fn from_status(status: u64) -> Option<Error> {
        if status == 0 {
            return None;
        }
        Some(Error::ALL.into_iter().find(|e| *e as u64 == status).unwrap_or(Error::BadCall))
    }
}
