//! A PCI function that this program owns.

use crate::{Error, Interrupt, Mmio};

/// What a PCI function is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeviceInfo {
    /// Vendor id.
    pub vendor: u16,
    /// Device id.
    pub device: u16,
    /// Subsystem vendor id.
    pub subsystem_vendor: u16,
    /// Subsystem id.
    pub subsystem: u16,
    /// Class code: `class << 16 | subclass << 8 | programming interface`.
    pub class: u32,
    /// Revision id.
    pub revision: u8,
    /// Interrupt messages it can send (MSI-X table entries, else MSI vectors).
    pub interrupts: u16,
    /// Bytes each memory BAR decodes; 0 where there is none.
    pub bar_bytes: [u64; 6],
}

/// A PCI function. Dropping the value leaves the function with the program, as it is.
pub trait Device: Send {
    /// Its registers, mapped.
    type Mmio: Mmio;
    /// One of its interrupts.
    type Interrupt: Interrupt;

    /// What it is.
    fn info(&self) -> DeviceInfo;

    /// Reads `bytes` (1, 2 or 4) of configuration space at `offset`, a multiple of `bytes`.
    ///
    /// There is no writing: what a driver needs of it are the operations below.
    ///
    /// # Errors
    /// `OutOfRange`, `Gone`.
    fn config_read(&self, offset: u16, bytes: u8) -> Result<u32, Error>;

    /// Maps a range of a memory BAR, uncached. The range need not be page-aligned; the host maps the pages
    /// around it.
    ///
    /// # Errors
    /// `OutOfRange` (no such BAR, past its end, or the MSI-X table is there), `NoMemory`, `Gone`.
    fn map_bar(&self, bar: u8, offset: u64, bytes: u64) -> Result<Self::Mmio, Error>;

    /// Lets the function read and write memory and send interrupts, or stops that.
    ///
    /// # Errors
    /// `Gone`, `Hardware`.
    fn bus_master(&self, on: bool) -> Result<(), Error>;

    /// Resets the function (function-level reset). Bus mastering is off afterwards, interrupts are masked.
    ///
    /// # Errors
    /// `Unsupported` (it has no reset of its own), `Gone`, `Hardware`.
    fn reset(&self) -> Result<(), Error>;

    /// Binds interrupt message `index`. It starts masked. Its messages go to the core of the calling thread.
    ///
    /// # Errors
    /// `OutOfRange`, `Busy` (bound already), `NoMemory`, `Unsupported`, `Gone`.
    fn interrupt(&self, index: u16) -> Result<Self::Interrupt, Error>;
}
