//! Queued invalidation (VT-d 5.10 §6.5.2 "Queued Invalidation Interface").
//!
//! **Invariant: outside `run` the queue is empty; `run` returns `Ok` only after the unit wrote the status word of
//! the wait descriptor that follows the request, and reports no queue error.**
//!
//! One request at a time, each with its own wait: invalidation is a set-up and revocation step, and the order in
//! which a unit completes requests that share a wait is then no question. Queue and status word are snooped by
//! every unit (§11.4.3, ECAP.C speaks of the tables only), so they are not flushed.
//! Descriptors have 256 bits where the unit offers scalable mode, in whatever mode it is (§6.5.2, IQA.DW): the width is
//! chosen before the mode, and units that take wide descriptors take the same requests in them.
//! Wait descriptors write a status word and nothing else: no interrupt, no fence.

mod descriptor;

use super::registers::{FSTS, FaultStatus, IQA, IQH, IQT, QueueAddress};
use crate::address::{FRAME_BYTES, PhysAddr};
use crate::environment::{Clock, Registers, TableMemory};
use crate::error::{Error, Result, Wait};
use crate::hardware::{Hardware, INVALIDATION_LIMIT_US};
use descriptor::wait_descriptor;
pub(super) use descriptor::{Drain, Request};

pub(super) struct Queue {
    /// One frame (IQA.QS = 0).
    ring: PhysAddr,
    /// 16 or 32; of wide descriptors the upper half is never written and stays zero.
    descriptor_bytes: u64,
    /// The word the unit writes when it reaches a wait descriptor.
    status: PhysAddr,
    /// Where the next descriptor goes, in bytes: the tail register.
    tail: u64,
    /// Last value the unit was asked to write.
    sequence: u32,
}

impl Queue {
    /// Takes over from firmware and switches the queue on, with descriptors of 256 bits if `is_wide`.
    pub(super) fn start<R: Registers, M: TableMemory, C: Clock>(
        hardware: &mut Hardware<R, M, C>,
        is_wide: bool,
    ) -> Result<Self> {
        stop_firmware_queue(hardware)?;
        let ring = hardware.tables.alloc(1)?;
        let status = hardware.tables.alloc(1).inspect_err(|_| hardware.tables.free(ring, 1))?;
        hardware.registers.write64(IQT, 0);
        let address = QueueAddress::new().with_is_wide(is_wide).with_frame(ring.0 >> 12);
        hardware.registers.write64(IQA, address.into_bits());
        hardware.command(Wait::QueueSwitched, |global| global.with_qie(true), |status| status.qie())?;
        let descriptor_bytes = if is_wide { 32 } else { 16 };
        Ok(Queue { ring, descriptor_bytes, status, tail: 0, sequence: 0 })
    }

    /// Has the unit carry out `request` and waits for it.
    ///
    /// # Errors
    /// `Timeout`, `QueueError`: nothing is known about the unit's caches, the queue must not be used again.
    pub(super) fn run<R: Registers, M: TableMemory, C: Clock>(
        &mut self,
        hardware: &mut Hardware<R, M, C>,
        request: Request,
    ) -> Result<()> {
        hardware.flush_write_buffer()?;
        self.sequence = self.sequence.wrapping_add(1);
        self.push(hardware, request.descriptor());
        self.push(hardware, wait_descriptor(self.status, self.sequence));
        hardware.registers.write64(IQT, self.tail);
        let (status, sequence) = (self.status, self.sequence);
        hardware.wait_until(Wait::Invalidated, INVALIDATION_LIMIT_US, |hardware| {
            // Status first: an error that came before the confirmation is then seen after it.
            let confirmed = hardware.tables.read64(status) == u64::from(sequence);
            let fault = hardware.fault_status();
            if fault.has_queue_error() {
                return Err(Error::QueueError { fsts: fault.into_bits() });
            }
            Ok(confirmed)
        })
    }

    /// Ends the queue of a unit that broke down. While one of its errors stays set, a fault is no new condition, and no
    /// event is sent for it (§11.4.7.2 "Fault Event Control Register", IP).
    pub(super) fn abandon<R: Registers, M: TableMemory, C: Clock>(&self, hardware: &mut Hardware<R, M, C>) {
        // Switched off first, as the unit would fetch what it failed at again. It may not answer; its devices are blocked already.
        let _ =
            hardware.command(Wait::QueueSwitched, |global| global.with_qie(false), |status| !status.qie());
        clear_errors(hardware);
    }

    fn push<R: Registers, M: TableMemory, C>(&mut self, hardware: &Hardware<R, M, C>, descriptor: [u64; 2]) {
        let slot = self.ring.offset(self.tail);
        hardware.tables.write64(slot, descriptor[0]);
        hardware.tables.write64(slot.offset(8), descriptor[1]);
        self.tail = (self.tail + self.descriptor_bytes) % FRAME_BYTES;
    }
}

/// Switches off a queue that firmware left on, once the unit has worked it off, and forgets its errors.
fn stop_firmware_queue<R: Registers, M: TableMemory, C: Clock>(
    hardware: &mut Hardware<R, M, C>,
) -> Result<()> {
    if hardware.status().qie() {
        let is_drained = |hardware: &mut Hardware<R, M, C>| {
            let registers = &hardware.registers;
            Ok(registers.read64(IQH) == registers.read64(IQT))
        };
        hardware.wait_until(Wait::FirmwareQueueDrained, INVALIDATION_LIMIT_US, is_drained)?;
        hardware.command(Wait::QueueSwitched, |global| global.with_qie(false), |status| !status.qie())?;
    }
    clear_errors(hardware);
    Ok(())
}

fn clear_errors<R: Registers, M: TableMemory, C: Clock>(hardware: &mut Hardware<R, M, C>) {
    hardware.registers.write32(FSTS, FaultStatus::CLEAR_QUEUE_ERRORS.into_bits());
}
