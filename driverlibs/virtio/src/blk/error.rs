//! Errors of the block device's driver.

use weir_block::{BadRequest, BlockError};

/// Why a driver call failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// What any virtio driver may fail of.
    #[error("{0}")]
    Virtio(#[from] crate::Error),
    /// Its blocks are of an impossible size.
    #[error("blocks of {bytes} bytes")]
    BlockSize {
        /// What it says.
        bytes: u32,
    },
    /// A request cannot be submitted.
    #[error("request: {0}")]
    BadRequest(#[from] BadRequest),
}

impl From<weir_hal::Error> for Error {
    fn from(error: weir_hal::Error) -> Error {
        Error::Virtio(error.into())
    }
}

impl From<crate::Violation> for Error {
    fn from(violation: crate::Violation) -> Error {
        Error::Virtio(violation.into())
    }
}

impl BlockError for Error {
    fn is_violation(&self) -> bool {
        matches!(self, Error::Virtio(crate::Error::Violation(_)))
    }
}
