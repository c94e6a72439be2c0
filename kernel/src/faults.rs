//! Blocked accesses, as the supervisor sees them: the last 256, and how many there were.

use weir_abi::info::FaultInfo;

use crate::sync::Lock;

const KEPT: u64 = 256;

struct Faults {
    count: u64,
    records: [FaultInfo; KEPT as usize],
}

const NONE: FaultInfo = FaultInfo { requester: 0, owner: 0, iova: 0, is_write: 0, reason: 0, time_ns: 0 };

static FAULTS: Lock<Faults> = Lock::new(Faults { count: 0, records: [NONE; KEPT as usize] });

/// Keeps a record.
pub(crate) fn push(record: FaultInfo) {
    let mut faults = FAULTS.lock();
    let slot = (faults.count % KEPT) as usize;
    faults.records[slot] = record;
    faults.count += 1;
}

/// Fault number `number`, or the oldest kept if that is gone; `None` past the newest.
pub(crate) fn get(number: u64) -> Option<FaultInfo> {
    let faults = FAULTS.lock();
    let number = number.max(faults.count.saturating_sub(KEPT));
    (number < faults.count).then(|| faults.records[(number % KEPT) as usize])
}

/// Faults since boot.
pub(crate) fn count() -> u64 {
    FAULTS.lock().count
}
