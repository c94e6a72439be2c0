//! Feature bits (virtio 1.2 §2.2 "Feature Bits", §5.1.3 "Feature bits" of the network device, §6 "Reserved
//! Feature Bits").

bitflags::bitflags! {
    /// What device and driver agree on.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Features: u64 {
        /// The network device's MAC address can be read.
        const NET_MAC = 1 << 5;
        /// The network device tells whether the link is up.
        const NET_STATUS = 1 << 16;
        /// Indices tell when to kick and to interrupt (§2.7.7, §2.7.10).
        const EVENT_IDX = 1 << 29;
        /// The device follows version 1.
        const VERSION_1 = 1 << 32;
        /// The device's memory accesses go through the platform's IOMMU.
        const ACCESS_PLATFORM = 1 << 33;
        /// The device uses buffers in the order they were made available (§2.7.9).
        const IN_ORDER = 1 << 35;
    }
}
