//! What is looked at between packets: counters for the supervisor, blocked accesses, the link.
//!
//! **Invariant: only the data-path thread writes the counters**, so adding to one is a load and a store.

use core::sync::atomic::{AtomicU64, Ordering};

use weir_abi::device::PciAddress;
use weir_abi::page::FaultRing;
use weir_abi::stats::Stats;
use weir_nic::Nic;
use weir_rt::{kernel_page, log, thread};

use crate::data_path::Work;
use crate::rogue::Canary;

/// Blocked accesses that are told one by one; the rest is counted.
const FAULTS_TOLD: u64 = 16;

/// The counters and what they were when last looked at.
pub(crate) struct Watch {
    stats: &'static Stats,
    canary: Option<Canary>,
    /// The canary was looked at after the first frame that arrived where it should.
    is_canary_told: bool,
    /// Kernel entries before the data path began.
    first_entries: u64,
    faults_seen: u64,
    is_link_up: bool,
}

impl Watch {
    pub(crate) fn new(stats: &'static Stats, canary: Option<Canary>) -> Watch {
        Watch { stats, canary, is_canary_told: false, first_entries: 0, faults_seen: 0, is_link_up: true }
    }

    /// The data path begins now.
    pub(crate) fn begin(&mut self) {
        self.stats.ready.store(1, Ordering::Release);
        self.first_entries = thread::kernel_entries();
    }

    /// Adds what a look did.
    #[inline]
    pub(crate) fn count(&self, work: &Work) {
        let Work { rx_packets, rx_bytes, tx_packets, tx_bytes, dropped } = *work;
        add(&self.stats.rx_packets, rx_packets);
        add(&self.stats.rx_bytes, rx_bytes);
        add(&self.stats.tx_packets, tx_packets);
        add(&self.stats.tx_bytes, tx_bytes);
        add(&self.stats.dropped, dropped);
    }

    pub(crate) fn count_device_error(&self) {
        add(&self.stats.device_errors, 1);
    }

    /// Shows the supervisor the kernel entries so far, and tells of accesses blocked since the last time.
    pub(crate) fn publish(&mut self, entries: u64, sleep_entries: u64) {
        let data_path = entries.wrapping_sub(self.first_entries);
        self.stats.data_path_kernel_entries.store(data_path, Ordering::Relaxed);
        self.stats.sleep_kernel_entries.store(sleep_entries, Ordering::Relaxed);
        self.off_path(|watch| {
            watch.watch_faults(&kernel_page().faults);
            watch.tell_canary();
        });
    }

    /// Does something whose kernel entries are not the data path's, such as logging.
    fn off_path<R>(&mut self, act: impl FnOnce(&mut Watch) -> R) -> R {
        let before = thread::kernel_entries();
        let result = act(self);
        self.first_entries = self.first_entries.wrapping_add(thread::kernel_entries().wrapping_sub(before));
        result
    }

    fn watch_faults(&mut self, ring: &FaultRing) {
        let written = ring.written.load(Ordering::Acquire);
        if written == self.faults_seen {
            return;
        }
        for number in (self.faults_seen..written).filter(|&number| number < FAULTS_TOLD) {
            tell_fault(ring, number);
        }
        self.faults_seen = written;
        let lost = ring.lost.load(Ordering::Relaxed);
        self.stats.iommu_faults.store(written.saturating_add(lost), Ordering::Relaxed);
        if let Some(canary) = &self.canary {
            log!("bad-descriptor: {written} accesses blocked, {}", canary.state());
        }
    }

    /// Tells how the canary is once the wrong descriptors, which come first, are used up: not every unit tells of
    /// what it blocked.
    fn tell_canary(&mut self) {
        if let Some(canary) = self.canary.as_ref().filter(|_| !self.is_canary_told)
            && self.stats.rx_packets.load(Ordering::Relaxed) > 0
        {
            self.is_canary_told = true;
            log!("bad-descriptor: wrong descriptors are used up, {}", canary.state());
        }
    }

    /// Tells of a link that went up or down. Reads the device's registers.
    pub(crate) fn watch_link<N: Nic>(&mut self, net: &N) -> Result<(), N::Error> {
        let is_up = net.read_link_up()?;
        if is_up != self.is_link_up {
            self.off_path(|_| log!("nic: the link is {}", if is_up { "up" } else { "down" }));
        }
        self.is_link_up = is_up;
        Ok(())
    }
}

fn tell_fault(ring: &FaultRing, number: u64) {
    let Some(fault) = ring.get(number) else { return };
    let what = if fault.is_write { "write to" } else { "read of" };
    let (who, iova, reason) = (PciAddress(fault.requester), fault.iova, fault.reason);
    log!("blocked: {who} {what} {iova:#x}, reason {reason}");
}

#[inline]
fn add(counter: &AtomicU64, more: u64) {
    counter.store(counter.load(Ordering::Relaxed).wrapping_add(more), Ordering::Relaxed);
}
