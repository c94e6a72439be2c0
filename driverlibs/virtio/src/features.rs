//! Feature bits (virtio 1.2 §2.2 "Feature Bits", §5.1.3 "Feature bits" of the network device, §6 "Reserved
//! Feature Bits").

bitflags::bitflags! {
    /// What device and driver agree on.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Features: u64 {
        /// The network device fills in checksums of frames it is given.
        const CSUM = 1 << 0;
        /// The network device may leave checksums of frames it gives to the driver, and tells which are right.
        const GUEST_CSUM = 1 << 1;
        /// The network device tells the longest payload of a frame.
        const MTU = 1 << 3;
        /// The network device's MAC address can be read.
        const NET_MAC = 1 << 5;
        /// The network device cuts TCP segments over IPv4 into frames.
        const HOST_TSO4 = 1 << 11;
        /// The network device cuts TCP segments over IPv6 into frames.
        const HOST_TSO6 = 1 << 12;
        /// The network device spreads long frames over several receive buffers.
        const MRG_RXBUF = 1 << 15;
        /// The network device tells whether the link is up.
        const NET_STATUS = 1 << 16;
        /// The network device has a control queue.
        const CTRL_VQ = 1 << 17;
        /// Commands tell which frames are received.
        const CTRL_RX = 1 << 18;
        /// The network device asks its owner to announce itself to the network.
        const GUEST_ANNOUNCE = 1 << 21;
        /// The network device has several pairs of queues.
        const MQ = 1 << 22;
        /// A command sets the network device's MAC address.
        const CTRL_MAC_ADDR = 1 << 23;
        /// A descriptor may stand for a table of them (§2.7.5.3, §2.8.7).
        const INDIRECT_DESC = 1 << 28;
        /// Indices tell when to kick and to interrupt (§2.7.7, §2.7.10).
        const EVENT_IDX = 1 << 29;
        /// The device follows version 1.
        const VERSION_1 = 1 << 32;
        /// The device's memory accesses go through the platform's IOMMU.
        const ACCESS_PLATFORM = 1 << 33;
        /// Queues are packed rings (§2.8 "Packed Virtqueues").
        const RING_PACKED = 1 << 34;
        /// The device uses buffers in the order they were made available (§2.7.9, §2.8.8).
        const IN_ORDER = 1 << 35;
        /// A command tells the network device which queue gets a frame.
        const RSS = 1 << 60;
    }
}

impl Features {
    /// What changes nothing for a program that knows frames only, and costs nothing where it is not used: no frames in
    /// several buffers, nor the longer ones that need these; no looking at what the device says of a checksum.
    pub const USUAL: Features =
        Features::all().difference(Features::MRG_RXBUF.union(Features::MTU).union(Features::GUEST_CSUM));
}
