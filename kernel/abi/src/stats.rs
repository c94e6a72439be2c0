//! Counters an application shows its supervisor: one page of plain words that the application writes and the
//! supervisor maps read-only. Nobody waits for anybody; a reader sees each word whole.

use core::sync::atomic::AtomicU64;

/// The counters' page. An application finds its `Memory` as the grant named `stats`.
#[repr(C, align(4096))]
#[derive(Default)]
pub struct Stats {
    /// Packets received.
    pub rx_packets: AtomicU64,
    /// Bytes received.
    pub rx_bytes: AtomicU64,
    /// Packets sent.
    pub tx_packets: AtomicU64,
    /// Bytes sent.
    pub tx_bytes: AtomicU64,
    /// Packets dropped: no buffer, not for us, malformed.
    pub dropped: AtomicU64,
    /// Violations by the device that reset a queue.
    pub device_errors: AtomicU64,
    /// Kernel entries of the data-path thread since its data path began.
    pub data_path_kernel_entries: AtomicU64,
    /// Of these, the entries of sleeps it asked for, and of the interrupts that ended them.
    pub sleep_kernel_entries: AtomicU64,
    /// Blocked accesses by its devices.
    pub iommu_faults: AtomicU64,
    /// 1 once the data path runs.
    pub ready: AtomicU64,
}
