//! The units' fault events.

use heapless::Vec as FixedVec;

use weir_iommu::unit::Fault;

use super::UNITS;
use crate::object::device;

/// A unit has recorded faults: tells whom they concern.
pub(crate) fn handle_fault_interrupt() {
    /// The most records taken at once: VT-d units have up to 256 (CAP.NFR), the event log of AMD units as many.
    const RECORDS: usize = 256;
    let Some(units) = UNITS.get() else { return };
    for (index, unit) in units.units.iter().enumerate() {
        let mut faults: FixedVec<Fault, RECORDS> = FixedVec::new();
        let drained = unit.lock().drain_faults(|fault| {
            // Each record is reported once, so all fit.
            let _ = faults.push(fault);
        });
        for fault in faults {
            device::deliver_fault(index, fault, drained.is_overflow);
        }
    }
}
