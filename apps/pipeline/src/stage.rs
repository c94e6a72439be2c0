//! The loop of every stage.
//!
//! **Invariant: between two looks nothing allocates, copies a frame, or enters the kernel**; what needs more is done once
//! in [`LOOKS_PER_ROUND`] looks, or before a sleep.

use core::sync::atomic::{AtomicU64, Ordering};

use weir_abi::stats::Stats;
use weir_pool::{Burst, Pool};
use weir_rt::clock::now_ns;
use weir_rt::poll::{Poller, Step};
use weir_rt::{log, thread};

use crate::words::Role;
use crate::{Failure, Place};

/// Buffers taken at once.
pub(crate) const BURST: usize = 32;
/// Looks between two rounds.
const LOOKS_PER_ROUND: u32 = 1 << 12;
/// Idle spinning before a sleep.
const SPIN_MIN_NS: u64 = 10_000;
const SPIN_MAX_NS: u64 = 200_000;
/// Longest sleep.
const SLEEP_NS: u64 = 500_000_000;

/// What a stage does.
pub(crate) trait Stage {
    /// What it has.
    fn place(&mut self) -> &mut Place;
    /// Takes what is there and passes it on; `true` where something was.
    fn look(&mut self) -> Result<bool, Failure>;
    /// Sleeps until there is something to do, or `deadline_ns`.
    fn sleep(&mut self, deadline_ns: u64) -> Result<(), Failure>;
}

/// Runs a stage until something fails.
pub(crate) fn run(mut stage: impl Stage, role: Role) -> Result<(), Failure> {
    let (stats, is_alone) = (stage.place().stats, stage.place().is_alone);
    let manner = if is_alone { "polling a core of its own" } else { "sleeping when idle" };
    log!("stage {role:?}, {manner}");
    let mut poller = Poller::new(SPIN_MIN_NS, SPIN_MAX_NS);
    let first_entries = thread::kernel_entries();
    loop {
        for _ in 0..LOOKS_PER_ROUND {
            let is_busy = stage.look()?;
            if !is_alone && poller.step(is_busy) == Step::Sleep {
                poller.sleep(|| stage.sleep(now_ns().saturating_add(SLEEP_NS)))?;
                break;
            }
        }
        let entries = thread::kernel_entries().wrapping_sub(first_entries);
        stats.data_path_kernel_entries.store(entries, Ordering::Relaxed);
        stats.sleep_kernel_entries.store(poller.sleep_entries(), Ordering::Relaxed);
        publish(stats, stage.place());
    }
}

/// Tells of the neighbours: that data may move, what they broke.
fn publish(stats: &Stats, place: &mut Place) {
    let is_moving = place.share.look() && place.share.ends.iter_mut().all(|link| link.has_neighbour());
    stats.ready.store(is_moving.into(), Ordering::Release);
    let violations = place.share.ends.iter().map(|link| link.violations()).sum();
    stats.device_errors.store(violations, Ordering::Relaxed);
}

/// Puts what is left of a burst back, as frames dropped; returns how many.
pub(crate) fn drop_rest(pool: &mut Pool, burst: &mut Burst<BURST>) -> u64 {
    let mut count = 0;
    while let Some(buf) = burst.pop() {
        pool.put(buf);
        count += 1;
    }
    count
}

/// Adds to a counter that only this thread writes.
#[inline]
pub(crate) fn add(counter: &AtomicU64, more: u64) {
    counter.store(counter.load(Ordering::Relaxed).wrapping_add(more), Ordering::Relaxed);
}
