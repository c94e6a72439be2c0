//! The clock never goes back, on no CPU, and agrees with the kernel's deadlines.

use alloc::sync::Arc;
use core::sync::atomic::{AtomicU64, Ordering};

use weir_rt::clock::{now_ns, sleep};
use weir_rt::thread::yield_now;
use weir_rt::{Env, kernel_page};

use crate::threads::run_all;
use crate::{Verdict, ensure};

/// CPUs' counters may differ by so much.
const SKEW_NS: u64 = 10_000;

pub(crate) fn clock(_: &mut Env) -> Result<(), Verdict> {
    let hz = kernel_page().tsc_hz;
    ensure!((10_000_000..20_000_000_000).contains(&hz), "{hz} ticks per second");
    ensure!(now_ns() < 86_400_000_000_000, "up for {} ns", now_ns());
    let mut last = now_ns();
    for _ in 0..100_000 {
        let now = now_ns();
        ensure!(now >= last, "back by {} ns", last - now);
        last = now;
    }
    let latest = Arc::new(AtomicU64::new(0));
    let worst = Arc::new(AtomicU64::new(0));
    let (common, back) = (Arc::clone(&latest), Arc::clone(&worst));
    run_all(move |_| {
        for round in 0..2_000 {
            let before = common.load(Ordering::SeqCst);
            let now = now_ns();
            back.fetch_max(before.saturating_sub(now), Ordering::SeqCst);
            common.fetch_max(now, Ordering::SeqCst);
            if round % 100 == 0 {
                yield_now();
            }
        }
    })?;
    let worst = worst.load(Ordering::SeqCst);
    ensure!(worst <= SKEW_NS, "back by {worst} ns between CPUs");
    let start = now_ns();
    sleep(20_000_000);
    let slept = now_ns() - start;
    ensure!((20_000_000..2_000_000_000).contains(&slept), "slept {slept} ns for 20 ms");
    Ok(())
}
