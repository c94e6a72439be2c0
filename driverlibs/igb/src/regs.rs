//! Registers that only this controller has, or has at these places (82576 §8).

use bitfield_struct::bitfield;

/// Receive and transmit queue 0, and how far the next is.
pub(crate) const RX: u64 = 0xc000;
pub(crate) const TX: u64 = 0xe000;
pub(crate) const QUEUE_BYTES: u64 = 0x40;
/// Split and replication receive control, from a queue's first register.
pub(crate) const SRRCTL: u64 = 0x0c;
/// Extended interrupt mask: writing a bit unmasks the vector.
pub(crate) const EIMS: u64 = 0x1524;
/// Writing a bit masks the vector.
pub(crate) const EIMC: u64 = 0x1528;
/// Vectors that clear, and that mask themselves, when their message is sent: none, that is done by hand.
pub(crate) const EIAC: u64 = 0x152c;
pub(crate) const EIAM: u64 = 0x1530;
/// Extended interrupt cause: writing a bit clears it.
pub(crate) const EICR: u64 = 0x1580;
/// General purpose interrupt enable.
pub(crate) const GPIE: u64 = 0x1514;
/// Several messages, a cause bit per vector (82576 §8.8.13 "General Purpose Interrupt Enable").
pub(crate) const GPIE_SEVERAL_VECTORS: u32 = 1 << 4;
/// Interrupt vector allocation of a queue, which shares the register with the one eight above or below; and of the rest.
pub(crate) const fn ivar_of(queue: u16) -> u64 {
    0x1700 + 4 * (queue as u64 % 8)
}
pub(crate) const IVAR_MISC: u64 = 0x1740;
/// Interrupt throttling of the vectors.
pub(crate) const EITR: u64 = 0x1680;
pub(crate) const VECTORS: u64 = 25;

/// PHY access.
pub(crate) const MDIC: u64 = 0x0020;

/// PHY access (82576 §8.2.4 "MDI Control").
#[bitfield(u32)]
pub(crate) struct Mdic {
    pub(crate) data: u16,
    #[bits(5)]
    pub(crate) register: u8,
    #[bits(5)]
    pub(crate) phy: u8,
    /// 1: write, 2: read.
    #[bits(2)]
    pub(crate) operation: u8,
    /// The device is done.
    pub(crate) is_ready: bool,
    __: bool,
    pub(crate) has_failed: bool,
    __: bool,
}
const _: () = assert!(Mdic::REGISTER_OFFSET == 16 && Mdic::PHY_OFFSET == 21 && Mdic::IS_READY_OFFSET == 28);

/// A receive queue's buffers (82576 §8.10.2 "Split and Replication Receive Control").
#[bitfield(u32)]
pub(crate) struct SplitControl {
    /// In KiB.
    #[bits(7)]
    pub(crate) buffer_kib: u8,
    #[bits(18)]
    __: u32,
    /// 1: advanced, one buffer.
    #[bits(3)]
    pub(crate) descriptor: u8,
    #[bits(3)]
    __: u8,
    /// Frames that find no descriptor are dropped, so that they do not stop other queues.
    pub(crate) drops: bool,
}
const _: () = assert!(SplitControl::DESCRIPTOR_OFFSET == 25 && SplitControl::DROPS_OFFSET == 31);

/// When descriptors are fetched and written back (82576 §8.10.8 "RXDCTL", §8.12.13 "TXDCTL").
#[bitfield(u32)]
pub(crate) struct QueueControl {
    #[bits(5)]
    pub(crate) prefetch: u8,
    #[bits(3)]
    __: u8,
    #[bits(5)]
    pub(crate) host: u8,
    #[bits(3)]
    __: u8,
    /// Descriptors that are written back at once; 0: each that reports.
    #[bits(5)]
    pub(crate) write_back: u8,
    #[bits(4)]
    __: u8,
    pub(crate) is_enabled: bool,
    #[bits(6)]
    __: u8,
}
const _: () = assert!(QueueControl::HOST_OFFSET == 8 && QueueControl::WRITE_BACK_OFFSET == 16);
const _: () = assert!(QueueControl::IS_ENABLED_OFFSET == 25);

