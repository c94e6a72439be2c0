//! The receive queue's interrupt.
//!
//! **Invariant: while nobody waits the cause is masked, so that a polling driver is not interrupted; a frame that
//! arrives after [`Signal::arm`] changes the count.**

use weir_hal::{Device, Interrupt, Register, RegisterOf};

use crate::chip::{Chip, SignalRegisters};
use crate::{Error, Registers};

pub(crate) struct Signal<D: Device> {
    pub(crate) interrupt: D::Interrupt,
    clear: RegisterOf<D, u32>,
    unmask: RegisterOf<D, u32>,
    mask: RegisterOf<D, u32>,
    bit: u32,
}

impl<D: Device> Signal<D> {
    pub(crate) fn new<C: Chip>(
        device: &D,
        regs: &Registers<D::Mmio>,
        vector: u16,
    ) -> Result<Signal<D>, Error> {
        let SignalRegisters { clear, unmask, mask, bit } = C::rx_signal(vector);
        let interrupt = device.interrupt(vector)?;
        interrupt.unmask()?;
        let register = |offset| regs.register(offset);
        Ok(Signal {
            interrupt,
            clear: register(clear)?,
            unmask: register(unmask)?,
            mask: register(mask)?,
            bit,
        })
    }

    /// Asks for an interrupt at the next frame. Frames that arrived before are visible when this returns: they
    /// raise none, so the caller looks once more.
    pub(crate) fn arm(&self) {
        // Frames received while polling left the cause behind; it would fire at once.
        self.clear.write(self.bit);
        self.unmask.write(self.bit);
        // The answer to a read pushes the device's earlier writes to memory in front of it (PCIe 6.0 §2.4.1
        // "Transaction Ordering Rules"): a frame whose cause was cleared just now is in memory afterwards.
        self.unmask.read();
    }

    /// Asks for no interrupt.
    pub(crate) fn disarm(&self) {
        self.mask.write(self.bit);
    }
}
