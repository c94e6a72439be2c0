//! Base address registers: what a function decodes, and where.
//!
//! **Invariant: a [`Bar`]'s size is a power of two, its address a multiple of the size, and its end does not wrap or
//! leave the physical address space.**
//!
//! Sizes are found by writing all ones and reading back (PCIe 6.0 §7.5.1.2.1 "Base Address Registers"), with
//! decoding off, so that the function does not answer at a wrong address meanwhile.

use core::ops::Range;

use pci_types::CommandRegister;

use super::config::Config;
use super::error::PciError;
use super::registers::{BarWord, offset};
use crate::frames::PhysAddr;

/// Registers an endpoint has.
pub const ENDPOINT_BARS: u8 = 6;
/// Registers a bridge has.
pub const BRIDGE_BARS: u8 = 2;
/// What page tables can express.
const PHYSICAL_END: u64 = 1 << 52;

/// A range of addresses that a function decodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bar {
    /// Memory or ports.
    pub kind: BarKind,
    /// Where it starts; 0 where the firmware assigned nothing.
    pub address: u64,
    /// How long it is.
    pub bytes: u64,
}

/// What a [`Bar`] decodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BarKind {
    /// I/O ports. Weir uses none.
    Ports,
    /// Memory.
    Memory {
        /// Reads have no side effects.
        is_prefetchable: bool,
        /// Takes two registers and may lie above 4 GiB.
        is_64_bit: bool,
    },
}

impl Bar {
    /// The physical addresses it decodes: `None` for ports, and where the firmware assigned nothing.
    #[must_use]
    pub fn memory(&self) -> Option<Range<PhysAddr>> {
        let is_memory = matches!(self.kind, BarKind::Memory { .. });
        (is_memory && self.address != 0).then(|| PhysAddr(self.address)..PhysAddr(self.address + self.bytes))
    }
}

/// The BARs of a function by number; the upper half of a 64-bit one is `None`.
pub type Bars = [Option<Bar>; ENDPOINT_BARS as usize];

/// Finds the first `count` BARs and their sizes; every register reads the same afterwards as before. `command` is
/// what the command register holds: it is not read back from the device.
///
/// # Errors
///
/// [`PciError::Malformed`] where a size or address that was read back is none a BAR can have; `bars` holds the others.
pub(super) fn size(
    config: Config,
    command: CommandRegister,
    count: u8,
    bars: &mut Bars,
) -> Result<(), PciError> {
    config.set_command(command.difference(CommandRegister::MEMORY_ENABLE | CommandRegister::IO_ENABLE));
    let result = size_registers(config, offset::BARS, count, bars);
    config.set_command(command);
    result
}

/// As [`size()`], of `count` registers from `first` on, which decode nothing now.
pub(super) fn size_registers(config: Config, first: u16, count: u8, bars: &mut Bars) -> Result<(), PciError> {
    let mut result = Ok(());
    let mut number = 0;
    while number < count {
        let is_last = number + 1 == count;
        let (bar, registers) = size_one(config, first + 4 * u16::from(number), is_last);
        match bar {
            Ok(bar) => bars[usize::from(number)] = bar,
            Err(error) => result = Err(error),
        }
        number += registers;
    }
    result
}

/// One BAR, and how many registers it takes.
fn size_one(config: Config, at: u16, is_last: bool) -> (Result<Option<Bar>, PciError>, u8) {
    let word = BarWord::from_bits(config.read(at));
    match (word.is_io(), word.width()) {
        (true, _) => (ports(word, probe(config, at)), 1),
        (false, 2) if is_last => (Err(PciError::Malformed), 1),
        (false, 2) => (memory_64(config, at, word), 2),
        (false, 3) => (Err(PciError::Malformed), 1),
        (false, _) => (memory_32(word, probe(config, at)), 1),
    }
}

/// What a register reads after all ones were written; then puts back what it held.
fn probe(config: Config, at: u16) -> u32 {
    let before = config.read(at);
    config.write(at, u32::MAX);
    let after = config.read(at);
    config.write(at, before);
    after
}

fn ports(word: BarWord, probed: u32) -> Result<Option<Bar>, PciError> {
    // The upper 16 bits may be hard-wired to 0: ports end there on this architecture.
    let mask = probed & 0xffff_fffc;
    let mask = if mask >> 16 == 0 && mask != 0 { mask | 0xffff_0000 } else { mask };
    let bytes = bytes_of(u64::from(mask) | u64::from(u32::MAX) << 32);
    if mask == 0 {
        return Ok(None);
    }
    checked(BarKind::Ports, u64::from(word.into_bits() & 0xffff_fffc), bytes, 1 << 32)
}

fn memory_32(word: BarWord, probed: u32) -> Result<Option<Bar>, PciError> {
    let mask = BarWord::from_bits(probed).address() << 4;
    if mask == 0 {
        return Ok(None);
    }
    let kind = BarKind::Memory { is_prefetchable: word.is_prefetchable(), is_64_bit: false };
    let bytes = bytes_of(u64::from(mask) | u64::from(u32::MAX) << 32);
    checked(kind, u64::from(word.address()) << 4, bytes, 1 << 32)
}

fn memory_64(config: Config, at: u16, word: BarWord) -> Result<Option<Bar>, PciError> {
    let upper = config.read(at + 4);
    let (low_mask, high_mask) = (probe(config, at), probe(config, at + 4));
    let mask = u64::from(high_mask) << 32 | u64::from(BarWord::from_bits(low_mask).address() << 4);
    if mask == 0 {
        return Ok(None);
    }
    let kind = BarKind::Memory { is_prefetchable: word.is_prefetchable(), is_64_bit: true };
    checked(kind, u64::from(upper) << 32 | u64::from(word.address()) << 4, bytes_of(mask), PHYSICAL_END)
}

/// The size that a mask of writable address bits stands for: `None` unless the ones are contiguous to the top.
fn bytes_of(mask: u64) -> Option<u64> {
    let bytes = mask & mask.wrapping_neg();
    (mask == bytes.wrapping_neg() && bytes != 0).then_some(bytes)
}

fn checked(kind: BarKind, address: u64, bytes: Option<u64>, end: u64) -> Result<Option<Bar>, PciError> {
    let bytes = bytes.ok_or(PciError::Malformed)?;
    let fits = address.checked_add(bytes).is_some_and(|its_end| its_end <= end);
    if !fits || !address.is_multiple_of(bytes) {
        return Err(PciError::Malformed);
    }
    Ok(Some(Bar { kind, address, bytes }))
}