/// Which cause sends which message (82576 §8.8.15 "Interrupt Vector Allocation Registers"): here of queues 0 to 7, and
/// with the same fields of the rest, where `tx0` is "other causes".
#[bitfield(u32)]
pub(crate) struct Ivar {
    #[bits(5)]
    pub(crate) rx0: u16,
    #[bits(2)]
    __: u8,
    pub(crate) is_rx0_valid: bool,
    #[bits(5)]
    pub(crate) tx0: u16,
    #[bits(2)]
    __: u8,
    pub(crate) is_tx0_valid: bool,
    __: u16,
}
const _: () =
    assert!(Ivar::IS_RX0_VALID_OFFSET == 7 && Ivar::TX0_OFFSET == 8 && Ivar::IS_TX0_VALID_OFFSET == 15);

/// `CTRL_EXT`: the physical function's reset is done; virtual functions may go on (82576 §8.2.3 "PFRSTD").
pub(crate) const PF_RESET_DONE: u32 = 1 << 14;
/// `MRQC`: a pool for each virtual function, a queue in each (82576 §8.10.9 "Multiple Receive Queues Command").
pub(crate) const MRQC_POOLS: u32 = 3;
/// `RCTL`: tagged frames pass the VLAN filter only.
pub(crate) const FILTERS_VLAN: u32 = 1 << 18;
/// Virtualization.
pub(crate) const VT_CTL: u64 = 0x581c;
/// A pool's filters; the next pool's follow.
pub(crate) const VMOLR: u64 = 0x5ad0;
/// Of replicated frames.
pub(crate) const RPLOLR: u64 = 0x5af0;
/// The switch between pools.
pub(crate) const DTXSWC: u64 = 0x3500;
/// VLANs and their pools; VLAN filter table.
pub(crate) const VLVF: u64 = 0x5d00;
pub(crate) const VLVFS: u64 = 32;
pub(crate) const VFTA: u64 = 0x5600;
/// A bit per pool: receives, sends.
pub(crate) const VFRE: u64 = 0x0c8c;
pub(crate) const VFTE: u64 = 0x0c90;
/// A bit per virtual function that was reset; writing it clears it.
pub(crate) const VFLRE: u64 = 0x0c88;
/// Which mailboxes have something; writing a bit clears it.
pub(crate) const MBVFICR: u64 = 0x0c80;
/// The physical function's end of mailbox 0; the next follows.
pub(crate) const P2VMAILBOX: u64 = 0x0c00;
/// Memory of mailbox 0, and how far the next is.
pub(crate) const VMBMEM: u64 = 0x0800;
pub(crate) const VMBMEM_BYTES: u64 = 0x40;

/// Virtualization (82576 §8.26.1 "VMDq Control").
#[bitfield(u32)]
pub(crate) struct VtControl {
    #[bits(7)]
    __: u8,
    #[bits(3)]
    pub(crate) default_pool: u8,
    #[bits(19)]
    __: u32,
    /// What nobody asked for is dropped.
    pub(crate) has_no_default: bool,
    /// Broadcasts and frames to groups go to every pool that wants them.
    pub(crate) replicates: bool,
    __: bool,
}
const _: () = assert!(VtControl::HAS_NO_DEFAULT_OFFSET == 29 && VtControl::REPLICATES_OFFSET == 30);

