//! Interrupts of a device, bound to events.

use weir_abi::call::{INTERRUPT_CONTROL, INTERRUPT_CREATE, INTERRUPT_MASK, INTERRUPT_UNMASK};
use weir_abi::{Error, Handle};

use crate::call::call;
use crate::device::Device;
use crate::event::Event;
use crate::handle::{Object, Owned, object};

/// One message of a device, counted in an event. Unbound when dropped.
#[derive(Debug)]
pub struct Interrupt(Owned);

object!(Interrupt);

impl Interrupt {
    /// Binds message `index` of `device` to `event`, masked: `interrupt_create`.
    ///
    /// # Errors
    /// `BadArgument`, `Busy`, `NoMemory`, `Gone`, `Unsupported`.
    pub fn create(device: &Device, index: u64, event: &Event) -> Result<Interrupt, Error> {
        let arguments = [device.handle().0, index, event.handle().0, 0, 0, 0];
        // SAFETY: nothing of this program's memory is concerned.
        let handle = unsafe { call(INTERRUPT_CREATE, arguments) }?;
        Ok(Interrupt(Owned::new(Handle(handle))))
    }

    /// Stops delivery: `interrupt_control`.
    ///
    /// # Errors
    /// `Gone`.
    pub fn mask(&self) -> Result<(), Error> {
        self.control(INTERRUPT_MASK)
    }

    /// Starts delivery: `interrupt_control`.
    ///
    /// # Errors
    /// `Gone`.
    pub fn unmask(&self) -> Result<(), Error> {
        self.control(INTERRUPT_UNMASK)
    }

    fn control(&self, operation: u64) -> Result<(), Error> {
        // SAFETY: nothing of this program's memory is concerned.
        unsafe { call(INTERRUPT_CONTROL, [self.0.raw(), operation, 0, 0, 0, 0]) }.map(drop)
    }
}
