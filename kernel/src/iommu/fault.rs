//! The units' fault events.

use heapless::Vec as FixedVec;

use weir_iommu::unit::Fault;

use weir_abi::Error;

use super::{Cover, UNITS, caller_error, unit};
use crate::faults;
use crate::object::device;

/// A unit has recorded faults: tells whom they concern.
pub(crate) fn handle_fault_interrupt() {
    /// The most records taken at once: VT-d units have up to 256 (CAP.NFR), the event log of AMD units as many.
    const RECORDS: usize = 256;
    let Some(units) = UNITS.get() else { return };
    for (index, unit) in units.units.iter().enumerate() {
        // Ends: what is delivered counts against the device's budget, and above it the device is muted, or loses bus mastering
        // where its unit cannot be told.
        loop {
            let mut records: FixedVec<Fault, RECORDS> = FixedVec::new();
            let drained = unit.lock().drain_faults(|fault| {
                // Each record is reported once, so all fit.
                let _ = records.push(fault);
            });
            if drained.is_overflow {
                faults::count_lost();
            }
            for fault in records {
                device::deliver_fault(index, fault, drained.is_overflow);
            }
            if !drained.has_more {
                break;
            }
        }
    }
}

/// Stops recording the faults of a function, or starts again; they are blocked either way.
pub(crate) fn mute_faults(cover: &Cover, is_muted: bool) -> Result<(), Error> {
    let mut unit = unit(cover.unit)?.lock();
    cover
        .requesters
        .iter()
        .try_for_each(|requester| unit.mute_faults(*requester, is_muted))
        .map_err(caller_error)
}
