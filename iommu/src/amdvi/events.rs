//! The event log: what a unit refused (48882 §2.5 "Event Logging").
//!
//! **Invariant: draining looks at each slot of the log once**, so a device that faults without end cannot keep the
//! CPU here. A record is read only once it is written (units move the tail first) and cleared then. What found no
//! room is lost; the log, which stops then, is started again.

use super::registers::{CONTROL, Control, EVENT_BASE, EVENT_HEAD, EVENT_TAIL, RingBase, STATUS, Status};
use crate::address::{HYPERTRANSPORT_RANGE, INTERRUPT_RANGE_END, INTERRUPT_RANGE_START};
use crate::address::{Iova, PhysAddr, RequesterId};
use crate::environment::{Clock, Registers, TableMemory};
use crate::error::{Result, Wait};
use crate::fault::{Drained, Fault, FaultKind, FaultReason};
use crate::hardware::{COMMAND_LIMIT_US, Hardware};
use bitfield_struct::bitfield;

/// Records of 16 bytes in the one frame of the log.
const SLOTS: u64 = 256;
/// Longest wait for a record that the tail says is there, in microseconds.
const RECORD_LIMIT_US: u64 = 100;

/// Event codes.
const PAGE_FAULT: u8 = 2;

/// A record (§2.5.2 to §2.5.9; the fields of IO_PAGE_FAULT, which others leave out).
#[bitfield(u128)]
struct Record {
    requester: u16,
    __: u16,
    /// Domain, or PASID of a guest request.
    domain: u16,
    #[bits(3)]
    __: u8,
    /// I: the request was an interrupt.
    is_interrupt: bool,
    __: bool,
    /// RW.
    is_write: bool,
    #[bits(6)]
    __: u8,
    #[bits(4)]
    code: u8,
    address: u64,
}
const _: () = assert!(Record::DOMAIN_OFFSET == 32 && Record::IS_INTERRUPT_OFFSET == 51);
const _: () =
    assert!(Record::IS_WRITE_OFFSET == 53 && Record::CODE_OFFSET == 60 && Record::ADDRESS_OFFSET == 64);

impl Record {
    /// The interrupt's index, if the request was one. Some units set I for all faults, so the address counts too:
    /// an interrupt's is in a range that is no memory. HyperTransport's form has the vector, which is the index.
    fn interrupt(self) -> Option<u16> {
        let address = self.address();
        let is_message = (INTERRUPT_RANGE_START..INTERRUPT_RANGE_END).contains(&address);
        let is_packet = HYPERTRANSPORT_RANGE.contains(&address);
        let [_, _, vector, ..] = address.to_le_bytes();
        (self.is_interrupt() && (is_message || is_packet)).then_some(if is_packet {
            vector.into()
        } else {
            0
        })
    }

    fn reason(self) -> FaultReason {
        match (self.code(), self.interrupt()) {
            (PAGE_FAULT, Some(_)) => FaultReason::INTERRUPT_NOT_PRESENT,
            // Entries of blocked requesters name domain 0, and no domain has that number.
            (PAGE_FAULT, None) if self.domain() == 0 => FaultReason::CONTEXT_NOT_PRESENT,
            (PAGE_FAULT, None) if self.is_write() => FaultReason::WRITE,
            (PAGE_FAULT, None) => FaultReason::READ,
            (code, _) => FaultReason(0xe0 | code),
        }
    }
}

impl From<Record> for Fault {
    fn from(record: Record) -> Self {
        let kind = match record.interrupt() {
            Some(index) if record.code() == PAGE_FAULT => FaultKind::Interrupt { index },
            _ => FaultKind::Dma,
        };
        Fault {
            requester: RequesterId(record.requester()),
            iova: Iova(record.address() & !0xfff),
            is_write: record.is_write(),
            reason: record.reason(),
            kind,
        }
    }
}

/// The event log of one unit.
pub(super) struct EventLog {
    at: PhysAddr,
    /// Next slot to read.
    head: u64,
}

impl EventLog {
    /// An empty log, told to a unit whose logging is off.
    pub(super) fn new<R: Registers, M: TableMemory, C>(hardware: &mut Hardware<R, M, C>) -> Result<Self> {
        let log = EventLog { at: hardware.tables.alloc(1)?, head: 0 };
        hardware.registers.write64(EVENT_BASE, RingBase::one_frame(log.at).into_bits());
        hardware.registers.write64(EVENT_HEAD, 0);
        hardware.registers.write64(EVENT_TAIL, 0);
        Ok(log)
    }

