//! What the 82576 needs of its own, step by step of "Software Initialization" (82576 §4.5).

use core::ops::Range;

use weir_gigabit::chip::{SignalRegisters, vector};
use weir_gigabit::received::Format;
use weir_gigabit::regs::{IMC, STATUS, Status, TCTL, Tctl, queue};
use weir_gigabit::{Chip, Error, Registers};
use weir_hal::{Clock, Mmio};
use weir_nic::{Checksum, Rss};

use crate::desc;
use crate::pools;
use crate::regs::{
    EIAC, EIAM, EICR, EIMC, EIMS, EITR, GPIE, GPIE_SEVERAL_VECTORS, IVAR_MISC, Ivar, MDIC, Mdic, QUEUE_BYTES,
    QueueControl, RLPML, RX, SRRCTL, SplitControl, TX, VECTORS, ivar_of,
};
use crate::rss;

/// How long a queue may take to be enabled: 1 ms would do by far.
const ENABLE_LIMIT_US: u64 = 10_000;

/// How long an access to the PHY may take.
const PHY_LIMIT_US: u64 = 10_000;
/// The built-in PHY, its control register, and in there: negotiate, and do it now (IEEE 802.3 §22.2.4.1).
const PHY: u8 = 1;
const PHY_CONTROL: u8 = 0;
const NEGOTIATE_NOW: u16 = 1 << 12 | 1 << 9;
const MDIC_WRITE: u8 = 1;

/// The 82576, physical function.
#[derive(Clone, Copy, Debug)]
pub struct I82576;

impl Chip for I82576 {
    const DEVICE: u16 = 0x10c9;
    const ADDRESSES: u64 = 16;
    // As many as have an interrupt register of their own.
    const QUEUES: u16 = 8;
    const SHARED_QUEUE: Option<u16> = Some(pools::OWN);
    const RECEIVED: Format = desc::RECEIVED;
    const REPORT: u64 = desc::REPORT;
    const CHECKSUM: u64 = desc::CHECKSUM;

    fn rx(queue: u16) -> u64 {
        RX + QUEUE_BYTES * u64::from(queue)
    }

    fn tx(queue: u16) -> u64 {
        TX + QUEUE_BYTES * u64::from(queue)
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
        regs.write(IMC, u32::MAX)?;
        regs.write(EIMC, u32::MAX)?;
        regs.write(EICR, u32::MAX)
    }

    /// A link that outlived the reset is left alone: negotiating takes seconds.
    fn start_link<M: Mmio>(regs: &Registers<M>, clock: &impl Clock) -> Result<(), Error> {
        if regs.read::<Status>(STATUS)?.is_link_up() {
            return Ok(());
        }
        let write = Mdic::new().with_phy(PHY).with_register(PHY_CONTROL).with_operation(MDIC_WRITE);
        regs.write(MDIC, write.with_data(NEGOTIATE_NOW))?;
        regs.wait(clock, PHY_LIMIT_US, |regs| Ok(regs.read::<Mdic>(MDIC)?.is_ready()))
    }

    fn spread<M: Mmio>(regs: &Registers<M>, queues: u16) -> Result<(), Error> {
        rss::spread(regs, queues)
    }

    fn set_rss<M: Mmio>(regs: &Registers<M>, rss: &Rss<'_>) -> Result<(), Error> {
        rss::set(regs, rss)
    }

    fn limit_frames<M: Mmio>(regs: &Registers<M>, bytes: u16) -> Result<(), Error> {
        regs.write(RLPML, u32::from(bytes))
    }

    fn share<M: Mmio>(regs: &Registers<M>, frame_limit: Option<u16>) -> Result<(), Error> {
        pools::divide(regs, frame_limit)
    }

    fn enable_rx<M: Mmio>(regs: &Registers<M>, queue: u16, clock: &impl Clock) -> Result<(), Error> {
        enable_rx(regs, Self::rx(queue), clock)
    }

    fn enable_tx<M: Mmio>(regs: &Registers<M>, queue: u16, clock: &impl Clock) -> Result<(), Error> {
        enable_tx(regs, Self::tx(queue), clock)?;
        let tctl = regs.read::<Tctl>(TCTL)?.with_is_enabled(true).with_pads_short(true);
        regs.write(TCTL, tctl.with_collision_threshold(0x0f).with_collision_distance(0x40))
    }

    fn route_interrupts<M: Mmio>(regs: &Registers<M>, queues: Range<u16>) -> Result<(), Error> {
        regs.write(GPIE, GPIE_SEVERAL_VECTORS)?;
        for (vector, queue) in (vector::RX..).zip(queues) {
            regs.write(ivar_of(queue), Ivar::new().with_rx0(vector).with_is_rx0_valid(true))?;
        }
        regs.write(IVAR_MISC, Ivar::new())?;
        regs.write(EIAC, 0u32)?;
        regs.write(EIAM, 0u32)?;
        (0..VECTORS).try_for_each(|number| regs.write(EITR + 4 * number, 0u32))
    }
}

/// Sets up the receive queue whose registers are at `offset`: in a physical or a virtual function.
///
/// # Errors
/// `Gone`, `TimedOut`.
pub fn enable_rx<M: Mmio>(regs: &Registers<M>, offset: u64, clock: &impl Clock) -> Result<(), Error> {
    // Twice 1,024 bytes: the whole buffer where it is used from its start; where it is not, never filled, as long packets
    // are off.
    let split = SplitControl::new().with_buffer_kib(2).with_descriptor(1).with_drops(true);
    regs.write(offset + SRRCTL, split)?;
    let control = QueueControl::new().with_prefetch(8).with_host(8).with_write_back(1);
    enable(regs, offset + queue::CONTROL, control, clock)
}

/// Sets up the transmit queue whose registers are at `offset`.
///
/// # Errors
/// `Gone`, `TimedOut`.
pub fn enable_tx<M: Mmio>(regs: &Registers<M>, offset: u64, clock: &impl Clock) -> Result<(), Error> {
    enable(regs, offset + queue::CONTROL, QueueControl::new().with_prefetch(8).with_host(1), clock)
}

/// Enables a queue and waits until the device says so: before, it must get no descriptors (82576 §4.5 "Receive
/// Initialization", "Transmit Initialization").
fn enable<M: Mmio>(
    regs: &Registers<M>,
    offset: u64,
    control: QueueControl,
    clock: &impl Clock,
) -> Result<(), Error> {
    regs.write(offset, control.with_is_enabled(true))?;
    regs.wait(clock, ENABLE_LIMIT_US, |regs| Ok(regs.read::<QueueControl>(offset)?.is_enabled()))
}
