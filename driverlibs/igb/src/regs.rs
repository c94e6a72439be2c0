//! Registers that only this controller has, or has at these places (82576 §8).

use bitfield_struct::bitfield;

/// Receive and transmit queue 0.
pub(crate) const RX: u64 = 0xc000;
pub(crate) const TX: u64 = 0xe000;
/// Split and replication receive control of queue 0.
pub(crate) const SRRCTL: u64 = 0xc00c;
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
/// Interrupt vector allocation: queues 0 and 8, and the rest.
pub(crate) const IVAR0: u64 = 0x1700;
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

/// Which cause sends which message (82576 §8.8.15 "Interrupt Vector Allocation Registers"): here of queue 0, and
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
