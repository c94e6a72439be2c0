//! What the supervisor sees.
//!
//! **Invariant: only the data path's thread writes the counters**, so adding to one is a load and a store.

use core::sync::atomic::{AtomicU64, Ordering};

use weir_abi::page::FaultRing;
use weir_abi::stats::Stats;
use weir_rt::{kernel_page, thread};

/// The counters' page, and the kernel entries that are not the data path's.
pub struct Watch {
    stats: &'static Stats,
    apart: u64,
}

impl Watch {
    pub(crate) fn new(stats: &'static Stats) -> Watch {
        Watch { stats, apart: 0 }
    }

    pub(crate) fn begin(&mut self) {
        self.stats.ready.store(1, Ordering::Release);
        self.apart = thread::kernel_entries();
    }

    #[inline]
    pub(crate) fn count_received(&self, bytes: u16) {
        add(&self.stats.rx_packets, 1);
        add(&self.stats.rx_bytes, bytes.into());
    }

    #[inline]
    pub(crate) fn count_sent(&self, frames: u64, bytes: u64) {
        add(&self.stats.tx_packets, frames);
        add(&self.stats.tx_bytes, bytes);
    }

    #[inline]
    pub(crate) fn count_dropped(&self) {
        add(&self.stats.dropped, 1);
    }

    pub(crate) fn count_device_error(&self) {
        add(&self.stats.device_errors, 1);
    }

    /// Frames and bytes sent, since the program began.
    #[must_use]
    pub fn sent(&self) -> (u64, u64) {
        let Stats { tx_packets, tx_bytes, .. } = self.stats;
        (tx_packets.load(Ordering::Relaxed), tx_bytes.load(Ordering::Relaxed))
    }

    /// Does something whose kernel entries are not the data path's, such as writing a line of the log.
    pub fn off_path<R>(&mut self, act: impl FnOnce() -> R) -> R {
        let before = thread::kernel_entries();
        let result = act();
        self.apart = self.apart.wrapping_add(thread::kernel_entries().wrapping_sub(before));
        result
    }

    /// Kernel entries of the data path since it began.
    #[must_use]
    pub fn entries(&self) -> u64 {
        thread::kernel_entries().wrapping_sub(self.apart)
    }

    /// Shows the supervisor how things stand.
    pub fn publish(&self) {
        self.stats.data_path_kernel_entries.store(self.entries(), Ordering::Relaxed);
        let FaultRing { written, lost, .. } = &kernel_page().faults;
        let faults = written.load(Ordering::Acquire).saturating_add(lost.load(Ordering::Relaxed));
        self.stats.iommu_faults.store(faults, Ordering::Relaxed);
    }
}

#[inline]
fn add(counter: &AtomicU64, more: u64) {
    counter.store(counter.load(Ordering::Relaxed).wrapping_add(more), Ordering::Relaxed);
}
