//! Registers of a virtual function (82576 §8.27 "Virtual Function Device Registers"); those that both kinds have at the
//! same place are `weir-gigabit`'s.

use bitfield_struct::bitfield;

/// Bytes of its registers.
pub(crate) const BAR_BYTES: u64 = 0x4000;
/// Receive and transmit queue.
pub(crate) const RX: u64 = 0x2800;
pub(crate) const TX: u64 = 0x3800;
/// Extended interrupts: unmask, mask, clear by message, mask by message, cause.
pub(crate) const EIMS: u64 = 0x1524;
pub(crate) const EIMC: u64 = 0x1528;
pub(crate) const EIAC: u64 = 0x152c;
pub(crate) const EIAM: u64 = 0x1530;
pub(crate) const EICR: u64 = 0x1580;
/// Every cause it has.
pub(crate) const CAUSES: u32 = 0b111;
/// Interrupt throttling of the first message; two follow.
pub(crate) const EITR: u64 = 0x1680;
pub(crate) const VECTORS: u64 = 3;
/// Which cause sends which message: of the queues.
pub(crate) const IVAR: u64 = 0x1700;
/// Its end of the mailbox, and the memory.
pub(crate) const MAILBOX: u64 = 0x0c40;
pub(crate) const MAILBOX_MEMORY: u64 = 0x0800;
/// Statistics. They count on, and wrap.
pub(crate) const FRAMES_RECEIVED: u64 = 0x0f10;
pub(crate) const FRAMES_SENT: u64 = 0x0f14;
pub(crate) const BYTES_RECEIVED: u64 = 0x0f18;
pub(crate) const BYTES_SENT: u64 = 0x0f34;

/// Its end of the mailbox (82576 §8.14.3 "VF Mailbox"). Reading clears what it tells of: a message, a message taken, a
/// reset done.
#[bitfield(u32)]
pub(crate) struct Mailbox {
    /// There is a message for the physical function.
    pub(crate) sends: bool,
    /// The physical function's message was taken.
    pub(crate) acknowledges: bool,
    /// The virtual function uses the memory.
    pub(crate) is_ours: bool,
    /// The physical function does.
    pub(crate) is_theirs: bool,
    /// A message from the physical function.
    pub(crate) has_message: bool,
    /// The physical function took the message.
    pub(crate) was_taken: bool,
    /// The physical function is being reset.
    pub(crate) is_reset: bool,
    /// It was reset.
    pub(crate) was_reset: bool,
    #[bits(24)]
    __: u32,
}
const _: () = assert!(Mailbox::IS_OURS_OFFSET == 2 && Mailbox::HAS_MESSAGE_OFFSET == 4);
const _: () = assert!(Mailbox::IS_RESET_OFFSET == 6 && Mailbox::WAS_RESET_OFFSET == 7);

/// Which message the receive queue sends (82576 §8.27.11 "VTIVAR"); the transmit queue sends none.
#[bitfield(u32)]
pub(crate) struct Ivar {
    #[bits(3)]
    pub(crate) rx: u16,
    #[bits(4)]
    __: u8,
    pub(crate) is_rx_valid: bool,
    #[bits(24)]
    __: u32,
}
const _: () = assert!(Ivar::IS_RX_VALID_OFFSET == 7);
