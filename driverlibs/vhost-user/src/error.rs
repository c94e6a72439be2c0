//! Errors of the connection.

use std::io;

/// Why the front end and the back end do not understand each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The system refused something: no such socket, no memory.
    #[error("{0}")]
    System(io::ErrorKind),
    /// The back end closed the connection.
    #[error("the back end closed the connection")]
    Closed,
    /// The back end did not answer in time.
    #[error("no answer to request {request} within {limit_ms} ms")]
    NoReply {
        /// Number of the request.
        request: u32,
        /// How long was waited.
        limit_ms: u64,
    },
    /// What came is not an answer to the request.
    #[error("request {request} was answered by {got}, flags {flags:#x}, {bytes} bytes")]
    BadReply {
        /// Number of the request.
        request: u32,
        /// Number that the answer has.
        got: u32,
        /// Its flags.
        flags: u32,
        /// Bytes it claims to have.
        bytes: u32,
    },
    /// The back end says that it could not do what was asked.
    #[error("the back end refused request {request}")]
    Refused {
        /// Number of the request.
        request: u32,
    },
    /// The back end claims to have an impossible number of queues.
    #[error("the back end has {queues} queues")]
    BadQueues {
        /// What it claims.
        queues: u64,
    },
}

impl Error {
    /// Whether the two still talk to each other.
    pub(crate) fn leaves_connection(self) -> bool {
        matches!(self, Error::Refused { .. })
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Error {
        Error::System(error.kind())
    }
}

impl From<rustix::io::Errno> for Error {
    fn from(error: rustix::io::Errno) -> Error {
        io::Error::from(error).into()
    }
}

impl From<Error> for weir_hal::Error {
    fn from(error: Error) -> weir_hal::Error {
        if error.leaves_connection() { weir_hal::Error::Hardware } else { weir_hal::Error::Gone }
    }
}
