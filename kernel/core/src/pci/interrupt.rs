//! Message-signalled interrupts: who may send which message (PCIe 6.0 §6.1.4 "Message Signaled Interrupt
//! (MSI/MSI-X) Support").
//!
//! **Invariant: the address and data of an MSI-X entry change only while the entry is masked.**
//!
//! Does not say what a message means: that is the interrupt remapping table's business.

use super::capability::{Msi, Msix};
use super::config::ConfigSpace;
use super::error::PciError;
use super::function::Function;
use super::registers::{MsiControl, MsixControl, VectorControl};

/// The write that makes an interrupt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message {
    /// Where it goes, a multiple of 4.
    pub address: u64,
    /// What is written.
    pub data: u32,
}

/// State of a function's MSI-X as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MsixState {
    /// It sends no MSI-X messages.
    Off,
    /// Every entry is masked, whatever its own mask says; messages wait.
    Masked,
    /// The mask of each entry counts.
    On,
}

/// The registers of an MSI-X table, as the kernel has them mapped.
pub trait TableRegisters {
    /// Reads the 32 bits `offset` bytes into the table; `offset` is a multiple of 4 below 16 × entries.
    fn read(&self, offset: u64) -> u32;

    /// Writes them.
    fn write(&self, offset: u64, value: u32);
}

const ENTRY_BYTES: u64 = 16;

/// An MSI-X table (PCIe 6.0 §7.7.2 "MSI-X Capability and Table Structure").
pub struct MsixTable<R> {
    entries: u16,
    registers: R,
}

impl<R: TableRegisters> MsixTable<R> {
    /// The table of a function with `msix`; `registers` are those at [`Msix::table`].
    pub fn new(msix: &Msix, registers: R) -> MsixTable<R> {
        MsixTable { entries: msix.entries, registers }
    }

    /// Masks every entry.
    pub fn mask_all(&self) {
        for entry in 0..self.entries {
            self.set_mask(u64::from(entry) * ENTRY_BYTES, true);
        }
    }

    /// Masks an entry and sets its message.
    ///
    /// # Errors
    ///
    /// [`PciError::OutOfRange`] for an entry that the table does not have.
    pub fn program(&self, entry: u16, message: Message) -> Result<(), PciError> {
        let at = self.mask(entry)?;
        let [low, high] = split(message.address);
        self.registers.write(at, low);
        self.registers.write(at + 4, high);
        self.registers.write(at + 8, message.data);
        Ok(())
    }

    /// Masks or unmasks an entry. Masked, it sends nothing once the call returns, and remembers one message.
    ///
    /// # Errors
    ///
    /// [`PciError::OutOfRange`] for an entry that the table does not have.
    pub fn set_masked(&self, entry: u16, is_masked: bool) -> Result<(), PciError> {
        let at = self.entry(entry)?;
        self.set_mask(at, is_masked);
        Ok(())
    }

    fn mask(&self, entry: u16) -> Result<u64, PciError> {
        let at = self.entry(entry)?;
        self.set_mask(at, true);
        Ok(at)
    }

    fn entry(&self, entry: u16) -> Result<u64, PciError> {
        (entry < self.entries).then_some(u64::from(entry) * ENTRY_BYTES).ok_or(PciError::OutOfRange)
    }

    fn set_mask(&self, at: u64, is_masked: bool) {
        let control = VectorControl::from_bits(self.registers.read(at + 12));
        self.registers.write(at + 12, control.with_is_masked(is_masked).into_bits());
        // Reading back waits until the write has arrived and messages sent before it have passed.
        self.registers.read(at + 12);
    }
}

impl Function {
    /// Switches MSI-X as a whole.
    ///
    /// # Errors
    ///
    /// [`PciError::NotPresent`], [`PciError::Vanished`].
    pub fn set_msix(&self, space: &dyn ConfigSpace, state: MsixState) -> Result<(), PciError> {
        let at = self.capabilities.msix.ok_or(PciError::NotPresent)?.offset + 2;
        let config = self.present(space)?;
        let control = MsixControl::from_bits(config.read_half(at))
            .with_is_enabled(state != MsixState::Off)
            .with_is_masked(state != MsixState::On);
        config.write_half(at, control.into_bits());
        Ok(())
    }

    /// Turns MSI off and sets its messages: 2^`log2_count` of them, whose data differ in the lowest bits.
    /// Those that can be masked are.
    ///
    /// # Errors
    ///
    /// [`PciError::NotPresent`], [`PciError::OutOfRange`] for more messages than it has, an address it cannot
    /// reach or data of more than 16 bits or with low bits set that the function fills in, [`PciError::Vanished`].
    pub fn program_msi(
        &self,
        space: &dyn ConfigSpace,
        message: Message,
        log2_count: u8,
    ) -> Result<(), PciError> {
        let msi = self.msi()?;
        let [low, high] = split(message.address);
        let count = 1u32.checked_shl(log2_count.into()).unwrap_or(u32::MAX);
        let data = u16::try_from(message.data).map_err(|_| PciError::OutOfRange)?;
        let is_reachable = msi.is_64_bit || high == 0;
        if count > msi.vectors.into() || !message.data.is_multiple_of(count) || !is_reachable {
            return Err(PciError::OutOfRange);
        }
        self.set_msi(space, false)?;
        let config = self.present(space)?;
        let control = MsiControl::from_bits(config.read_half(msi.offset + 2));
        config.write_half(msi.offset + 2, control.with_vectors_enabled(log2_count).into_bits());
        config.write(msi.offset + 4, low);
        if msi.is_64_bit {
            config.write(msi.offset + 8, high);
        }
        config.write_half(msi.data_offset(), data);
        if msi.has_mask {
            config.write(msi.mask_offset(), u32::MAX);
        }
        Ok(())
    }

    /// Switches MSI as a whole.
    ///
    /// # Errors
    ///
    /// [`PciError::NotPresent`], [`PciError::Vanished`].
    pub fn set_msi(&self, space: &dyn ConfigSpace, on: bool) -> Result<(), PciError> {
        let at = self.msi()?.offset + 2;
        let config = self.present(space)?;
        let control = MsiControl::from_bits(config.read_half(at));
        config.write_half(at, control.with_is_enabled(on).into_bits());
        Ok(())
    }

    /// Masks or unmasks one message of MSI.
    ///
    /// # Errors
    ///
    /// [`PciError::NotPresent`] where messages have no masks, [`PciError::OutOfRange`], [`PciError::Vanished`].
    pub fn set_msi_masked(
        &self,
        space: &dyn ConfigSpace,
        vector: u16,
        is_masked: bool,
    ) -> Result<(), PciError> {
        let msi = self.msi()?;
        if !msi.has_mask {
            return Err(PciError::NotPresent);
        }
        if vector >= msi.vectors {
            return Err(PciError::OutOfRange);
        }
        let config = self.present(space)?;
        let others = config.read(msi.mask_offset()) & !(1 << vector);
        config.write(msi.mask_offset(), others | u32::from(is_masked) << vector);
        Ok(())
    }

    fn msi(&self) -> Result<Msi, PciError> {
        self.capabilities.msi.ok_or(PciError::NotPresent)
    }
}

/// The lower and the upper half.
fn split(address: u64) -> [u32; 2] {
    let [a, b, c, d, e, f, g, h] = address.to_le_bytes();
    [u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h])]
}
