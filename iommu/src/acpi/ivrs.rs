//! The IVRS table: which AMD units there are, which functions each covers and how they show on the bus (AMD 48882
//! §5.2 "I/O Virtualization Reporting Structure").
//!
//! **Invariant: an `Ivrs` exists only if every block and every device entry of the table lies inside it with a
//! possible length, and every range has its end**; after `parse` nothing can be out of bounds.
//! **Invariant: a function is covered by exactly one unit, or by none**: where a table names two, it is treated as
//! covered by none.
//!
//! A unit described by several blocks is taken from the one of the highest type known here (10h, 11h, 40h).
//! Whether what firmware says is true is not checked; lengths and ranges are.

mod blocks;
mod entries;
mod resolve;

use super::table;
use crate::error::{Error, Result};
use blocks::{Blocks, Header, Ivhd, Ivmd};
pub use blocks::{ReservedMemory, UnitDescription, UnitFlags};
pub use entries::{DeviceSettings, Special};
pub use resolve::Sender;
use zerocopy::FromBytes;

/// A checked IVRS table.
#[derive(Clone, Copy, Debug)]
pub struct Ivrs<'t> {
    header: Header,
    /// The blocks, after the header.
    body: &'t [u8],
}

impl<'t> Ivrs<'t> {
    /// Checks `table`, the bytes of the whole ACPI table with its header (more may follow).
    ///
    /// # Errors
    /// `BadTable` with the offset of what is impossible, `BadChecksum`.
    pub fn parse(table: &'t [u8]) -> Result<Self> {
        let table = table::checked(table, *b"IVRS")?;
        let (header, body) = Header::ref_from_prefix(table).map_err(|_| Error::BadTable { offset: 4 })?;
        for block in Blocks::new(body) {
            block?.check()?;
        }
        Ok(Ivrs { header: *header, body })
    }

    /// Width of physical addresses, in bits (PASize of IVinfo).
    #[must_use]
    pub fn host_address_bits(&self) -> u8 {
        self.header.info().physical_bits()
    }

    /// Whether the units have extended features at all (EFRSup of IVinfo).
    #[must_use]
    pub fn has_extended_features(&self) -> bool {
        self.header.info().has_extended_features()
    }

    /// Whether firmware asks to keep DMA confined from boot on (DMA remap support of IVinfo).
    #[must_use]
    pub fn opts_in_to_dma_control(&self) -> bool {
        self.header.info().asks_for_dma_remapping()
    }

    /// The units, in table order, each once.
    pub fn units(&self) -> impl Iterator<Item = UnitDescription<'t>> + use<'t> {
        let body = self.body;
        let blocks = move || Blocks::new(body).filter_map(Result::ok).filter_map(|block| block.unit());
        let best = move |(at, ivhd): &(usize, Ivhd<'t>)| {
            let is_better = |(other_at, other): (usize, Ivhd<'t>)| {
                other.is_same_unit(ivhd) && (other.kind, *at) > (ivhd.kind, other_at)
            };
            !blocks().enumerate().any(is_better)
        };
        blocks()
            .enumerate()
            .filter(best)
            .enumerate()
            .map(|(index, (_, ivhd))| UnitDescription::new(index, ivhd))
    }

    /// Memory that firmware has given to some functions (IVMD blocks). A function that is in one is not fit to be
    /// granted.
    pub fn reserved_memory(&self) -> impl Iterator<Item = ReservedMemory> + use<'t> {
        let memory = |block: blocks::Block<'t>| block.read::<Ivmd>().ok().map(|(memory, _)| memory);
        let blocks = Blocks::new(self.body).filter_map(Result::ok).filter(|block| block.is_memory());
        blocks.filter_map(memory).map(ReservedMemory::new)
    }
}
