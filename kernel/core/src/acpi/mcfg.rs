//! The table of configuration windows (PCI Firmware Specification 3.3 §4.1.2 "MCFG Table Description").
//!
//! **Invariant: the windows of a parsed table are whole.** Their bus ranges may be empty: that is for the caller.

use super::{TableError, checked, u16_at, u64_at};

/// Header and eight reserved bytes.
const FIXED_BYTES: usize = 44;
const WINDOW_BYTES: usize = 16;

/// A table that adds up.
#[derive(Clone, Copy, Debug)]
pub struct Mcfg<'t>(&'t [u8]);

/// A configuration-space window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EcamWindow {
    /// Physical address of bus 0's part, be it in the window or not.
    pub base: u64,
    /// PCI segment.
    pub segment: u16,
    /// First bus in the window.
    pub first_bus: u8,
    /// Last bus in the window.
    pub last_bus: u8,
}

impl<'t> Mcfg<'t> {
    /// Checks the table from its first byte; what follows its length is ignored.
    ///
    /// # Errors
    /// `BadTable`, `BadChecksum`.
    pub fn parse(table: &'t [u8]) -> Result<Self, TableError> {
        let table = checked(table, *b"MCFG", FIXED_BYTES)?;
        match (table.len() - FIXED_BYTES) % WINDOW_BYTES {
            0 => Ok(Mcfg(table)),
            rest => Err(TableError::BadTable { offset: table.len() - rest }),
        }
    }

    /// The windows, in order.
    pub fn windows(&self) -> impl Iterator<Item = EcamWindow> + use<'t> {
        let windows = self.0.get(FIXED_BYTES..).unwrap_or_default();
        windows.chunks_exact(WINDOW_BYTES).filter_map(|window| {
            let (base, segment) = (u64_at(window, 0)?, u16_at(window, 8)?);
            Some(EcamWindow { base, segment, first_bus: *window.get(10)?, last_bus: *window.get(11)? })
        })
    }
}
