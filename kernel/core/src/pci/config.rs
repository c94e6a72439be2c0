//! Access to configuration space.

use pci_types::{CommandRegister, PciAddress};

use super::registers::offset;

/// All configuration spaces of the machine, as the kernel reaches them (memory-mapped, by segment).
///
/// A function that does not exist reads as all ones and ignores writes.
pub trait ConfigSpace {
    /// Reads the register at `offset`: a multiple of 4 below 4096.
    fn read(&self, address: PciAddress, offset: u16) -> u32;

    /// Writes it.
    fn write(&self, address: PciAddress, offset: u16, value: u32);

    /// Writes the 16 bits at `offset`, a multiple of 2, and leaves the other half of the register alone.
    fn write_half(&self, address: PciAddress, offset: u16, value: u16);
}

/// The configuration space of one function.
#[derive(Clone, Copy)]
pub(super) struct Config<'a> {
    space: &'a dyn ConfigSpace,
    address: PciAddress,
}

impl<'a> Config<'a> {
    pub(super) fn new(space: &'a dyn ConfigSpace, address: PciAddress) -> Config<'a> {
        Config { space, address }
    }

    /// Reads the register that holds `offset`.
    pub(super) fn read(self, offset: u16) -> u32 {
        self.space.read(self.address, offset & 0xffc)
    }

    /// Writes the register that holds `offset`.
    pub(super) fn write(self, offset: u16, value: u32) {
        self.space.write(self.address, offset & 0xffc, value);
    }

    /// Reads the 16 bits at `offset`, a multiple of 2.
    pub(super) fn read_half(self, offset: u16) -> u16 {
        let [a, b, c, d] = self.read(offset).to_le_bytes();
        u16::from_le_bytes(if offset & 2 == 0 { [a, b] } else { [c, d] })
    }

    /// Writes the 16 bits at `offset`, a multiple of 2.
    pub(super) fn write_half(self, offset: u16, value: u16) {
        self.space.write_half(self.address, offset & 0xffe, value);
    }

    /// Whether a function answers: neither absent nor still starting (vendor id 0001h is the answer of a root
    /// complex for a function that asks for a retry; PCIe 6.0 §2.3.2 "Completion Handling Rules").
    pub(super) fn is_present(self) -> bool {
        !matches!(self.read_half(offset::VENDOR), 0 | 1 | 0xffff)
    }

    pub(super) fn command(self) -> CommandRegister {
        CommandRegister::from_bits_retain(self.read_half(offset::COMMAND))
    }

    /// Writes the command register; zeros leave the status register beside it as it is.
    pub(super) fn set_command(self, command: CommandRegister) {
        self.write(offset::COMMAND, command.bits().into());
    }
}