    /// Reports and clears the records, oldest first, then starts a log that stopped for want of room.
    /// `control` is what the unit is set to.
    pub(super) fn drain<R: Registers, M: TableMemory, C: Clock>(
        &mut self,
        hardware: &mut Hardware<R, M, C>,
        control: Control,
        mut report: impl FnMut(Fault),
    ) -> Drained {
        // Before the tail is read, so that the next record raises the event again.
        hardware.registers.write64(STATUS, Status::new().with_event_interrupt(true).into_bits());
        let tail = hardware.registers.read64(EVENT_TAIL) / 16 % SLOTS;
        let mut drained = Drained::NOTHING;
        for _ in 0..(tail + SLOTS - self.head) % SLOTS {
            match self.take(hardware) {
                Some(record) => {
                    report(record.into());
                    drained.faults += 1;
                }
                None => drained.is_overflow = true,
            }
        }
        hardware.registers.write64(EVENT_HEAD, self.head * 16);
        if Status::from_bits(hardware.registers.read64(STATUS)).event_overflow() {
            drained.is_overflow = true;
            // Where the log does not stop in time the bit stays set, and the next drain tries again.
            let _ = restart(hardware, control);
        }
        drained
    }

    /// Takes the next record out, or nothing where the unit does not write it.
    fn take<R: Registers, M: TableMemory, C: Clock>(
        &mut self,
        hardware: &mut Hardware<R, M, C>,
    ) -> Option<Record> {
        let at = self.at.offset(self.head * 16);
        self.head = (self.head + 1) % SLOTS;
        let read = |hardware: &Hardware<R, M, C>| Record::from_bits(u128::from(hardware.tables.read64(at)));
        let is_written = |hardware: &mut Hardware<R, M, C>| Ok(read(hardware).code() != 0);
        let written = hardware.wait_until(Wait::EventLogSwitched, RECORD_LIMIT_US, is_written);
        let record = read(hardware).with_address(hardware.tables.read64(at.offset(8)));
        hardware.tables.write64(at, 0);
        hardware.tables.write64(at.offset(8), 0);
        written.ok().map(|()| record)
    }
}

/// Starts a log that stopped: off, overflow forgotten, on (§2.5.1 "Event Log Restart").
fn restart<R: Registers, M: TableMemory, C: Clock>(
    hardware: &mut Hardware<R, M, C>,
    control: Control,
) -> Result<()> {
    hardware.registers.write64(CONTROL, control.with_event_log(false).into_bits());
    hardware.wait_until(Wait::EventLogSwitched, COMMAND_LIMIT_US, |hardware| {
        Ok(!Status::from_bits(hardware.registers.read64(STATUS)).event_log_runs())
    })?;
    hardware.registers.write64(STATUS, Status::new().with_event_overflow(true).into_bits());
    hardware.registers.write64(CONTROL, control.into_bits());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(high: u64, low: u64) -> Fault {
        Record::from_bits(u128::from(high) << 64 | u128::from(low)).into()
    }

    /// Golden records packed by hand from §2.5.2 and §2.5.3.
    #[test]
    fn decodes_records() {
        let write = fault(0x12_3456_7123, 0x2020_0005_0000_0018);
        assert_eq!((write.requester, write.iova), (RequesterId(0x18), Iova(0x12_3456_7000)));
        assert_eq!((write.is_write, write.reason, write.kind), (true, FaultReason::WRITE, FaultKind::Dma));
        let read = fault(0x1000, 0x2010_0005_0000_abcd);
        assert_eq!(
            (read.requester, read.is_write, read.reason),
            (RequesterId(0xabcd), false, FaultReason::READ)
        );
        let blocked = fault(0x1000, 0x2020_0000_0000_0018);
        assert_eq!((blocked.is_write, blocked.reason), (true, FaultReason::CONTEXT_NOT_PRESENT));
        let entry = fault(0, 0x1000_0000_0000_0018);
        assert_eq!((entry.reason, entry.kind), (FaultReason::AMD_ILLEGAL_DEVICE_ENTRY, FaultKind::Dma));
        assert_eq!(fault(0x5000, 0x5000_0000_0000_0000).reason, FaultReason::AMD_ILLEGAL_COMMAND);
    }

    /// The record real units leave for an interrupt of an I/O APIC: vector 2 to APIC 2.
    #[test]
    fn interrupts_are_told_by_flag_and_address() {
        let line = fault(0xfd_f802_0200, 0x2008_0000_0000_00a0);
        assert_eq!(
            (line.reason, line.kind),
            (FaultReason::INTERRUPT_NOT_PRESENT, FaultKind::Interrupt { index: 2 })
        );
        let message = fault(0xfee0_0000, 0x2008_0000_0000_0018);
        assert_eq!(message.kind, FaultKind::Interrupt { index: 0 });
        let flag_alone = fault(0x1000, 0x2008_0005_0000_0018);
        assert_eq!((flag_alone.reason, flag_alone.kind), (FaultReason::READ, FaultKind::Dma));
        let address_alone = fault(0xfee0_0000, 0x2020_0005_0000_0018);
        assert_eq!(address_alone.kind, FaultKind::Dma);
    }
}
