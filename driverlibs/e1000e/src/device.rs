//! What the 82574L needs of its own, step by step of "Software Initialization" (82574 §4.6).

use core::ops::Range;

use weir_gigabit::chip::{SignalRegisters, vector};
use weir_gigabit::received::Format;
use weir_gigabit::regs::{IMC, TCTL, TIPG, Tctl, queue};
use weir_gigabit::{Chip, Error, Registers};
use weir_hal::{Clock, Mmio};
use weir_nic::Checksum;

use crate::desc::{self, TxWord};
use crate::regs::{
    CAUSE_RXQ0, EIAC, EITR, ICR, IMS, IVAR, Ivar, QueueControl, RADV, RDTR, RFCTL, RX, TARC_ENABLED, TARC0,
    TX, VECTORS,
};

/// Gaps between frames, in units of the transmit clock (82574 §10.2.6.2 "Transmit IPG Register"): 8, 8, 6.
const GAPS: u32 = 8 | 8 << 10 | 6 << 20;

/// The 82574L.
#[derive(Clone, Copy, Debug)]
pub struct I82574;

impl Chip for I82574 {
    const DEVICE: u16 = 0x10d3;
    const ADDRESSES: u64 = 16;
    const RECEIVED: Format = desc::RECEIVED;
    const REPORT: u64 = desc::REPORT;
    const CHECKSUM: u64 = desc::CHECKSUM;

    fn rx(_queue: u16) -> u64 {
        RX
    }

    fn tx(_queue: u16) -> u64 {
        TX
    }

    fn rx_signal(_vector: u16) -> SignalRegisters {
        SignalRegisters { clear: ICR, unmask: IMS, mask: IMC, bit: CAUSE_RXQ0 }
    }

    #[inline]
    fn send(len: u16, _frame_len: u16, is_last: bool) -> u64 {
        desc::send(len, is_last)
    }

    #[inline]
    fn context(checksum: Checksum) -> Option<[u64; 2]> {
        desc::context(checksum)
    }

    #[inline]
    fn is_sent(word: u64) -> bool {
        TxWord::from_bits(word).is_done()
    }

    fn mask_interrupts<M: Mmio>(regs: &Registers<M>) -> Result<(), Error> {
        regs.write(IMC, u32::MAX)?;
        regs.write(ICR, u32::MAX)
    }

    fn enable_rx<M: Mmio>(regs: &Registers<M>, _queue: u16, _clock: &impl Clock) -> Result<(), Error> {
        regs.write(RFCTL, 0u32)?;
        regs.write(RDTR, 0u32)?;
        regs.write(RADV, 0u32)?;
        regs.write(RX + queue::CONTROL, QueueControl::new().with_write_back(1).with_counts_descriptors(true))
    }

    fn enable_tx<M: Mmio>(regs: &Registers<M>, _queue: u16, _clock: &impl Clock) -> Result<(), Error> {
        let control = QueueControl::new().with_must_be_one(true).with_counts_descriptors(true);
        regs.write(TX + queue::CONTROL, control)?;
        regs.write(TARC0, regs.read::<u32>(TARC0)? | TARC_ENABLED)?;
        regs.write(TIPG, GAPS)?;
        let tctl = regs.read::<Tctl>(TCTL)?.with_is_enabled(true).with_pads_short(true);
        regs.write(TCTL, tctl.with_collision_threshold(0x0f).with_collision_distance(0x3f))
    }

    fn route_interrupts<M: Mmio>(regs: &Registers<M>, _queues: Range<u16>) -> Result<(), Error> {
        regs.write(IVAR, Ivar::new().with_rx0(vector::RX).with_is_rx0_valid(true))?;
        regs.write(EIAC, 0u32)?;
        (0..VECTORS).try_for_each(|number| regs.write(EITR + 4 * number, 0u32))
    }
}
