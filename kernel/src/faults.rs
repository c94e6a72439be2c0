//! Blocked accesses, as the supervisor sees them: the last 256, and how many there were.

use core::sync::atomic::{AtomicU64, Ordering};

use weir_abi::info::FaultInfo;

use crate::sync::Lock;

const KEPT: u64 = 256;

struct Faults {
    count: u64,
    records: [FaultInfo; KEPT as usize],
}

const NONE: FaultInfo = FaultInfo { requester: 0, owner: 0, iova: 0, is_write: 0, reason: 0, time_ns: 0 };

static FAULTS: Lock<Faults> = Lock::new(Faults { count: 0, records: [NONE; KEPT as usize] });

static LOST: AtomicU64 = AtomicU64::new(0);

/// Counts that a unit had no room for at least one fault.
pub(crate) fn count_lost() {
    LOST.fetch_add(1, Ordering::Relaxed);
}

/// How often that was so.
pub(crate) fn lost() -> u64 {
    LOST.load(Ordering::Relaxed)
}

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
