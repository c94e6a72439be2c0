//! The DMAR table: which units there are and which functions each covers (VT-d 5.10 §8 "BIOS Considerations").
//!
//! **Invariant: a `Dmar` exists only if every structure and every device scope of the table lies inside it with a
//! possible length**; after `parse` nothing can be out of bounds.
//! **Invariant: a function is covered by exactly one unit, or by none**: where a table names two, it is treated as
//! covered by none.
//!
//! Whether what firmware says is true is not checked; lengths, counts and paths are.

mod resolve;
mod scope;
mod structures;

use super::table;
use crate::error::{Error, Result};
pub use resolve::{PciAddress, Topology};
pub use scope::{Scope, ScopeKind};
pub use structures::{Devices, DmarFlags, ReservedRegion, RootPortAts, UnitDescription};
use structures::{Drhd, Header, Kind, Rmrr, Structure, Structures};
use zerocopy::FromBytes;

/// A checked DMAR table.
#[derive(Clone, Copy, Debug)]
pub struct Dmar<'t> {
    header: Header,
    /// The remapping structures, after the header.
    body: &'t [u8],
}

impl<'t> Dmar<'t> {
    /// Checks `table`, the bytes of the whole ACPI table with its header (more may follow).
    ///
    /// # Errors
    /// `BadTable` with the offset of what is impossible, `BadChecksum`.
    pub fn parse(table: &'t [u8]) -> Result<Self> {
        let table = table::checked(table, *b"DMAR")?;
        let (header, body) = Header::read_from_prefix(table).map_err(|_| Error::BadTable { offset: 4 })?;
        for structure in Structures::new(body) {
            structure?.check()?;
        }
        Ok(Dmar { header, body })
    }

    /// Width of physical addresses, in bits.
    #[must_use]
    pub fn host_address_bits(&self) -> u8 {
        self.header.width.saturating_add(1)
    }

    /// What the platform says about itself.
    #[must_use]
    pub fn flags(&self) -> DmarFlags {
        DmarFlags::from_bits(self.header.flags)
    }

    /// The remapping units, in table order (DRHD structures, §8.3).
    pub fn units(&self) -> impl Iterator<Item = UnitDescription<'t>> + use<'t> {
        self.structures(Kind::UNIT).enumerate().filter_map(|(index, structure)| {
            let (unit, scopes) = structure.read::<Drhd>().ok()?;
            Some(UnitDescription::new(index, unit, Devices::new(scopes)))
        })
    }

    /// Memory that firmware has given to some functions (RMRR structures, §8.4). A function that is in one
    /// is not fit to be granted.
    pub fn reserved_regions(&self) -> impl Iterator<Item = ReservedRegion<'t>> + use<'t> {
        self.structures(Kind::RESERVED_REGION).filter_map(|structure| {
            let (region, scopes) = structure.read::<Rmrr>().ok()?;
            Some(ReservedRegion::new(region, Devices::new(scopes)))
        })
    }

    /// Root ports that support device TLBs (ATSR structures, §8.5).
    pub fn root_ports_with_ats(&self) -> impl Iterator<Item = RootPortAts<'t>> + use<'t> {
        self.structures(Kind::ROOT_PORT_ATS).filter_map(|structure| structure.root_port_ats().ok())
    }

    /// Integrated functions with address translation caches (SATC structures, §8.8): segment and functions.
    pub fn integrated_ats(&self) -> impl Iterator<Item = (u16, Devices<'t>)> + use<'t> {
        self.structures(Kind::INTEGRATED_ATS).filter_map(|structure| structure.integrated_ats().ok())
    }

    /// NUMA nodes of units (RHSA structures, §8.6): register base and proximity domain.
    pub fn proximity(&self) -> impl Iterator<Item = (u64, u32)> + use<'t> {
        self.structures(Kind::PROXIMITY).filter_map(|structure| structure.proximity().ok())
    }

    /// Devices that are named in ACPI only (ANDD structures, §8.7): number used in scopes, and name as bytes.
    pub fn namespace_devices(&self) -> impl Iterator<Item = (u8, &'t [u8])> + use<'t> {
        self.structures(Kind::NAMESPACE_DEVICE).filter_map(|structure| structure.namespace_device().ok())
    }

    /// The structures of one kind; `parse` has seen that each is well-formed.
    fn structures(&self, kind: Kind) -> impl Iterator<Item = Structure<'t>> + use<'t> {
        Structures::new(self.body).filter_map(Result::ok).filter(move |structure| structure.kind() == kind)
    }
}
