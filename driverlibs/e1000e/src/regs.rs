//! Registers that only this controller has, or has at these places (82574 §10.2).

use bitfield_struct::bitfield;

/// Receive and transmit queue 0.
pub(crate) const RX: u64 = 0x2800;
pub(crate) const TX: u64 = 0x3800;
/// Interrupt cause: writing a bit clears it.
pub(crate) const ICR: u64 = 0x00c0;
/// Interrupt mask: writing a bit unmasks the cause.
pub(crate) const IMS: u64 = 0x00d0;
/// Cause of receive queue 0 (82574 §10.2.4.1 "Interrupt Cause Read Register").
pub(crate) const CAUSE_RXQ0: u32 = 1 << 20;
/// Causes that clear when their message is sent: none, they are cleared by hand.
pub(crate) const EIAC: u64 = 0x00dc;
/// Interrupt vector allocation.
pub(crate) const IVAR: u64 = 0x00e4;
/// Interrupt throttling of the vectors.
pub(crate) const EITR: u64 = 0x00e8;
pub(crate) const VECTORS: u64 = 5;
/// Interrupt delays: receive, receive absolute.
pub(crate) const RDTR: u64 = 0x2820;
pub(crate) const RADV: u64 = 0x282c;
/// Receive filter control; 0: legacy descriptors.
pub(crate) const RFCTL: u64 = 0x5008;
/// Transmit arbitration of queue 0.
pub(crate) const TARC0: u64 = 0x3840;
pub(crate) const TARC_ENABLED: u32 = 1 << 10;

/// Which cause sends which message (82574 §10.2.4.9 "Interrupt Vector Allocation Registers").
#[bitfield(u32)]
pub(crate) struct Ivar {
    #[bits(3)]
    pub(crate) rx0: u16,
    pub(crate) is_rx0_valid: bool,
    #[bits(4)]
    __: u8,
    #[bits(3)]
    pub(crate) tx0: u16,
    pub(crate) is_tx0_valid: bool,
    #[bits(4)]
    __: u8,
    #[bits(3)]
    pub(crate) other: u16,
    pub(crate) is_other_valid: bool,
    #[bits(12)]
    __: u16,
}
const _: () = assert!(Ivar::IS_RX0_VALID_OFFSET == 3 && Ivar::TX0_OFFSET == 8 && Ivar::OTHER_OFFSET == 16);

/// When descriptors are fetched and written back (82574 §10.2.5.10 "RXDCTL", §10.2.6.9 "TXDCTL").
#[bitfield(u32)]
pub(crate) struct QueueControl {
    #[bits(16)]
    __: u16,
    /// Descriptors that are written back at once; 0: each that reports.
    #[bits(6)]
    pub(crate) write_back: u8,
    /// Transmit: the datasheet demands it.
    pub(crate) must_be_one: bool,
    __: bool,
    /// Thresholds count descriptors, not cache lines.
    pub(crate) counts_descriptors: bool,
    #[bits(7)]
    __: u8,
}
const _: () = assert!(QueueControl::WRITE_BACK_OFFSET == 16 && QueueControl::COUNTS_DESCRIPTORS_OFFSET == 24);
