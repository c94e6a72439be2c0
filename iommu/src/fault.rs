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
    /// Scalable mode: the requester's half of a bus has no context table: it is attached to nothing.
    pub const SCALABLE_ROOT_NOT_PRESENT: Self = FaultReason(0x39);
    /// Scalable mode: the requester is attached to nothing.
    pub const SCALABLE_CONTEXT_NOT_PRESENT: Self = FaultReason(0x41);
    /// First stage: nothing is mapped there.
    pub const FIRST_STAGE_NOT_PRESENT: Self = FaultReason(0x71);
    /// Scalable mode: nothing is mapped there, or not for this access, in a second-stage table.
    pub const SECOND_STAGE_PERMISSION: Self = FaultReason(0x79);
    /// First stage: the address is none of 48 bits, sign-extended.
    pub const NOT_CANONICAL: Self = FaultReason(0x80);
    /// Scalable mode: a write to where writing is not allowed.
    pub const SCALABLE_WRITE: Self = FaultReason(0x85);
    /// Scalable mode: a read from where reading is not allowed.
    pub const SCALABLE_READ: Self = FaultReason(0x86);
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
        match self.text() {
            Some(text) => f.write_str(text),
            None => write!(f, "reason {:#x}", self.0),
        }
    }
}

impl FaultReason {
    /// What the owner is told; `None` for codes no revision defines.
    const fn text(self) -> Option<&'static str> {
        Some(match self.0 {
            0x01 | 0x02 | 0x39 | 0x41 => "requester is blocked",
            0x03 | 0x43 => "context entry is invalid",
            0x04 | 0x74 | 0x83 | 0x84 => "address is beyond the domain",
            0x05 | 0x77 | 0x85 => "write is not allowed",
            0x06 | 0x75 | 0x76 | 0x86 => "read is not allowed",
            0x07 | 0x70 | 0x73 | 0x78 => "page table cannot be read",
            0x08 | 0x30 | 0x38 => "root table cannot be read",
            0x09 | 0x40 => "context table cannot be read",
            0x0a | 0x3a => "root entry has reserved bits set",
            0x0b | 0x42 => "context entry has reserved bits set",
            0x0c | 0x72 | 0x7a => "page-table entry has reserved bits set",
            0x0d | 0x44 => "translation request is not allowed",
            0x0e | 0x87 => "interrupt range is no memory",
            0x20 => "interrupt has reserved bits set",
            0x21 => "interrupt index is beyond the table",
            0x22 => "interrupt entry is not present",
            0x23 => "interrupt table cannot be read",
            0x24 => "interrupt entry has reserved bits set",
            0x25 => "compatibility-format interrupt",
            0x26 => "interrupt entry of another requester",
            0x31 | 0x45 | 0x46 => "request with pasid is not allowed",
            0x32 | 0x47 => "page request is not allowed",
            0x48 | 0x5b => "pasid entry is invalid",
            0x50 | 0x58 => "pasid table cannot be read",
            0x51 | 0x59 => "pasid entry is not present",
            0x52 | 0x5a => "pasid entry has reserved bits set",
            0x5c | 0x82 => "execution is not allowed",
            0x5d | 0x81 => "supervisor and user do not agree",
            0x71 => "nothing is mapped",
            0x79 => "access is not allowed",
            0x7b => "page table pointer is invalid",
            0x7c | 0x90 | 0x91 => "unit would have to write the page table",
            0x80 => "address is not canonical",
            0xe1 => "device table entry is illegal",
            0xe3 => "device table cannot be read",
            0xe4 => "page table cannot be read",
            0xe5 => "illegal command",
            0xe6 => "command buffer cannot be read",
            0xe8 => "invalid request",
            _ => return None,
        })
    }
}

/// What draining found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drained {
    /// Records reported.
    pub faults: usize,
    /// The unit had no room for some faults since the last drain.
    pub is_overflow: bool,
    /// More came in meanwhile: to be drained now, as the unit sends no event for them.
    pub has_more: bool,
}

impl Drained {
    pub(crate) const NOTHING: Self = Self { faults: 0, is_overflow: false, has_more: false };
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::string::ToString;

    #[test]
    fn every_reason_there_is_has_a_name() {
        let dma = (0x1..=0xe).chain(0x30..=0x32).chain(0x38..=0x3a).chain(0x40..=0x48).chain(0x50..=0x52);
        let scalable = (0x58..=0x5d).chain(0x70..=0x7c).chain(0x80..=0x87).chain(0x90..=0x91);
        for code in dma.chain(scalable).chain(0x20..=0x26) {
            let text = FaultReason(code).to_string();
            assert!(!text.contains("reason"), "{code:#x}: {text}");
        }
        assert_eq!(FaultReason::CONTEXT_NOT_PRESENT.to_string(), "requester is blocked");
        assert_eq!(FaultReason::AMD_ILLEGAL_COMMAND.to_string(), "illegal command");
        assert_eq!(FaultReason(0xff).to_string(), "reason 0xff");
    }
}
