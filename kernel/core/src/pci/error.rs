//! What can go wrong with PCI.

use crate::wait::TimedOut;

/// Why an operation was not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PciError {
    /// Firmware: two ranges of buses overlap, or one ends before it starts.
    #[error("bus ranges of segment {segment} overlap or are reversed")]
    BadBusRanges {
        /// The segment.
        segment: u16,
    },
    /// Machine: more functions than the kernel is willing to list.
    #[error("more than {limit} functions")]
    TooManyFunctions {
        /// How many it would list.
        limit: usize,
    },
    /// Kernel: the heap is full.
    #[error("out of memory")]
    NoMemory,
    /// Caller: the function has no such capability or register.
    #[error("the function does not have it")]
    NotPresent,
    /// Caller: a number or range beyond what the function has, or not whole pages.
    #[error("out of range")]
    OutOfRange,
    /// Caller: the pages hold the MSI-X table or its pending bits.
    #[error("the pages hold the MSI-X table")]
    HoldsInterruptTable,
    /// Caller: something else lies in the same page: another BAR, memory, registers of the kernel's.
    #[error("something else lies in the same pages")]
    SharesPage,
    /// Machine: the windows of the bridge above have no room for the function's registers.
    #[error("no room for its registers behind the bridge")]
    NoRoom,
    /// Device: what it says about itself contradicts itself, so it is not used.
    #[error("the function describes itself wrongly")]
    Malformed,
    /// Device: it no longer answers, or another one does.
    #[error("the function is gone")]
    Vanished,
    /// Device: it did not answer in time.
    #[error(transparent)]
    TimedOut(#[from] TimedOut),
}

impl From<PciError> for weir_abi::Error {
    fn from(error: PciError) -> weir_abi::Error {
        use weir_abi::Error;
        match error {
            PciError::NoMemory | PciError::NoRoom => Error::NoMemory,
            PciError::NotPresent => Error::Unsupported,
            PciError::OutOfRange | PciError::HoldsInterruptTable | PciError::SharesPage => Error::BadArgument,
            PciError::Malformed => Error::NotIsolated,
            PciError::Vanished => Error::Gone,
            PciError::BadBusRanges { .. } | PciError::TooManyFunctions { .. } | PciError::TimedOut(_) => {
                Error::Hardware
            }
        }
    }
}
