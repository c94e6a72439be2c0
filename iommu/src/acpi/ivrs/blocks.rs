//! The blocks of an IVRS table: units (IVHD) and reserved memory (IVMD), little-endian, unaligned (48882 §5.2.2).
//!
//! **Invariant: `Blocks` yields pieces of the table that lie inside it, an `Err` once for a length that does not,
//! and then ends.**

use super::entries::Entries;
use crate::address::RequesterId;
use crate::error::{Error, Result};
use bitfield_struct::bitfield;
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

/// Table header with IVinfo (§5.2.1 "IVRS Header").
#[derive(Clone, Copy, Debug, FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct Header {
    acpi: [u8; 36],
    info: U32,
    reserved: [u8; 8],
}
const _: () = assert!(size_of::<Header>() == 48);

impl Header {
    pub(super) fn info(&self) -> Info {
        Info::from_bits(self.info.get())
    }
}

/// IVinfo.
#[bitfield(u32)]
pub(super) struct Info {
    pub has_extended_features: bool,
    pub asks_for_dma_remapping: bool,
    #[bits(6)]
    __: u8,
    #[bits(7)]
    pub physical_bits: u8,
    #[bits(7)]
    pub virtual_bits: u8,
    #[bits(10)]
    __: u16,
}
const _: () = assert!(Info::PHYSICAL_BITS_OFFSET == 8 && Info::VIRTUAL_BITS_OFFSET == 15);

/// What every block starts with.
#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Prefix {
    kind: u8,
    flags: u8,
    length: U16,
}

/// IVHD, the part all types share (§5.2.2.1 "I/O Virtualization Hardware Definition Block").
#[derive(Clone, Copy, Debug, FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct IvhdStart {
    kind: u8,
    flags: u8,
    length: U16,
    device: U16,
    capability: U16,
    base: U64,
    segment: U16,
    info: U16,
    /// 10h: feature reporting; 11h and 40h: attributes.
    features: U32,
}
const _: () = assert!(size_of::<IvhdStart>() == 24);

/// What types 11h and 40h have in addition: images of the extended feature registers.
#[derive(Clone, Copy, Debug, FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct FeatureImages {
    first: U64,
    second: U64,
}

/// How the unit is to be set up (IVHD flags): what firmware knows of the machine's HyperTransport.
#[bitfield(u8)]
#[derive(PartialEq, Eq)]
pub struct UnitFlags {
    /// HyperTransport tunnel translation.
    pub ht_tunnel: bool,
    /// Responses may pass posted requests.
    pub pass_posted_writes: bool,
    /// The unit's own responses may.
    pub response_pass_posted_writes: bool,
    /// Isochronous requests.
    pub isochronous: bool,
    /// The unit supports device TLBs.
    pub has_device_tlbs: bool,
    /// The unit's own reads of tables snoop the caches.
    pub is_coherent: bool,
    /// Prefetch command.
    pub has_prefetch: bool,
    /// Page requests.
    pub has_page_requests: bool,
}

/// Feature reporting of type 10h: the same features as in EFR, elsewhere.
#[bitfield(u32)]
struct OldFeatures {
    xt: bool,
    nx: bool,
    gt: bool,
    #[bits(2)]
    glx: u8,
    invalidate_all: bool,
    guest_apic: bool,
    hardware_errors: bool,
    #[bits(5)]
    pasids: u8,
    #[bits(4)]
    counters: u8,
    #[bits(6)]
    banks: u8,
    #[bits(5)]
    page_request_message: u8,
    #[bits(2)]
    guest_levels: u8,
    #[bits(2)]
    host_levels: u8,
}
const _: () = assert!(OldFeatures::INVALIDATE_ALL_OFFSET == 5 && OldFeatures::HOST_LEVELS_OFFSET == 30);

impl OldFeatures {
    /// The bits of EFR that Weir looks at (§3.4 "Extended Feature Register"): XTSup 2, IASup 6, GASup 7, HATS 11:10.
    fn image(self) -> u64 {
        u64::from(self.xt()) << 2
            | u64::from(self.invalidate_all()) << 6
            | u64::from(self.guest_apic()) << 7
            | u64::from(self.host_levels()) << 10
    }
}

/// One block that describes a unit.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ivhd<'t> {
    pub(super) kind: u8,
    start: IvhdStart,
    features: u64,
    entries: Entries<'t>,
}

impl Ivhd<'_> {
    pub(super) fn is_same_unit(&self, other: &Ivhd<'_>) -> bool {
        (self.start.segment, self.start.device) == (other.start.segment, other.start.device)
    }
}

/// One unit.
#[derive(Clone, Copy, Debug)]
pub struct UnitDescription<'t> {
    /// Place among the units of the table.
    pub index: usize,
    /// PCI segment of the unit and all its functions.
    pub segment: u16,
    /// The unit's own function, whose MSI sends its fault events.
    pub function: RequesterId,
    /// Where in the function's configuration space its capability block starts.
    pub capability_offset: u16,
    /// Physical address of the registers.
    pub base: u64,
    /// How to set the unit up.
    pub flags: UnitFlags,
    /// Extended features as firmware states them, which overrides what the unit's register says; the layout is the
    /// register's. Meaningless unless [`Ivrs::has_extended_features`](super::Ivrs::has_extended_features).
    pub extended_features: u64,
    pub(super) entries: Entries<'t>,
}

