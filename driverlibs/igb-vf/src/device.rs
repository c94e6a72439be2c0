//! What a virtual function has of its own, of what `weir-gigabit` asks for.

use core::ops::Range;

use weir_gigabit::chip::{SignalRegisters, vector};
use weir_gigabit::received::Format;
use weir_gigabit::{Chip, Error, Registers};
use weir_hal::{Clock, Mmio};
use weir_igb::{desc, device};
use weir_nic::Checksum;

use crate::regs::{CAUSES, EIAC, EIAM, EICR, EIMC, EIMS, EITR, IVAR, Ivar, RX, TX, VECTORS};

/// The 82576, virtual function.
#[derive(Clone, Copy, Debug)]
pub struct I82576Vf;

impl Chip for I82576Vf {
    const DEVICE: u16 = 0x10ca;
    const ADDRESSES: u64 = 0;
    const RECEIVED: Format = desc::RECEIVED;
    const REPORT: u64 = desc::REPORT;
    const CHECKSUM: u64 = desc::CHECKSUM;

    fn rx(_queue: u16) -> u64 {
        RX
    }

    fn tx(_queue: u16) -> u64 {
        TX
    }

    fn rx_signal(vector: u16) -> SignalRegisters {
        SignalRegisters { clear: EICR, unmask: EIMS, mask: EIMC, bit: 1 << vector }
    }

    #[inline]
    fn send(len: u16, frame_len: u16, is_last: bool) -> u64 {
        desc::send(len, frame_len, is_last)
    }

    #[inline]
    fn context(checksum: Checksum) -> Option<[u64; 2]> {
        desc::context(checksum)
    }

    #[inline]
    fn is_sent(word: u64) -> bool {
        desc::is_sent(word)
    }

    fn mask_interrupts<M: Mmio>(regs: &Registers<M>) -> Result<(), Error> {
        regs.write(EIMC, CAUSES)?;
        regs.write(EICR, CAUSES)
    }

    fn enable_rx<M: Mmio>(regs: &Registers<M>, _queue: u16, clock: &impl Clock) -> Result<(), Error> {
        device::enable_rx(regs, RX, clock)
    }

    fn enable_tx<M: Mmio>(regs: &Registers<M>, _queue: u16, clock: &impl Clock) -> Result<(), Error> {
        device::enable_tx(regs, TX, clock)
    }

    fn route_interrupts<M: Mmio>(regs: &Registers<M>, _queues: Range<u16>) -> Result<(), Error> {
        regs.write(IVAR, Ivar::new().with_rx(vector::RX).with_is_rx_valid(true))?;
        regs.write(EIAC, 0u32)?;
        regs.write(EIAM, 0u32)?;
        (0..VECTORS).try_for_each(|number| regs.write(EITR + 4 * number, 0u32))
    }
}
