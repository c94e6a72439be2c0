//! The remapping structures of a DMAR table (VT-d 5.10 §8.1 to §8.8), little-endian, unaligned.
//!
//! **Invariant: `Structures` and `Devices` yield pieces of the table that lie inside it, an `Err` once for a length
//! that does not, and then end.**

use super::scope::{Scope, Scopes};
use crate::error::{Error, Result};
use bitfield_struct::bitfield;
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

/// Table header (§8.1 "DMA Remapping Reporting Structure").
#[derive(Clone, Copy, Debug, FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct Header {
    pub(super) signature: [u8; 4],
    pub(super) length: U32,
    revision: u8,
    checksum: u8,
    oem: [u8; 26],
    /// Host address width minus 1.
    pub(super) width: u8,
    pub(super) flags: u8,
    reserved: [u8; 10],
}
const _: () = assert!(size_of::<Header>() == 48);

/// Flags of the table header (§8.1).
#[bitfield(u8)]
pub struct DmarFlags {
    /// The platform supports interrupt remapping (INTR_REMAP).
    pub has_interrupt_remapping: bool,
    /// Firmware asks not to use x2APIC (X2APIC_OPT_OUT).
    pub opts_out_of_x2apic: bool,
    /// Firmware asks to keep DMA confined from boot on (DMA_CTRL_PLATFORM_OPT_IN).
    pub opts_in_to_dma_control: bool,
    #[bits(5)]
    __: u8,
}

/// Type of a remapping structure. Unknown ones are skipped.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Kind(u16);

impl Kind {
    pub(super) const UNIT: Self = Kind(0);
    pub(super) const RESERVED_REGION: Self = Kind(1);
    pub(super) const ROOT_PORT_ATS: Self = Kind(2);
    pub(super) const PROXIMITY: Self = Kind(3);
    pub(super) const NAMESPACE_DEVICE: Self = Kind(4);
    pub(super) const INTEGRATED_ATS: Self = Kind(5);
}

/// What every structure starts with.
#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Prefix {
    kind: U16,
    length: U16,
}

/// DRHD (§8.3 "DMA Remapping Hardware Unit Definition Structure").
#[derive(Clone, Copy, Debug, FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct Drhd {
    prefix: [u8; 4],
    /// Bit 0: INCLUDE_PCI_ALL.
    flags: u8,
    /// Bits 3:0: register pages = 2^this.
    size: u8,
    segment: U16,
    base: U64,
}
const _: () = assert!(size_of::<Drhd>() == 16);

/// RMRR (§8.4 "Reserved Memory Region Reporting Structure").
#[derive(Clone, Copy, Debug, FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct Rmrr {
    prefix: [u8; 4],
    reserved: U16,
    segment: U16,
    base: U64,
    /// Last byte.
    limit: U64,
}
const _: () = assert!(size_of::<Rmrr>() == 24);

/// ATSR (§8.5) and SATC (§8.8).
#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Ats {
    prefix: [u8; 4],
    flags: u8,
    reserved: u8,
    segment: U16,
}

/// RHSA (§8.6 "Remapping Hardware Static Affinity Structure").
#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Rhsa {
    prefix: [u8; 4],
    reserved: U32,
    base: U64,
    proximity: U32,
}
const _: () = assert!(size_of::<Rhsa>() == 20);

/// ANDD (§8.7 "ACPI Name-space Device Declaration Structure"), before the name.
#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Andd {
    prefix: [u8; 4],
    reserved: [u8; 3],
    number: u8,
}

/// One remapping unit.
#[derive(Clone, Copy, Debug)]
pub struct UnitDescription<'t> {
    /// Place among the units of the table.
    pub index: usize,
    /// PCI segment all its functions are in.
    pub segment: u16,
    /// Physical address of the registers.
    pub base: u64,
    /// Bytes of the register space.
    pub register_bytes: u64,
    /// Covers every function of the segment that no other unit names (INCLUDE_PCI_ALL).
    pub includes_all: bool,
    /// What it names.
    pub devices: Devices<'t>,
}

impl<'t> UnitDescription<'t> {
    pub(super) fn new(index: usize, unit: Drhd, devices: Devices<'t>) -> Self {
        UnitDescription {
            index,
            segment: unit.segment.get(),
            base: unit.base.get(),
            register_bytes: 4096 << (unit.size & 0xf),
            includes_all: unit.flags & 1 != 0,
            devices,
        }
    }
}

/// Memory some functions must go on reaching.
#[derive(Clone, Copy, Debug)]
pub struct ReservedRegion<'t> {
    /// PCI segment of the functions.
    pub segment: u16,
    base: u64,
    limit: u64,
    /// The functions.
    pub devices: Devices<'t>,
}

impl<'t> ReservedRegion<'t> {
    pub(super) fn new(region: Rmrr, devices: Devices<'t>) -> Self {
        let (base, limit) = (region.base.get(), region.limit.get());
        ReservedRegion { segment: region.segment.get(), base, limit, devices }
    }

