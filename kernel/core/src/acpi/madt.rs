//! The Multiple APIC Description Table (ACPI 6.5 §5.2.12).
//!
//! **Invariant: every entry of a parsed table lies within it and is as long as its type needs.**

use super::{TableError, checked, u32_at};

/// Header, address of the local APICs, flags.
const FIXED_BYTES: usize = 44;
const ENABLED: u32 = 1;

/// A table that adds up.
#[derive(Clone, Copy, Debug)]
pub struct Madt<'t>(&'t [u8]);

/// What a kernel without ISA interrupts wants to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MadtEntry {
    /// A CPU (types 0 and 9).
    Cpu {
        /// Id of its local APIC.
        apic_id: u32,
        /// It may be started.
        is_enabled: bool,
    },
    /// An I/O interrupt controller (type 1).
    IoApic {
        /// Its id.
        id: u8,
        /// Physical address of its registers.
        address: u32,
        /// Global number of its first line.
        first_line: u32,
    },
    /// An ISA interrupt that is another line than its number says (type 2).
    Override {
        /// ISA number.
        isa: u8,
        /// Global number.
        line: u32,
    },
}

impl<'t> Madt<'t> {
    /// Checks the table from its first byte; what follows its length is ignored.
    ///
    /// # Errors
    /// `BadTable`, `BadChecksum`.
    pub fn parse(table: &'t [u8]) -> Result<Self, TableError> {
        let table = checked(table, *b"APIC", FIXED_BYTES)?;
        let mut at = FIXED_BYTES;
        while at < table.len() {
            let entry = entry_at(table, at).ok_or(TableError::BadTable { offset: at })?;
            at += entry.len();
        }
        Ok(Madt(table))
    }

    /// The entries of the types that [`MadtEntry`] knows, in order.
    pub fn entries(&self) -> impl Iterator<Item = MadtEntry> + use<'t> {
        let table = self.0;
        let mut at = FIXED_BYTES;
        let raw = core::iter::from_fn(move || {
            let entry = entry_at(table, at)?;
            at += entry.len();
            Some(entry)
        });
        raw.filter_map(decode)
    }
}

/// The entry at an offset: within the table, not empty, and no shorter than its type.
fn entry_at(table: &[u8], at: usize) -> Option<&[u8]> {
    let [kind, length, ..] = *table.get(at..)? else { return None };
    let shortest = match kind {
        0 => 8,
        1 => 12,
        2 => 10,
        9 => 16,
        _ => 2,
    };
    let end = at.checked_add(usize::from(length))?;
    table.get(at..end).filter(|entry| entry.len() >= shortest)
}

fn decode(entry: &[u8]) -> Option<MadtEntry> {
    let cpu = |apic_id, flags: u32| MadtEntry::Cpu { apic_id, is_enabled: flags & ENABLED != 0 };
    match *entry.first()? {
        0 => Some(cpu(u32::from(*entry.get(3)?), u32_at(entry, 4)?)),
        1 => {
            let (id, address, first_line) = (*entry.get(2)?, u32_at(entry, 4)?, u32_at(entry, 8)?);
            Some(MadtEntry::IoApic { id, address, first_line })
        }
        2 => Some(MadtEntry::Override { isa: *entry.get(3)?, line: u32_at(entry, 4)? }),
        9 => Some(cpu(u32_at(entry, 4)?, u32_at(entry, 8)?)),
        _ => None,
    }
}