/// What a pool receives (82576 §8.26.9 "VM Offload Register").
#[bitfield(u32)]
pub(crate) struct PoolSet {
    /// Longest frame, checksum included, where `is_long`.
    #[bits(14)]
    pub(crate) frame_limit: u16,
    #[bits(2)]
    __: u8,
    pub(crate) is_long: bool,
    pub(crate) has_rss: bool,
    #[bits(6)]
    __: u8,
    /// Without a VLAN tag.
    pub(crate) untagged: bool,
    /// That the multicast table passes.
    pub(crate) groups: bool,
    /// That the unicast table passes.
    pub(crate) hashed: bool,
    pub(crate) broadcast: bool,
    /// Every frame to a group.
    pub(crate) all_groups: bool,
    __: bool,
    pub(crate) strips_vlan: bool,
    pub(crate) strips_crc: bool,
}
const _: () = assert!(PoolSet::IS_LONG_OFFSET == 16 && PoolSet::UNTAGGED_OFFSET == 24);
const _: () = assert!(PoolSet::BROADCAST_OFFSET == 27 && PoolSet::STRIPS_CRC_OFFSET == 31);

/// High half of a receive address, with its pools (82576 §8.10.17 "Receive Address High").
#[bitfield(u32)]
pub(crate) struct PoolAddress {
    pub(crate) bytes: u16,
    #[bits(2)]
    pub(crate) select: u8,
    pub(crate) pools: u8,
    #[bits(5)]
    __: u8,
    pub(crate) is_valid: bool,
}
const _: () = assert!(PoolAddress::POOLS_OFFSET == 18 && PoolAddress::IS_VALID_OFFSET == 31);

/// The switch (82576 §8.26.4 "DMA Tx Switch Control"); a bit per pool.
#[bitfield(u32)]
pub(crate) struct SwitchControl {
    /// It sends from its own address only.
    pub(crate) checks_address: u8,
    /// It sends into its own VLANs only.
    pub(crate) checks_vlan: u8,
    pub(crate) local: u8,
    #[bits(7)]
    __: u8,
    /// Frames for another pool go there.
    pub(crate) hands_over: bool,
}
const _: () = assert!(SwitchControl::CHECKS_VLAN_OFFSET == 8 && SwitchControl::HANDS_OVER_OFFSET == 31);

/// A VLAN and its pools (82576 §8.26.12 "VLAN VM Filter").
#[bitfield(u32)]
pub(crate) struct PoolVlan {
    #[bits(12)]
    pub(crate) id: u16,
    pub(crate) pools: u8,
    #[bits(11)]
    __: u16,
    pub(crate) is_valid: bool,
}
const _: () = assert!(PoolVlan::POOLS_OFFSET == 12 && PoolVlan::IS_VALID_OFFSET == 31);

/// Which mailboxes have something (82576 §8.14.4 "Mailbox VF Interrupt Causes").
#[bitfield(u32)]
pub(crate) struct MailboxCauses {
    /// A request.
    pub(crate) requests: u8,
    __: u8,
    /// An answer was taken.
    pub(crate) acknowledgements: u8,
    __: u8,
}
const _: () = assert!(MailboxCauses::ACKNOWLEDGEMENTS_OFFSET == 16);

/// The physical function's end of a mailbox (82576 §8.14.1 "PF Mailbox").
#[bitfield(u32)]
pub(crate) struct PfMailbox {
    /// There is a message.
    pub(crate) sends: bool,
    /// The other's message was taken.
    pub(crate) acknowledges: bool,
    /// The virtual function uses the memory.
    pub(crate) is_theirs: bool,
    /// The physical function does.
    pub(crate) is_ours: bool,
    /// Takes the memory from a virtual function that keeps it.
    pub(crate) takes: bool,
    #[bits(27)]
    __: u32,
}
const _: () = assert!(PfMailbox::IS_OURS_OFFSET == 3 && PfMailbox::TAKES_OFFSET == 4);

/// Longest frame, checksum included, where long ones are received (82576 §8.10 "Receive Long Packet Maximum Length").
pub(crate) const RLPML: u64 = 0x5004;

/// `MRQC`: queues by hash (82576 §8.10.9).
pub(crate) const MRQC_SPREADS: u32 = 2;
/// Queues by the hash's low seven bits, four a register; the hash's key.
pub(crate) const RETA: u64 = 0x5c00;
pub(crate) const RETA_ENTRIES: usize = 128;
pub(crate) const RSSRK: u64 = 0x5c80;
