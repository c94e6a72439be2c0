//! Device entries: which functions a unit covers, under which id it sees them, and what they may do besides DMA
//! (48882 §5.2.2.1, device entry tables).
//!
//! **Invariant: after `check`, `Entries::iter` yields every entry, ranges with both ends, in table order.**

use bitfield_struct::bitfield;
use zerocopy::little_endian::U16;
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

/// What firmware says a function needs beyond DMA and its own messages (DTE setting). Weir's device table grants
/// none of it: a function that needs any is part of the platform, not fit to be granted.
#[bitfield(u8)]
#[derive(PartialEq, Eq)]
pub struct DeviceSettings {
    /// INIT messages.
    pub init: bool,
    /// ExtINT messages.
    pub external_interrupt: bool,
    /// NMI messages.
    pub nmi: bool,
    __: bool,
    /// System management messages; 0 = none.
    #[bits(2)]
    pub system_management: u8,
    /// Legacy PIC line 0.
    pub lint0: bool,
    /// Legacy PIC line 1 (NMI).
    pub lint1: bool,
}
const _: () = assert!(DeviceSettings::SYSTEM_MANAGEMENT_OFFSET == 4 && DeviceSettings::LINT0_OFFSET == 6);

/// An interrupt source that is no PCI function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Special {
    /// An I/O APIC, by its APIC id.
    IoApic(u8),
    /// A timer block, by its number.
    Hpet(u8),
    /// A variety this revision does not know.
    Unknown(u8),
}

/// One statement about functions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    /// These functions, each under `alias` if there is one, else under its own id.
    Functions { ids: (u16, u16), alias: Option<u16>, settings: DeviceSettings },
    /// A source that uses this id.
    Special { source: Special, id: u16 },
}

impl Entry {
    pub(super) fn covers(&self, id: u16) -> bool {
        matches!(self, Entry::Functions { ids: (first, last), .. } if (*first..=*last).contains(&id))
    }
}

/// First eight bytes of an entry; four-byte entries end after `settings`.
#[derive(Clone, Copy, FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Short {
    kind: u8,
    device: U16,
    settings: u8,
}

/// The second four bytes.
#[derive(Clone, Copy, FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Rest {
    /// I/O APIC id or timer number.
    handle: u8,
    source: U16,
    variety: u8,
}

/// Offset of the length of the unique id in an entry for a device that is named in ACPI only.
const UID_LENGTH_AT: usize = 21;

/// Kinds of entries.
const ALL: u8 = 0x01;
const SELECT: u8 = 0x02;
const RANGE_START: u8 = 0x03;
const RANGE_END: u8 = 0x04;
const ALIAS_SELECT: u8 = 0x42;
const ALIAS_RANGE_START: u8 = 0x43;
const EXTENDED_SELECT: u8 = 0x46;
const EXTENDED_RANGE_START: u8 = 0x47;
const SPECIAL: u8 = 0x48;
const ACPI_DEVICE: u8 = 0xf0;

/// The device entries of one block.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entries<'t> {
    bytes: &'t [u8],
}

impl<'t> Entries<'t> {
    pub(super) fn new(bytes: &'t [u8]) -> Self {
        Entries { bytes }
    }

    pub(super) fn check(self) -> Result<(), ()> {
        Cutter { rest: self.bytes }.try_for_each(|entry| entry.map(drop))
    }

    pub(super) fn iter(self) -> impl Iterator<Item = Entry> + use<'t> {
        Cutter { rest: self.bytes }.filter_map(|entry| entry.ok().flatten())
    }
}

/// Yields `None` for entries that say nothing here: padding and kinds this revision does not know.
struct Cutter<'t> {
    rest: &'t [u8],
}

impl Cutter<'_> {
    /// Cuts one entry off, of the length its kind has.
    fn cut(&mut self) -> Option<(Short, Option<Rest>)> {
        let (short, after) = Short::read_from_prefix(self.rest).ok()?;
        let bytes = match short.kind {
            0..0x40 => 4,
            0x40..0x80 => 8,
            0x80..0xc0 => 16,
            0xc0..0xf0 => 32,
            ACPI_DEVICE => UID_LENGTH_AT + 1 + usize::from(*self.rest.get(UID_LENGTH_AT)?),
            _ => return None,
        };
        self.rest = self.rest.get(bytes..)?;
        Some((short, Rest::read_from_prefix(after).ok().map(|(rest, _)| rest).filter(|_| bytes >= 8)))
    }

    /// The end of the range that `first` began.
    fn range_end(&mut self, first: u16) -> Option<(u16, u16)> {
        let (end, _) = self.cut()?;
        let last = end.device.get();
        (end.kind == RANGE_END && first <= last).then_some((first, last))
    }

    fn entry(&mut self) -> Option<Option<Entry>> {
        let (short, rest) = self.cut()?;
        let device = short.device.get();
        let functions = |ids, alias| {
            Some(Entry::Functions { ids, alias, settings: DeviceSettings::from_bits(short.settings) })
        };
        Some(match (short.kind, rest) {
            (ALL, _) => functions((0, u16::MAX), None),
            (SELECT | EXTENDED_SELECT | ACPI_DEVICE, _) => functions((device, device), None),
            (RANGE_START | EXTENDED_RANGE_START, _) => functions(self.range_end(device)?, None),
            (RANGE_END, _) => return None,
            (ALIAS_SELECT, Some(rest)) => functions((device, device), Some(rest.source.get())),
            (ALIAS_RANGE_START, Some(rest)) => functions(self.range_end(device)?, Some(rest.source.get())),
            (SPECIAL, Some(rest)) => {
                let source = match rest.variety {
                    1 => Special::IoApic(rest.handle),
                    2 => Special::Hpet(rest.handle),
                    other => Special::Unknown(other),
                };
                Some(Entry::Special { source, id: rest.source.get() })
            }
            _ => None,
        })
    }
}

impl Iterator for Cutter<'_> {
    type Item = Result<Option<Entry>, ()>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let entry = self.entry().ok_or(());
        if entry.is_err() {
            self.rest = &[];
        }
        Some(entry)
    }
}
