//! Errors of this driver.

use weir_block::{BadRequest, BlockError};

use crate::Status;

/// Why a driver call failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The host refused something. `Gone`: the device was revoked, or reads as all ones.
    #[error("host: {0}")]
    Host(#[from] weir_hal::Error),
    /// The function is no NVM Express controller.
    #[error("not an NVM Express controller: {vendor:04x}:{device:04x}, class {class:06x}")]
    OtherDevice {
        /// PCI vendor id.
        vendor: u16,
        /// PCI device id.
        device: u16,
        /// PCI class code.
        class: u32,
    },
    /// It has no NVM command set, no pages of 4 KiB, or other sizes of queue entries.
    #[error("controller of a kind that is not driven: capabilities {capabilities:#x}")]
    Unusable {
        /// The capabilities register; 0 where identify data says it.
        capabilities: u64,
    },
    /// It has no active namespace that can be used.
    #[error("no namespace that can be used")]
    NoNamespace,
    /// It has no interrupt message for an I/O queue, or no queue at all.
    #[error("no queue, or no interrupt for it")]
    NoQueue,
    /// It refused a command of the admin queue.
    #[error("admin command {opcode:#04x} was refused: {status}")]
    Refused {
        /// The command.
        opcode: u8,
        /// Its answer.
        status: Status,
    },
    /// It did not answer a command of the admin queue. It must be started again.
    #[error("admin command {opcode:#04x} was not answered within {limit_us} µs")]
    Silent {
        /// The command.
        opcode: u8,
        /// How long it had.
        limit_us: u64,
    },
    /// It says that it failed (CSTS.CFS). It must be started again.
    #[error("controller fatal status")]
    Fatal,
    /// It broke the protocol. It must be started again.
    #[error("device broke the protocol: {0}")]
    Violation(#[from] Violation),
    /// A request cannot be submitted.
    #[error("request: {0}")]
    BadRequest(#[from] BadRequest),
}

impl BlockError for Error {
    fn is_violation(&self) -> bool {
        matches!(self, Error::Violation(_) | Error::Silent { .. } | Error::Fatal)
    }
}

/// What a controller did wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Violation {
    /// It completed a command that it did not have.
    #[error("completion of command {cid}, which is not under way")]
    CommandId {
        /// The command it named.
        cid: u16,
    },
    /// A completion names another submission queue than the one whose completions these are.
    #[error("completion of submission queue {queue} in completion queue {expected}")]
    QueueId {
        /// The queue it named.
        queue: u16,
        /// The queue it should be.
        expected: u16,
    },
    /// It claims to have fetched up to an entry that the queue does not have.
    #[error("submission queue head {head}, of {entries} entries")]
    Head {
        /// The head it claims.
        head: u16,
        /// Entries there are.
        entries: u16,
    },
    /// Its list of namespaces is not ascending.
    #[error("namespace {namespace} is listed out of order")]
    Namespace {
        /// The namespace.
        namespace: u32,
    },
}
