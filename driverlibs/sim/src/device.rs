//! A PCI function whose registers are a model.

use std::marker::PhantomData;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use weir_hal::{Device, DeviceInfo, Error, Mmio, Register, Word};

use crate::{Interrupts, SimInterrupt};

/// What stands behind a simulated function's registers.
pub trait Model: Send + 'static {
    /// What it is.
    fn info(&self) -> DeviceInfo;
    /// Reads `bytes` (1, 2, 4) of configuration space.
    fn config_read(&mut self, offset: u16, bytes: u8) -> u32;
    /// Reads a register of `bytes` bytes.
    fn read(&mut self, bar: u8, offset: u64, bytes: usize) -> u64;
    /// Writes a register of `bytes` bytes.
    fn write(&mut self, bar: u8, offset: u64, bytes: usize, value: u64);
    /// Allows or forbids access to memory.
    fn bus_master(&mut self, on: bool);
    /// Function-level reset.
    fn reset(&mut self);
    /// Its interrupt messages.
    fn interrupts(&self) -> &Interrupts;
}

/// A simulated function; clones are the same function, one for the driver, one for the test.
pub struct SimDevice<M> {
    model: Arc<Mutex<M>>,
}

impl<M> Clone for SimDevice<M> {
    fn clone(&self) -> Self {
        SimDevice { model: self.model.clone() }
    }
}

impl<M: Model> SimDevice<M> {
    /// Puts a model behind a function.
    pub fn new(model: M) -> SimDevice<M> {
        SimDevice { model: Arc::new(Mutex::new(model)) }
    }

    /// The model, for the test to work with.
    pub fn model(&self) -> MutexGuard<'_, M> {
        self.model.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<M: Model> Device for SimDevice<M> {
    type Mmio = SimMmio<M>;
    type Interrupt = SimInterrupt;

    fn info(&self) -> DeviceInfo {
        self.model().info()
    }

    fn config_read(&self, offset: u16, bytes: u8) -> Result<u32, Error> {
        let is_valid = matches!(bytes, 1 | 2 | 4) && offset.is_multiple_of(u16::from(bytes));
        if !is_valid || offset >= 4096 {
            return Err(Error::OutOfRange);
        }
        Ok(self.model().config_read(offset, bytes))
    }

    fn map_bar(&self, bar: u8, offset: u64, bytes: u64) -> Result<SimMmio<M>, Error> {
        let info = self.model().info();
        let size = *info.bar_bytes.get(usize::from(bar)).ok_or(Error::OutOfRange)?;
        let end = offset.checked_add(bytes).ok_or(Error::OutOfRange)?;
        if bytes == 0 || end > size {
            return Err(Error::OutOfRange);
        }
        Ok(SimMmio { device: self.clone(), bar, offset, bytes })
    }

    fn bus_master(&self, on: bool) -> Result<(), Error> {
        self.model().bus_master(on);
        Ok(())
    }

    fn reset(&self) -> Result<(), Error> {
        self.model().reset();
        Ok(())
    }

    fn interrupt(&self, index: u16) -> Result<SimInterrupt, Error> {
        let interrupts = self.model().interrupts().clone();
        interrupts.bind(index)
    }
}

/// A range of a model's registers.
pub struct SimMmio<M> {
    device: SimDevice<M>,
    bar: u8,
    offset: u64,
    bytes: u64,
}

impl<M: Model> Mmio for SimMmio<M> {
    type Register<T: Word> = SimRegister<M, T>;

    fn bytes(&self) -> u64 {
        self.bytes
    }

    fn register<T: Word>(&self, offset: u64) -> Result<SimRegister<M, T>, Error> {
        let end = offset.checked_add(size_of::<T>() as u64).ok_or(Error::OutOfRange)?;
        if end > self.bytes || !(self.offset + offset).is_multiple_of(size_of::<T>() as u64) {
            return Err(Error::OutOfRange);
        }
        let offset = self.offset + offset;
        Ok(SimRegister { device: self.device.clone(), bar: self.bar, offset, word: PhantomData })
    }
}

/// One register of a model.
pub struct SimRegister<M, T> {
    device: SimDevice<M>,
    bar: u8,
    offset: u64,
    word: PhantomData<T>,
}

impl<M: Model, T: Word> Register<T> for SimRegister<M, T> {
    fn read(&self) -> T {
        T::truncated(self.device.model().read(self.bar, self.offset, size_of::<T>()))
    }

    fn write(&self, value: T) {
        self.device.model().write(self.bar, self.offset, size_of::<T>(), value.into());
    }
}
