//! An application's counters, added up over its lives.

use core::sync::atomic::{AtomicU64, Ordering};

use weir_abi::stats::Stats;

/// What an application has counted. The values are its own claim, except the faults, which the kernel counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Packets received.
    pub rx_packets: u64,
    /// Packets sent.
    pub tx_packets: u64,
    /// Bytes received.
    pub rx_bytes: u64,
    /// Bytes sent.
    pub tx_bytes: u64,
    /// Packets dropped.
    pub dropped: u64,
    /// Violations by the device.
    pub device_errors: u64,
    /// Kernel entries of the data path.
    pub data_path_kernel_entries: u64,
    /// Of these, for sleeping.
    pub sleep_kernel_entries: u64,
    /// Blocked accesses by its devices.
    pub iommu_faults: u64,
}

impl Counters {
    /// Reads the counters of the present life; `faults` are the kernel's count.
    #[must_use]
    pub fn read(stats: &Stats, faults: u64) -> Counters {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counters {
            rx_packets: load(&stats.rx_packets),
            tx_packets: load(&stats.tx_packets),
            rx_bytes: load(&stats.rx_bytes),
            tx_bytes: load(&stats.tx_bytes),
            dropped: load(&stats.dropped),
            device_errors: load(&stats.device_errors),
            data_path_kernel_entries: load(&stats.data_path_kernel_entries),
            sleep_kernel_entries: load(&stats.sleep_kernel_entries),
            iommu_faults: faults,
        }
    }

    /// Both together. Wraps: an application may claim anything.
    #[must_use]
    pub fn plus(self, other: Counters) -> Counters {
        Counters {
            rx_packets: self.rx_packets.wrapping_add(other.rx_packets),
            tx_packets: self.tx_packets.wrapping_add(other.tx_packets),
            rx_bytes: self.rx_bytes.wrapping_add(other.rx_bytes),
            tx_bytes: self.tx_bytes.wrapping_add(other.tx_bytes),
            dropped: self.dropped.wrapping_add(other.dropped),
            device_errors: self.device_errors.wrapping_add(other.device_errors),
            data_path_kernel_entries: self
                .data_path_kernel_entries
                .wrapping_add(other.data_path_kernel_entries),
            sleep_kernel_entries: self.sleep_kernel_entries.wrapping_add(other.sleep_kernel_entries),
            iommu_faults: self.iommu_faults.wrapping_add(other.iommu_faults),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adds_every_counter() {
        let stats = Stats::default();
        let words = [
            &stats.rx_packets,
            &stats.tx_packets,
            &stats.rx_bytes,
            &stats.tx_bytes,
            &stats.dropped,
            &stats.device_errors,
            &stats.data_path_kernel_entries,
            &stats.sleep_kernel_entries,
        ];
        for (i, word) in (1u64..).zip(words) {
            word.store(i, Ordering::Relaxed);
        }
        let once = Counters::read(&stats, 9);
        let twice = once.plus(once);
        let expected = Counters {
            rx_packets: 2,
            tx_packets: 4,
            rx_bytes: 6,
            tx_bytes: 8,
            dropped: 10,
            device_errors: 12,
            data_path_kernel_entries: 14,
            sleep_kernel_entries: 16,
            iommu_faults: 18,
        };
        assert_eq!(twice, expected);
        let most = Counters { rx_bytes: u64::MAX, ..once };
        assert_eq!(most.plus(once).rx_bytes, 2, "a hostile claim does not panic");
    }
}
