//! Faults: what a unit refused, in the words of either make.
//!
//! **Invariant: every field is what a device caused, hostile, and is no index of anything here.**

use crate::address::{Iova, RequesterId};

/// One refused request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Who asked.
    pub requester: RequesterId,
    /// The page asked for; meaningless for interrupt requests.
    pub iova: Iova,
    /// The request would have changed memory (writes, atomics).
    pub is_write: bool,
    /// Why it was refused.
    pub reason: FaultReason,
    /// What was asked.
    pub kind: FaultKind,
}

/// What kind of request was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// An access to memory.
    Dma,
    /// An interrupt.
    Interrupt {
        /// The remapping table entry it named, where it named one.
        index: u16,
    },
}

/// Fault reason code: of VT-d (5.10 §7.1.3 Table 30 for DMA, §5.1.4.1 Table 15 for interrupts). AMD units say less:
/// what they say is put into the same codes where it means the same, and the rest is `E0h | event code`
/// (48882 §2.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FaultReason(pub u8);

impl FaultReason {
    /// The requester's bus has no context table: it is attached to nothing.
    pub const ROOT_NOT_PRESENT: Self = FaultReason(0x1);
    /// The requester is attached to nothing.
    pub const CONTEXT_NOT_PRESENT: Self = FaultReason(0x2);
    /// The context entry is invalid for this unit.
    pub const CONTEXT_INVALID: Self = FaultReason(0x3);
    /// The address is beyond what the domain translates.
    pub const BEYOND_WIDTH: Self = FaultReason(0x4);
    /// A write to where writing is not allowed.
    pub const WRITE: Self = FaultReason(0x5);
    /// A read from where reading is not allowed.
    pub const READ: Self = FaultReason(0x6);
    /// The interrupt names an entry that is not present.
    pub const INTERRUPT_NOT_PRESENT: Self = FaultReason(0x22);
    /// Compatibility-format interrupt.
    pub const INTERRUPT_COMPATIBILITY: Self = FaultReason(0x25);
    /// The interrupt's entry belongs to another requester.
    pub const INTERRUPT_SOURCE: Self = FaultReason(0x26);

    /// AMD: a device table entry is illegal for this unit.
    pub const AMD_ILLEGAL_DEVICE_ENTRY: Self = FaultReason(0xe1);
    /// AMD: the device table could not be read.
    pub const AMD_DEVICE_TABLE_HARDWARE: Self = FaultReason(0xe3);
    /// AMD: a page table could not be read.
    pub const AMD_PAGE_TABLE_HARDWARE: Self = FaultReason(0xe4);
    /// AMD: the unit stopped at a command.
    pub const AMD_ILLEGAL_COMMAND: Self = FaultReason(0xe5);
    /// AMD: the command buffer could not be read.
    pub const AMD_COMMAND_HARDWARE: Self = FaultReason(0xe6);
    /// AMD: a request of a kind no device may make.
    pub const AMD_INVALID_REQUEST: Self = FaultReason(0xe8);

    /// Whether the code is one of interrupt remapping, 20h to 2Fh.
    #[must_use]
    pub const fn is_interrupt(self) -> bool {
        self.0 >> 4 == 2
    }
}

impl core::fmt::Display for FaultReason {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let text = match *self {
            Self::ROOT_NOT_PRESENT | Self::CONTEXT_NOT_PRESENT => "requester is blocked",
            Self::CONTEXT_INVALID => "context entry is invalid",
            Self::BEYOND_WIDTH => "address is beyond the domain",
            Self::WRITE => "write is not allowed",
            Self::READ => "read is not allowed",
            Self::INTERRUPT_NOT_PRESENT => "interrupt entry is not present",
            Self::INTERRUPT_COMPATIBILITY => "compatibility-format interrupt",
            Self::INTERRUPT_SOURCE => "interrupt entry of another requester",
            Self::AMD_ILLEGAL_DEVICE_ENTRY => "device table entry is illegal",
            Self::AMD_DEVICE_TABLE_HARDWARE => "device table cannot be read",
            Self::AMD_PAGE_TABLE_HARDWARE => "page table cannot be read",
            Self::AMD_ILLEGAL_COMMAND => "illegal command",
            Self::AMD_COMMAND_HARDWARE => "command buffer cannot be read",
            Self::AMD_INVALID_REQUEST => "invalid request",
            _ => return write!(f, "reason {:#x}", self.0),
        };
        f.write_str(text)
    }
}

/// What draining found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drained {
    /// Records reported.
    pub faults: usize,
    /// The unit had no room for some faults since the last drain.
    pub is_overflow: bool,
}
