//! What a controller has of its own.

use weir_hal::{Clock, Mmio};

use crate::{Error, Registers, Violation};

/// A controller. Both words of its descriptors are 64 bits wide; the first is a buffer's address, in either direction.
pub trait Chip: Send + 'static {
    /// PCI device id; the vendor is Intel.
    const DEVICE: u16;
    /// Offset of receive queue 0's registers; their layout is [`crate::regs::queue`].
    const RX: u64;
    /// Offset of transmit queue 0's registers.
    const TX: u64;
    /// Receive addresses that the MAC compares (`RAL`, `RAH`).
    const ADDRESSES: u64;
    /// How the receive queue's interrupt is asked for.
    const RX_SIGNAL: SignalRegisters;
    /// Second word of a transmit descriptor: the bit that asks the device to report.
    const REPORT: u64;

    /// Reads the second word of a receive descriptor that the device has: `None` while no frame arrived, else the
    /// frame's length, not yet checked.
    ///
    /// # Errors
    /// `Status`: it is not one whole good frame.
    fn arrived(word: u64) -> Result<Option<u16>, Violation>;

    /// The second word of a transmit descriptor for a frame of `len` bytes, without [`Chip::REPORT`].
    fn send(len: u16) -> u64;

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

    /// Sets up the receive queue, except base, length, head and tail. Returns when the queue takes descriptors.
    ///
    /// # Errors
    /// `Gone`, `TimedOut`.
    fn enable_rx<M: Mmio>(regs: &Registers<M>, clock: &impl Clock) -> Result<(), Error>;

    /// Sets up the transmit queue, except base, length, head and tail, and the transmitter.
    ///
    /// # Errors
    /// `Gone`, `TimedOut`.
    fn enable_tx<M: Mmio>(regs: &Registers<M>, clock: &impl Clock) -> Result<(), Error>;

    /// Says which cause sends which message: [`vector`]. No throttling. All stay masked.
    ///
    /// # Errors
    /// `Gone`.
    fn route_interrupts<M: Mmio>(regs: &Registers<M>) -> Result<(), Error>;
}

/// MSI-X table entries.
pub mod vector {
    /// Receive queue 0.
    pub const RX: u16 = 0;
    /// Transmit queue 0; never unmasked, because sent buffers are collected when room is needed.
    pub const TX: u16 = 1;
    /// Everything else, such as the link; never unmasked, because the link's state is a register.
    pub const OTHER: u16 = 2;
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
