//! What the supervisor sees.

use core::sync::atomic::Ordering;

use weir_abi::stats::Stats;
use weir_rt::{kernel_page, thread};
use weir_sockets::Net;

/// The counters' page, and what belongs to the loop.
pub(crate) struct Counts {
    stats: &'static Stats,
    /// Kernel entries before the loop began, and since then for what is not the data path's.
    apart: u64,
    device_errors: u64,
}

impl Counts {
    pub(crate) fn new(stats: &'static Stats) -> Counts {
        Counts { stats, apart: 0, device_errors: 0 }
    }

    /// The loop begins now.
    pub(crate) fn begin(&mut self) {
        self.apart = thread::kernel_entries();
        self.stats.ready.store(1, Ordering::Release);
    }

    /// Does something whose kernel entries are not the data path's, such as a look at the device's registers or a line
    /// of the log.
    pub(crate) fn off_path<R>(&mut self, act: impl FnOnce() -> R) -> R {
        let before = thread::kernel_entries();
        let result = act();
        self.apart = self.apart.wrapping_add(thread::kernel_entries().wrapping_sub(before));
        result
    }

    pub(crate) fn count_device_error(&mut self) {
        self.device_errors += 1;
    }

    /// Shows how things stand.
    pub(crate) fn publish(&self, net: &Net, sleep_entries: u64) {
        let counters = net.counters();
        let set = |word: &core::sync::atomic::AtomicU64, value| word.store(value, Ordering::Relaxed);
        set(&self.stats.rx_packets, counters.rx_packets);
        set(&self.stats.rx_bytes, counters.rx_bytes);
        set(&self.stats.tx_packets, counters.tx_packets);
        set(&self.stats.tx_bytes, counters.tx_bytes);
        set(&self.stats.dropped, counters.rx_dropped + counters.bad_checksums + counters.tx_dropped);
        set(&self.stats.device_errors, self.device_errors);
        set(&self.stats.data_path_kernel_entries, thread::kernel_entries().wrapping_sub(self.apart));
        set(&self.stats.sleep_kernel_entries, sleep_entries);
        let faults = &kernel_page().faults;
        let (written, lost) = (faults.written.load(Ordering::Acquire), faults.lost.load(Ordering::Relaxed));
        set(&self.stats.iommu_faults, written.saturating_add(lost));
    }
}
