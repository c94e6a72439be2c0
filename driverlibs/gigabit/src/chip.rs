//! What a controller has of its own.

use core::ops::Range;

use weir_hal::{Clock, Mmio};
use weir_nic::{Checksum, Rss};

use crate::received::Format;
use crate::{Error, Registers};

/// A controller. Both words of its descriptors are 64 bits wide; the first is a buffer's address, in either direction.
pub trait Chip: Send + 'static {
    /// PCI device id; the vendor is Intel.
    const DEVICE: u16;
    /// Receive addresses that the MAC compares (`RAL`, `RAH`).
    const ADDRESSES: u64;
    /// Queues in each direction that frames are spread over, at most.
    const QUEUES: u16 = 1;
    /// The queue that stays the physical function's where it shares the device with virtual ones; `None` where it
    /// cannot.
    const SHARED_QUEUE: Option<u16> = None;
    /// Second word of a receive descriptor: where the device says what.
    const RECEIVED: Format;
    /// Second word of a transmit descriptor: the bit that asks the device to report.
    const REPORT: u64;
    /// And what is added to those of a frame whose checksum the device fills in, as the newest [`Chip::context`] says.
    const CHECKSUM: u64;

    /// Offset of receive queue `queue`'s registers; their layout is [`crate::regs::queue`].
    fn rx(queue: u16) -> u64;

    /// Offset of transmit queue `queue`'s registers.
    fn tx(queue: u16) -> u64;

    /// How an interrupt of a receive queue is asked for that has MSI-X table entry `vector`.
    fn rx_signal(vector: u16) -> SignalRegisters;

    /// The second word of a transmit descriptor for `len` bytes, without [`Chip::REPORT`]. `frame_len`: bytes of the frame
    /// where it begins, 0 where it goes on. `is_last`: it ends here.
    fn send(len: u16, frame_len: u16, is_last: bool) -> u64;

    /// The descriptor without a buffer that tells the device where a checksum goes; `None` where that cannot be said.
    fn context(checksum: Checksum) -> Option<[u64; 2]>;

    /// Whether the second word of a transmit descriptor says that the frame was sent.
    fn is_sent(word: u64) -> bool;

    /// Masks every interrupt cause.
    ///
    /// # Errors
    /// `Gone`.
    fn mask_interrupts<M: Mmio>(regs: &Registers<M>) -> Result<(), Error>;

    /// Makes the PHY negotiate a link, where it does not by itself after a reset.
    ///
    /// # Errors
    /// `Gone`, `TimedOut`.
    fn start_link<M: Mmio>(_regs: &Registers<M>, _clock: &impl Clock) -> Result<(), Error> {
        Ok(())
    }

    /// Says how long a frame may be, checksum included, where long ones are received and the controller has a register for it.
    ///
    /// # Errors
    /// `Gone`.
    fn limit_frames<M: Mmio>(_regs: &Registers<M>, _bytes: u16) -> Result<(), Error> {
        Ok(())
    }

    /// Divides the device between the physical function and virtual ones, none of which has anything yet. `frame_limit`: as
    /// for [`Chip::limit_frames`], where the physical function receives long frames.
    ///
    /// # Errors
    /// `Gone`; `Unsupported` where it cannot.
    fn share<M: Mmio>(_regs: &Registers<M>, _frame_limit: Option<u16>) -> Result<(), Error> {
        Err(Error::Host(weir_hal::Error::Unsupported))
    }

    /// Spreads frames over queues 0 to `queues` - 1, by a hash of their addresses and ports that is the same in both
    /// directions: a flow stays in a queue.
    ///
    /// # Errors
    /// `Gone`; `Unsupported` where it cannot.
    fn spread<M: Mmio>(_regs: &Registers<M>, _queues: u16) -> Result<(), Error> {
        Err(Error::Host(weir_hal::Error::Unsupported))
    }

    /// Says which queue gets which frames.
    ///
    /// # Errors
    /// `Gone`; `Unsupported` where it cannot, or not so.
    fn set_rss<M: Mmio>(_regs: &Registers<M>, _rss: &Rss<'_>) -> Result<(), Error> {
        Err(Error::Host(weir_hal::Error::Unsupported))
    }

    /// Sets up the receive queue, except base, length, head and tail. Returns when the queue takes descriptors.
    ///
    /// # Errors
    /// `Gone`, `TimedOut`.
    fn enable_rx<M: Mmio>(regs: &Registers<M>, queue: u16, clock: &impl Clock) -> Result<(), Error>;

    /// Sets up the transmit queue, except base, length, head and tail, and the transmitter.
    ///
    /// # Errors
    /// `Gone`, `TimedOut`.
    fn enable_tx<M: Mmio>(regs: &Registers<M>, queue: u16, clock: &impl Clock) -> Result<(), Error>;

    /// Says which cause sends which message: the receive queues, in their order, table entries from [`vector::RX`] on. No
    /// throttling. All stay masked.
    ///
    /// # Errors
    /// `Gone`.
    fn route_interrupts<M: Mmio>(regs: &Registers<M>, queues: Range<u16>) -> Result<(), Error>;
}

/// MSI-X table entries. Transmit queues have none, because sent buffers are collected when room is needed; nor has the
/// link, whose state is a register.
pub mod vector {
    /// The first receive queue; the others follow.
    pub const RX: u16 = 0;
}

/// The registers of a cause that can be masked.
#[derive(Clone, Copy, Debug)]
pub struct SignalRegisters {
    /// Writing the bit forgets that the cause occurred.
    pub clear: u64,
    /// Writing the bit unmasks; reading has no side effect.
    pub unmask: u64,
    /// Writing the bit masks.
    pub mask: u64,
    /// The bit.
    pub bit: u32,
}
