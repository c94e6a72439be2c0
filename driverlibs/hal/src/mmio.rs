//! Device registers.
//!
//! **Invariant: an offset is checked once, when a [`Register`] is made; using a register cannot fail, and
//! costs one access.** What the access does is the host's business: a volatile load or store where registers
//! are mapped, a call into the model in a simulation, a write to an event file for vhost-user's doorbells.

use crate::{Device, Error};

mod sealed {
    pub trait Sealed {}
}

/// What one register access moves: `u8`, `u16`, `u32` or `u64`.
pub trait Word: sealed::Sealed + Copy + Send + Sync + Into<u64> + 'static {
    /// The low bits of `value`.
    fn truncated(value: u64) -> Self;
}

macro_rules! words {
    ($($word:ty),*) => {$(
        impl sealed::Sealed for $word {}
        impl Word for $word {
            #[allow(clippy::cast_possible_truncation, reason = "asked for; u64 truncates nothing, so no `expect`")]
            fn truncated(value: u64) -> $word {
                value as $word
            }
        }
    )*};
}
words!(u8, u16, u32, u64);

/// A range of a device's registers.
pub trait Mmio: Send {
    /// One register of it.
    type Register<T: Word>: Register<T>;

    /// Bytes it spans.
    fn bytes(&self) -> u64;

    /// The register at `offset`, which must be a multiple of its size. It stays usable when `self` is gone.
    ///
    /// # Errors
    /// `OutOfRange`.
    fn register<T: Word>(&self, offset: u64) -> Result<Self::Register<T>, Error>;
}

/// One device register. A device that is gone reads as all ones and ignores writes.
pub trait Register<T: Word>: Send {
    /// Reads it from the device.
    fn read(&self) -> T;

    /// Writes it to the device. Earlier writes to DMA memory are visible to the device first.
    fn write(&self, value: T);
}

/// The register type of a device.
pub type RegisterOf<D, T> = <<D as Device>::Mmio as Mmio>::Register<T>;
