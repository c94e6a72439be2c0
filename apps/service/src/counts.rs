//! What the supervisor sees.

use core::sync::atomic::{AtomicU64, Ordering};

use weir_abi::page::MAX_THREADS;
use weir_abi::stats::Stats;
use weir_rt::{kernel_page, thread};
use weir_sockets::Net;

/// Kernel entries of each thread that are not the data path's: before the loop began, and in [`off_path`].
static APART: [AtomicU64; MAX_THREADS] = [const { AtomicU64::new(0) }; MAX_THREADS];

/// The calling thread's.
fn apart() -> &'static AtomicU64 {
    // A slot is one of so many.
    &APART[thread::slot() % MAX_THREADS]
}

/// Does something whose kernel entries are not the data path's, such as writing a line of the log.
pub fn off_path<R>(act: impl FnOnce() -> R) -> R {
    let before = thread::kernel_entries();
    let result = act();
    apart().fetch_add(thread::kernel_entries().wrapping_sub(before), Ordering::Relaxed);
    result
}

/// The counters' page, and what this thread has added to it.
pub(crate) struct Counts {
    stats: &'static Stats,
    device_errors: u64,
    shown: [u64; COUNTERS],
}

/// Counters to which every thread adds.
const COUNTERS: usize = 8;

impl Counts {
    pub(crate) fn new(stats: &'static Stats) -> Counts {
        Counts { stats, device_errors: 0, shown: [0; COUNTERS] }
    }

    /// The loop begins now.
    pub(crate) fn begin(&self) {
        apart().store(thread::kernel_entries(), Ordering::Relaxed);
        self.stats.ready.store(1, Ordering::Release);
    }

    pub(crate) fn count_device_error(&mut self) {
        self.device_errors += 1;
    }

    /// Shows what has been added.
    pub(crate) fn publish(&mut self, net: &Net, sleep_entries: u64) {
        let counters = net.counters();
        let stats = self.stats;
        let entries = thread::kernel_entries().wrapping_sub(apart().load(Ordering::Relaxed));
        let now = [
            (&stats.rx_packets, counters.rx_packets),
            (&stats.rx_bytes, counters.rx_bytes),
            (&stats.tx_packets, counters.tx_packets),
            (&stats.tx_bytes, counters.tx_bytes),
            (&stats.dropped, counters.rx_dropped + counters.bad_checksums + counters.tx_dropped),
            (&stats.device_errors, self.device_errors),
            (&stats.data_path_kernel_entries, entries),
            (&stats.sleep_kernel_entries, sleep_entries),
        ];
        for ((word, value), shown) in now.into_iter().zip(&mut self.shown) {
            word.fetch_add(value.wrapping_sub(*shown), Ordering::Relaxed);
            *shown = value;
        }
        let faults = &kernel_page().faults;
        let (written, lost) = (faults.written.load(Ordering::Acquire), faults.lost.load(Ordering::Relaxed));
        stats.iommu_faults.store(written.saturating_add(lost), Ordering::Relaxed);
    }
}
