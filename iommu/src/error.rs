//! What can go wrong, and whose fault it is.
//!
//! **Invariant: when a call returns `Timeout`, `QueueError` or `CommandError` the unit has been isolated already.**

use crate::address::{Iova, PhysAddr, RequesterId};

/// Shorthand of this crate.
pub type Result<T, E = Error> = core::result::Result<T, E>;

/// Who has to act on an [`Error`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blame {
    /// The caller asked for something impossible; nothing was changed.
    Caller,
    /// A firmware table is malformed; nothing was changed.
    Firmware,
    /// Memory or identifiers ran out; nothing was changed.
    Resources,
    /// The unit lacks something Weir needs, or does not do what it was told.
    Unit,
}

/// What a bounded wait was waiting for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Firmware's invalidation queue to run empty.
    FirmwareQueueDrained,
    /// Queued invalidation to switch on or off.
    QueueSwitched,
    /// The root table pointer to be taken over.
    RootTableSet,
    /// DMA remapping to switch on or off.
    TranslationSwitched,
    /// The interrupt remapping table pointer to be taken over.
    InterruptTableSet,
    /// Interrupt remapping to switch on or off.
    InterruptRemappingSwitched,
    /// Compatibility-format interrupts to be blocked.
    CompatibilityBlocked,
    /// The write buffer to be flushed.
    WriteBufferFlushed,
    /// Firmware's protected memory regions to switch off.
    ProtectedRegionsOff,
    /// An invalidation to be confirmed.
    Invalidated,
    /// AMD: the command buffer to start or stop.
    CommandsSwitched,
    /// AMD: the event log to start or stop.
    EventLogSwitched,
}

/// Everything this crate reports.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A range is empty, unaligned, or reaches beyond what the domain translates.
    #[error("i/o range at {iova:?} of {bytes} bytes is empty, unaligned or out of reach")]
    BadRange {
        /// Start asked for.
        iova: Iova,
        /// Length asked for.
        bytes: u64,
    },
    /// A physical range is unaligned or beyond the host address width.
    #[error("physical range at {phys:?} is unaligned or beyond the host address width")]
    BadPhysical {
        /// Start asked for.
        phys: PhysAddr,
    },
    /// Either side of a mapping overlaps the interrupt address range.
    #[error("mapping at {iova:?} touches the interrupt address range")]
    InterruptRange {
        /// Start asked for.
        iova: Iova,
    },
    /// Something is mapped there already.
    #[error("{iova:?} is mapped already")]
    AlreadyMapped {
        /// First such address.
        iova: Iova,
    },
    /// Nothing is mapped there.
    #[error("{iova:?} is not mapped")]
    NotMapped {
        /// First such address.
        iova: Iova,
    },
    /// The range ends inside a large page: unmap what was mapped, not a part of it.
    #[error("range would split the large page at {iova:?}")]
    SplitsLargePage {
        /// Start of the part inside the large page.
        iova: Iova,
    },
    /// The requester is attached to some domain.
    #[error("requester {requester} is attached already")]
    AlreadyAttached {
        /// The requester.
        requester: RequesterId,
    },
    /// The requester is not attached to this domain.
    #[error("requester {requester} is not attached to this domain")]
    NotAttached {
        /// The requester.
        requester: RequesterId,
    },
    /// The domain's page-table format is not one this unit walks, or not in the mode it is in.
    #[error("domain was built for capabilities or a mode the unit does not have")]
    IncompatibleDomain,
    /// Fixed interrupts need a vector of 16 or more (the first 16 are reserved by the local APIC).
    #[error("vector {vector} is reserved")]
    BadVector {
        /// Vector asked for.
        vector: u8,
    },
    /// The APIC id does not fit the mode or is the broadcast id.
    #[error("apic id {apic_id} cannot be a destination")]
    BadDestination {
        /// Destination asked for.
        apic_id: u32,
    },
    /// The handle belongs to another unit, or interrupt remapping is off.
    #[error("interrupt handle is not one of this unit")]
    NotThisUnit,
    /// The interrupt was allocated for another requester, whose table it stays in.
    #[error("interrupt belongs to another requester than {requester}")]
    OtherRequester {
        /// Requester asked for.
        requester: RequesterId,
    },
    /// The step must come after `enable_translation`.
    #[error("translation is not enabled yet")]
    NotEnabled,
    /// The step was already done, or the step it must come before; it is done once.
    #[error("already enabled")]
    AlreadyEnabled,

    /// A firmware table is cut short, or a length in it is impossible.
    #[error("firmware table is malformed at byte {offset}")]
    BadTable {
        /// Where the impossible structure starts.
        offset: usize,
    },
    /// The checksum of a firmware table is wrong.
    #[error("firmware table has a bad checksum")]
    BadChecksum,

    /// The environment has no frame for a table.
    #[error("no frame left for a remapping table")]
    OutOfFrames,
    /// Every domain id is in use.
    #[error("no domain id left")]
    OutOfDomainIds,
    /// Every interrupt remapping entry is in use.
    #[error("no interrupt remapping entry left")]
    OutOfInterrupts,

    /// The unit lacks queued invalidation, a page-table depth Weir can use or the mode asked for, or its registers are
    /// not all mapped.
    #[error("unit lacks what Weir needs")]
    Unsupported,
    /// The unit does not remap interrupts, or not in the mode asked for.
    #[error("unit cannot remap interrupts in this mode")]
    NoInterruptRemapping,
    /// The unit did not answer in time.
    #[error("unit: {what:?} did not happen within {limit_us} us")]
    Timeout {
        /// What was waited for.
        what: Wait,
        /// How long.
        limit_us: u64,
    },
    /// The unit stopped its invalidation queue: IQE, ICE or ITE of FSTS (VT-d 5.10 §6.5.2.11).
    #[error("unit reports invalidation queue error, fsts {fsts:#x}")]
    QueueError {
        /// Fault status register.
        fsts: u32,
    },
    /// The unit stopped at a command: CmdBufRun of the status register is 0 (AMD 48882 §3.4).
    #[error("unit stopped its command buffer, status {status:#x}")]
    CommandError {
        /// Status register, low half.
        status: u32,
    },
    /// The unit failed earlier and blocks all its requesters.
    #[error("unit is isolated after an earlier failure")]
    Isolated,
}

impl Error {
    /// Whether the unit broke down, rather than lacking something from the start.
    pub(crate) const fn is_breakdown(self) -> bool {
        matches!(self, Error::Timeout { .. } | Error::QueueError { .. } | Error::CommandError { .. })
    }

    /// Who has to act.
    #[must_use]
    pub const fn blame(self) -> Blame {
        match self {
            Error::BadTable { .. } | Error::BadChecksum => Blame::Firmware,
            Error::OutOfFrames | Error::OutOfDomainIds | Error::OutOfInterrupts => Blame::Resources,
            Error::Unsupported
            | Error::NoInterruptRemapping
            | Error::Timeout { .. }
            | Error::QueueError { .. }
            | Error::CommandError { .. }
            | Error::Isolated => Blame::Unit,
            _ => Blame::Caller,
        }
    }
}
