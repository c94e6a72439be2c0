//! What the supervisor sees.

use core::sync::atomic::{AtomicU64, Ordering};

use weir_abi::stats::Stats;
use weir_rt::{kernel_page, thread};
use weir_sockets::Net;

/// Kernel entries that are not the data path's: before the loop began, and in [`off_path`]. One thread serves.
static APART: AtomicU64 = AtomicU64::new(0);

/// Does something whose kernel entries are not the data path's, such as writing a line of the log.
pub fn off_path<R>(act: impl FnOnce() -> R) -> R {
    let before = thread::kernel_entries();
    let result = act();
    APART.fetch_add(thread::kernel_entries().wrapping_sub(before), Ordering::Relaxed);
    result
}

/// The counters' page, and what belongs to the loop.
pub(crate) struct Counts {
    stats: &'static Stats,
    device_errors: u64,
}

impl Counts {
    pub(crate) fn new(stats: &'static Stats) -> Counts {
        Counts { stats, device_errors: 0 }
    }

    /// The loop begins now.
    pub(crate) fn begin(&self) {
        APART.store(thread::kernel_entries(), Ordering::Relaxed);
        self.stats.ready.store(1, Ordering::Release);
    }

    pub(crate) fn count_device_error(&mut self) {
        self.device_errors += 1;
    }

    /// Shows how things stand.
    pub(crate) fn publish(&self, net: &Net, sleep_entries: u64) {
        let counters = net.counters();
        let set = |word: &AtomicU64, value| word.store(value, Ordering::Relaxed);
        set(&self.stats.rx_packets, counters.rx_packets);
        set(&self.stats.rx_bytes, counters.rx_bytes);
        set(&self.stats.tx_packets, counters.tx_packets);
        set(&self.stats.tx_bytes, counters.tx_bytes);
        set(&self.stats.dropped, counters.rx_dropped + counters.bad_checksums + counters.tx_dropped);
        set(&self.stats.device_errors, self.device_errors);
        set(
            &self.stats.data_path_kernel_entries,
            thread::kernel_entries().wrapping_sub(APART.load(Ordering::Relaxed)),
        );
        set(&self.stats.sleep_kernel_entries, sleep_entries);
        let faults = &kernel_page().faults;
        let (written, lost) = (faults.written.load(Ordering::Acquire), faults.lost.load(Ordering::Relaxed));
        set(&self.stats.iommu_faults, written.saturating_add(lost));
    }
}