    /// Where it starts, as firmware says.
    #[must_use]
    pub fn base(&self) -> u64 {
        self.base
    }

    /// Start and length in bytes, or `None` where firmware's numbers make no range of whole pages: then the
    /// functions are best left blocked.
    #[must_use]
    pub fn range(&self) -> Option<(u64, u64)> {
        let end = self.limit.checked_add(1)?;
        let bytes = end.checked_sub(self.base).filter(|bytes| *bytes > 0)?;
        (self.base.is_multiple_of(4096) && end.is_multiple_of(4096)).then_some((self.base, bytes))
    }
}

/// Root ports below which device TLBs work.
#[derive(Clone, Copy, Debug)]
pub struct RootPortAts<'t> {
    /// PCI segment.
    pub segment: u16,
    /// Every root port of the segment (ALL_PORTS).
    pub all_ports: bool,
    /// The root ports, unless all.
    pub devices: Devices<'t>,
}

/// The device scopes of one structure.
#[derive(Clone, Copy, Debug)]
pub struct Devices<'t> {
    bytes: &'t [u8],
}

impl<'t> Devices<'t> {
    pub(super) fn new(bytes: &'t [u8]) -> Self {
        Devices { bytes }
    }

    /// Each entry.
    pub fn iter(&self) -> impl Iterator<Item = Scope<'t>> + use<'t> {
        Scopes::new(self.bytes).filter_map(Result::ok)
    }
}

/// One structure as bytes, prefix included.
pub(super) struct Structure<'t> {
    kind: Kind,
    /// Where it starts in the table.
    offset: usize,
    bytes: &'t [u8],
}

impl<'t> Structure<'t> {
    pub(super) fn kind(&self) -> Kind {
        self.kind
    }

    /// The fixed part as `T`, and what follows it.
    pub(super) fn read<T: FromBytes>(&self) -> Result<(T, &'t [u8])> {
        T::read_from_prefix(self.bytes).map_err(|_| Error::BadTable { offset: self.offset })
    }

    /// Checks lengths down to the last device scope.
    pub(super) fn check(&self) -> Result<()> {
        let scopes = match self.kind {
            Kind::UNIT => self.read::<Drhd>()?.1,
            Kind::RESERVED_REGION => self.read::<Rmrr>()?.1,
            Kind::ROOT_PORT_ATS | Kind::INTEGRATED_ATS => self.read::<Ats>()?.1,
            Kind::PROXIMITY => return self.proximity().map(drop),
            Kind::NAMESPACE_DEVICE => return self.namespace_device().map(drop),
            _ => return Ok(()),
        };
        Scopes::new(scopes)
            .try_for_each(|scope| scope.map(drop))
            .map_err(|()| Error::BadTable { offset: self.offset })
    }

    pub(super) fn root_port_ats(&self) -> Result<RootPortAts<'t>> {
        let (ats, scopes) = self.read::<Ats>()?;
        let devices = Devices::new(scopes);
        Ok(RootPortAts { segment: ats.segment.get(), all_ports: ats.flags & 1 != 0, devices })
    }

    pub(super) fn integrated_ats(&self) -> Result<(u16, Devices<'t>)> {
        let (ats, scopes) = self.read::<Ats>()?;
        Ok((ats.segment.get(), Devices::new(scopes)))
    }

    pub(super) fn proximity(&self) -> Result<(u64, u32)> {
        let (affinity, _) = self.read::<Rhsa>()?;
        Ok((affinity.base.get(), affinity.proximity.get()))
    }

    pub(super) fn namespace_device(&self) -> Result<(u8, &'t [u8])> {
        let (device, name) = self.read::<Andd>()?;
        let end = name.iter().position(|byte| *byte == 0).ok_or(Error::BadTable { offset: self.offset })?;
        Ok((device.number, &name[..end]))
    }
}

/// Iterates over the structures of a table.
pub(super) struct Structures<'t> {
    rest: &'t [u8],
    offset: usize,
}

impl<'t> Structures<'t> {
    /// `body` is what follows the table header.
    pub(super) fn new(body: &'t [u8]) -> Self {
        Structures { rest: body, offset: size_of::<Header>() }
    }

    fn cut(&mut self) -> Option<Structure<'t>> {
        let (prefix, _) = Prefix::read_from_prefix(self.rest).ok()?;
        let length = usize::from(prefix.length.get());
        let (bytes, rest) = self.rest.split_at_checked(length).filter(|_| length >= size_of::<Prefix>())?;
        let structure = Structure { kind: Kind(prefix.kind.get()), offset: self.offset, bytes };
        self.rest = rest;
        self.offset += length;
        Some(structure)
    }
}

impl<'t> Iterator for Structures<'t> {
    type Item = Result<Structure<'t>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let structure = self.cut().ok_or(Error::BadTable { offset: self.offset });
        if structure.is_err() {
            self.rest = &[];
        }
        Some(structure)
    }
}