impl<'t> UnitDescription<'t> {
    /// Bytes of the register space that Weir uses; units with performance counters have more.
    pub const REGISTER_BYTES: u64 = 0x4000;

    pub(super) fn new(index: usize, ivhd: Ivhd<'t>) -> Self {
        UnitDescription {
            index,
            segment: ivhd.start.segment.get(),
            function: RequesterId(ivhd.start.device.get()),
            capability_offset: ivhd.start.capability.get(),
            base: ivhd.start.base.get(),
            flags: UnitFlags::from_bits(ivhd.start.flags),
            extended_features: ivhd.features,
            entries: ivhd.entries,
        }
    }
}

/// IVMD (§5.2.2.2 "I/O Virtualization Memory Definition Block").
#[derive(Clone, Copy, Debug, FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct Ivmd {
    kind: u8,
    flags: u8,
    length: U16,
    first: U16,
    /// Last function of a range.
    last: U16,
    segment: U16,
    reserved: [u8; 6],
    base: U64,
    bytes: U64,
}
const _: () = assert!(size_of::<Ivmd>() == 32);

/// Memory some functions go on reaching.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReservedMemory {
    /// PCI segment of the functions.
    pub segment: u16,
    first: u16,
    last: u16,
    /// Start, in bytes.
    pub base: u64,
    /// Length, in bytes.
    pub bytes: u64,
    /// Firmware asks that the functions reach it untranslated whatever the tables say (exclusion range).
    pub is_exclusion: bool,
}

impl ReservedMemory {
    pub(super) fn new(block: Ivmd) -> Self {
        let (first, last) = match block.kind {
            0x21 => (block.first.get(), block.first.get()),
            0x22 => (block.first.get(), block.last.get()),
            _ => (0, u16::MAX),
        };
        ReservedMemory {
            segment: block.segment.get(),
            first,
            last,
            base: block.base.get(),
            bytes: block.bytes.get(),
            is_exclusion: block.flags & 8 != 0,
        }
    }

    /// Whether the function with this id in this segment goes on reaching the memory.
    #[must_use]
    pub fn names(&self, segment: u16, id: RequesterId) -> bool {
        self.segment == segment && (self.first..=self.last).contains(&id.0)
    }
}

/// One block as bytes, prefix included.
pub(super) struct Block<'t> {
    kind: u8,
    /// Where it starts in the table.
    offset: usize,
    bytes: &'t [u8],
}

impl<'t> Block<'t> {
    pub(super) fn is_memory(&self) -> bool {
        (0x20..=0x22).contains(&self.kind)
    }

    /// The fixed part as `T`, and what follows it.
    pub(super) fn read<T: FromBytes>(&self) -> Result<(T, &'t [u8])> {
        T::read_from_prefix(self.bytes).map_err(|_| self.bad())
    }

    /// The unit it describes, if it describes one; `check` has seen that it is well-formed.
    pub(super) fn unit(&self) -> Option<Ivhd<'t>> {
        self.ivhd()?.ok()
    }

    /// Checks lengths down to the last device entry.
    pub(super) fn check(&self) -> Result<()> {
        if let Some(ivhd) = self.ivhd() {
            return ivhd?.entries.check().map_err(|()| self.bad());
        }
        if self.is_memory() {
            let memory = ReservedMemory::new(self.read::<Ivmd>()?.0);
            return if memory.first <= memory.last { Ok(()) } else { Err(self.bad()) };
        }
        Ok(())
    }

    fn ivhd(&self) -> Option<Result<Ivhd<'t>>> {
        match self.kind {
            0x10 => Some(self.old_ivhd()),
            0x11 | 0x40 => Some(self.new_ivhd()),
            _ => None,
        }
    }

    fn old_ivhd(&self) -> Result<Ivhd<'t>> {
        let (start, entries) = self.read::<IvhdStart>()?;
        let features = OldFeatures::from_bits(start.features.get()).image();
        Ok(Ivhd { kind: self.kind, start, features, entries: Entries::new(entries) })
    }

    fn new_ivhd(&self) -> Result<Ivhd<'t>> {
        let (start, rest) = self.read::<IvhdStart>()?;
        let (images, entries) = FeatureImages::read_from_prefix(rest).map_err(|_| self.bad())?;
        Ok(Ivhd { kind: self.kind, start, features: images.first.get(), entries: Entries::new(entries) })
    }

    fn bad(&self) -> Error {
        Error::BadTable { offset: self.offset }
    }
}

/// Iterates over the blocks of a table.
pub(super) struct Blocks<'t> {
    rest: &'t [u8],
    offset: usize,
}

impl<'t> Blocks<'t> {
    /// `body` is what follows the table header.
    pub(super) fn new(body: &'t [u8]) -> Self {
        Blocks { rest: body, offset: size_of::<Header>() }
    }

    fn cut(&mut self) -> Option<Block<'t>> {
        let (prefix, _) = Prefix::read_from_prefix(self.rest).ok()?;
        let length = usize::from(prefix.length.get());
        let (bytes, rest) = self.rest.split_at_checked(length).filter(|_| length >= size_of::<Prefix>())?;
        let block = Block { kind: prefix.kind, offset: self.offset, bytes };
        self.rest = rest;
        self.offset += length;
        Some(block)
    }
}

impl<'t> Iterator for Blocks<'t> {
    type Item = Result<Block<'t>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let block = self.cut().ok_or(Error::BadTable { offset: self.offset });
        if block.is_err() {
            self.rest = &[];
        }
        Some(block)
    }
}
