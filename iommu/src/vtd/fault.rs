//! Fault records: what a unit refused (VT-d 5.10 §7.2.1 "Primary Fault Logging", §11.4.7 "Fault Registers").
//!
//! **Invariant: draining looks at each record once**, so a device that faults without end cannot keep the CPU here.
//! Faults that found no free record are lost by the hardware; `Drained::is_overflow` says so. Repeated faults of
//! one requester may be recorded once. Records are what a device caused: every field is hostile, none is an index.

use super::hardware::Hardware;
use super::registers::{FEADDR, FECTL, FEDATA, FEUADDR, FSTS, FaultControl, FaultRecord, FaultStatus};
use crate::address::{Iova, RequesterId};
use crate::environment::{Clock, Registers, TableMemory};

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

/// Fault reason code (VT-d 5.10 §7.1.3 Table 30 for DMA, §5.1.4.1 Table 15 for interrupts).
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
            _ => return write!(f, "reason {:#x}", self.0),
        };
        f.write_str(text)
    }
}

impl From<FaultRecord> for Fault {
    fn from(record: FaultRecord) -> Self {
        let reason = FaultReason(record.fr());
        let address = record.fi() << 12;
        let [high, low, ..] = address.to_be_bytes();
        let kind = if reason.is_interrupt() {
            FaultKind::Interrupt { index: u16::from_be_bytes([high, low]) }
        } else {
            FaultKind::Dma
        };
        Fault {
            requester: RequesterId(record.sid()),
            iova: Iova(address),
            is_write: !record.t1() || record.t2(),
            reason,
            kind,
        }
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

/// Where a unit's fault records are (CAP.FRO, CAP.NFR).
#[derive(Clone, Copy)]
pub(super) struct FaultRecords {
    pub(super) offset: usize,
    pub(super) count: usize,
}

impl FaultRecords {
    /// Reports and clears the pending records, oldest first, then the overflow.
    pub(super) fn drain<R: Registers, M: TableMemory, C: Clock>(
        self,
        hardware: &mut Hardware<R, M, C>,
        mut report: impl FnMut(Fault),
    ) -> Drained {
        let status = hardware.fault_status();
        if !status.ppf() && !status.pfo() {
            return Drained { faults: 0, is_overflow: false };
        }
        let first = usize::from(status.fri());
        let mut faults = 0;
        for at in (0..self.count).map(|step| self.offset + (first + step) % self.count * 16) {
            // The half with F first: once F is set the unit leaves the record alone.
            let high = hardware.registers.read64(at + 8);
            let low = hardware.registers.read64(at);
            let record = FaultRecord::from_bits(u128::from(high) << 64 | u128::from(low));
            if record.f() {
                report(record.into());
                faults += 1;
                clear(&mut hardware.registers, at);
            }
        }
        let is_overflow = hardware.fault_status().pfo();
        if is_overflow {
            hardware.registers.write32(FSTS, FaultStatus::new().with_pfo(true).into_bits());
        }
        Drained { faults, is_overflow }
    }
}

/// Clears one record: writes 1 to F and nothing else.
fn clear<R: Registers>(registers: &mut R, at: usize) {
    let f_alone = FaultRecord::new().with_f(true).into_bits();
    registers.write64(at + 8, (f_alone >> 64) as u64);
}

/// Has the unit send `vector` to `apic_id` when a fault is recorded; such messages are not remapped
/// (§5.1.6, §7.3 "Fault Reporting").
///
/// The upper bits of the id go where only units with extended interrupt mode have a register; elsewhere they are 0.
pub(super) fn program_event<R: Registers>(registers: &mut R, vector: u8, apic_id: u32) {
    mask_event(registers);
    registers.write32(FEDATA, u32::from(vector));
    registers.write32(FEADDR, 0xfee0_0000 | (apic_id & 0xff) << 12);
    registers.write32(FEUADDR, apic_id & !0xff);
    registers.write32(FECTL, FaultControl::new().into_bits());
}

/// Keeps the unit from sending fault events.
pub(super) fn mask_event<R: Registers>(registers: &mut R) {
    registers.write32(FECTL, FaultControl::new().with_im(true).into_bits());
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Golden records packed by hand from §11.4.7.6.
    #[test]
    fn decodes_records() {
        let write = Fault::from(FaultRecord::from_bits(0x8000_0005_0000_0018_0000_0012_3456_7000));
        assert_eq!((write.requester, write.iova), (RequesterId(0x18), Iova(0x12_3456_7000)));
        assert_eq!((write.is_write, write.reason, write.kind), (true, FaultReason::WRITE, FaultKind::Dma));
        let read = Fault::from(FaultRecord::from_bits(0xc000_0006_0000_abcd_0000_0000_0000_1000));
        assert_eq!((read.requester, read.is_write), (RequesterId(0xabcd), false));
        assert_eq!(read.reason, FaultReason::READ);
        let atomic = Fault::from(FaultRecord::from_bits(0xc000_0005_1000_0018_0000_0000_0000_1000));
        assert!(atomic.is_write);
        let interrupt = Fault::from(FaultRecord::from_bits(0x8000_0026_0000_0018_0123_0000_0000_0000));
        assert_eq!(interrupt.kind, FaultKind::Interrupt { index: 0x123 });
        assert_eq!(interrupt.reason, FaultReason::INTERRUPT_SOURCE);
    }
}
