//! Blocked accesses: to the owner's ring, to the supervisor's list, to the log.

use core::sync::atomic::Ordering;

use weir_abi::info::{FaultInfo, TraceKind};
use weir_abi::page::FaultRecord;
use weir_iommu::unit::{Fault, FaultKind, FaultReason};
use weir_kernel::pci::Function;
use weir_kernel::refs::Ref;

use super::{Device, devices};
use crate::arch::time;
use crate::sched::SCHED;
use crate::{faults, pci, trace};

/// Faults of one grant that are written to the log; the others are counted and recorded.
const LOGGED: u32 = 16;

/// Tells the owner and the supervisor of an access that unit `unit` blocked.
pub(crate) fn deliver(unit: usize, fault: Fault, is_overflow: bool) {
    let is_its = |d: &Ref<Device>| d.cover.as_ref().is_ok_and(|c| c.is_from(unit, fault.requester));
    // Functions behind one bridge send with its id: they have one owner, if any.
    let has_owner = |d: &Ref<Device>| d.owner.lock().is_some();
    let device = devices().filter(is_its).find(has_owner).or_else(|| devices().find(is_its));
    let time_ns = time::now_ns();
    let mut info = FaultInfo {
        requester: u32::from(fault.requester.0),
        owner: 0,
        iova: fault_address(&fault),
        is_write: fault.is_write.into(),
        reason: fault.reason.0.into(),
        time_ns,
    };
    if let Some(device) = &device {
        info.requester = pci::number(device.function().address);
        info.owner = device.tell_owner(&info, is_overflow);
    }
    trace::record(TraceKind::Fault, info.owner, [info.requester.into(), info.iova]);
    faults::push(info);
    if let Some(device) = device {
        device.count_fault(time_ns);
    }
}

fn fault_address(fault: &Fault) -> u64 {
    match fault.kind {
        FaultKind::Dma => fault.iova.0,
        FaultKind::Interrupt { index } => u64::from(index) << 48,
    }
}

impl Device {
    /// Puts a fault into the owner's ring; returns the owner's number, 0 for nobody.
    fn tell_owner(&self, info: &FaultInfo, is_overflow: bool) -> u32 {
        let mut guard = self.owner.lock();
        let Some(owner) = guard.as_mut() else { return 0 };
        owner.process.faults.fetch_add(1, Ordering::Relaxed);
        let mut record = FaultRecord {
            device: owner.handle,
            requester: info.requester,
            iova: info.iova,
            is_write: info.is_write != 0,
            reason: info.reason as u8,
            count: 1,
            time_ns: info.time_ns,
        };
        let repeats = owner.last_fault.filter(|last| last.is_same_access(&record));
        record.count += repeats.map_or(0, |last| last.count);
        owner.last_fault = Some(record);
        if repeats.is_none() && owner.faults_logged < LOGGED {
            owner.faults_logged += 1;
            log_fault(self.function(), owner.process.name(), &record, owner.faults_logged == LOGGED);
        }
        let mut sched = SCHED.lock();
        if !owner.process.is_running(&sched) {
            return owner.process.id;
        }
        let ring = &owner.process.page().faults;
        if repeats.is_some() {
            ring.replace_last(&record);
        } else {
            ring.push(&record);
        }
        if is_overflow {
            ring.lost.fetch_add(1, Ordering::Relaxed);
        }
        if let Some(event) = &owner.watcher {
            // Its process runs: just seen under the same lock.
            let _ = event.signal_locked(&mut sched);
        }
        owner.process.id
    }
}

fn log_fault(function: &Function, owner: &str, record: &FaultRecord, is_last: bool) {
    log::warn!(
        "{} of {owner}: {} {:#x} was blocked: {}{}",
        function.address,
        if record.is_write { "writing" } else { "reading" },
        record.iova,
        FaultReason(record.reason),
        if is_last { "; later ones are counted, not logged" } else { "" },
    );
}
