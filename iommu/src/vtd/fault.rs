//! Fault records: what a unit refused (VT-d 5.10 §7.2.1 "Primary Fault Logging", §11.4.7 "Fault Registers").
//!
//! **Invariant: draining looks at each record once**, so a device that faults without end cannot keep the CPU here.
//! Faults that found no free record are lost by the hardware; `Drained::is_overflow` says so. Repeated faults of
//! one requester may be recorded once. Records are what a device caused: every field is hostile, none is an index.

use super::registers::{FEADDR, FECTL, FEDATA, FEUADDR, FSTS, FaultControl, FaultRecord, FaultStatus};
use crate::address::{Iova, RequesterId};
use crate::environment::{Clock, Registers, TableMemory};
use crate::fault::{Drained, Fault, FaultKind, FaultReason};
use crate::hardware::Hardware;

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
            return Drained::NOTHING;
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
        let status = hardware.fault_status();
        if status.pfo() {
            hardware.registers.write32(FSTS, FaultStatus::new().with_pfo(true).into_bits());
        }
        // A record set behind the sweep, before it cleared the others, was no new condition (§11.4.7.2, "IP").
        Drained { faults, is_overflow: status.pfo(), has_more: status.ppf() }
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
