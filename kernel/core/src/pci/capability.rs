//! Capabilities: what a function says it can do.
//!
//! **Invariant: the walk ends whatever the links say, and a [`Msix`] lies inside memory BARs of its function.**
//!
//! Of a capability that occurs twice the first counts.

use core::ops::Range;

use super::bar::{BarKind, Bars};
use super::config::Config;
use super::error::PciError;
use super::registers::{
    AdvancedFeatures, CapabilityWord, DeviceCapabilities, ExpressWord, ExtendedWord, MsiControl, MsixControl,
    MsixPlace, SriovTotals, offset,
};
use super::sriov;

/// Capability ids (PCI Code and ID Assignment Specification 1.15, chapter 2 and 3).
mod id {
    pub(super) const MSI: u8 = 0x05;
    pub(super) const EXPRESS: u8 = 0x10;
    pub(super) const MSIX: u8 = 0x11;
    pub(super) const ADVANCED_FEATURES: u8 = 0x13;
    pub(super) const EXTENDED_ACS: u16 = 0x0d;
    pub(super) const EXTENDED_ARI: u16 = 0x0e;
    pub(super) const EXTENDED_ATS: u16 = 0x0f;
    pub(super) const EXTENDED_SRIOV: u16 = 0x10;
}

/// What a function can do, as far as Weir cares.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// It is a PCI Express function (others are conventional PCI).
    pub express: Option<Express>,
    /// Message-signalled interrupts.
    pub msi: Option<Msi>,
    /// The same with a table in memory.
    pub msix: Option<Msix>,
    /// Offset of the AF capability, where it can reset the function.
    pub advanced_features_flr: Option<u16>,
    /// Offset of access control services.
    pub acs: Option<u16>,
    /// Offset of address translation services.
    pub ats: Option<u16>,
    /// It has alternative routing ids: functions of it can be at any device number.
    pub has_ari: bool,
    /// Single-root I/O virtualization.
    pub sriov: Option<Sriov>,
}

/// The SR-IOV capability.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sriov {
    /// Where it is.
    pub offset: u16,
    /// Virtual functions that it can have, as far as Weir lets it.
    pub functions: u16,
}

/// The PCI Express capability.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Express {
    /// Where it is.
    pub offset: u16,
    /// What kind of function it is.
    pub port_type: PortType,
    /// It has function-level reset.
    pub has_flr: bool,
}

/// Kinds of PCI Express function (PCIe 6.0 §7.5.3.2 "PCI Express Capabilities Register").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PortType {
    /// An ordinary device, legacy or not.
    Endpoint,
    /// A device inside the root complex.
    IntegratedEndpoint,
    /// Collects events of the root complex.
    EventCollector,
    /// From the root complex down to a link.
    RootPort,
    /// A switch's side towards the root.
    UpstreamPort,
    /// A switch's side towards a device.
    DownstreamPort,
    /// From PCI Express down to conventional PCI or PCI-X.
    ToPci,
    /// From conventional PCI or PCI-X down to PCI Express.
    FromPci,
    /// A number without meaning.
    Unknown(u8),
}

impl PortType {
    fn from_number(number: u8) -> PortType {
        match number {
            0 | 1 => PortType::Endpoint,
            4 => PortType::RootPort,
            5 => PortType::UpstreamPort,
            6 => PortType::DownstreamPort,
            7 => PortType::ToPci,
            8 => PortType::FromPci,
            9 => PortType::IntegratedEndpoint,
            10 => PortType::EventCollector,
            other => PortType::Unknown(other),
        }
    }
}

/// The MSI capability.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Msi {
    /// Where it is.
    pub offset: u16,
    /// Messages it can tell apart: 1, 2, 4 … 32.
    pub vectors: u16,
    /// Its messages can go above 4 GiB.
    pub is_64_bit: bool,
    /// Each message can be masked.
    pub has_mask: bool,
}

impl Msi {
    /// Where its mask bits are; only there if it has them (PCIe 6.0 §7.7.1 "MSI Capability Structures").
    pub(super) fn mask_offset(&self) -> u16 {
        self.offset + if self.is_64_bit { 0x10 } else { 0xc }
    }

    /// Where the 16 bits of data are.
    pub(super) fn data_offset(&self) -> u16 {
        self.mask_offset() - 4
    }

    fn bytes(&self) -> u16 {
        let mask = if self.has_mask { 8 } else { 0 };
        self.mask_offset() - self.offset + mask
    }
}

/// The MSI-X capability.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Msix {
    /// Where it is.
    pub offset: u16,
    /// Entries of the table, 1 to 2048.
    pub entries: u16,
    /// Where the table is: 16 bytes an entry.
    pub table: BarRange,
    /// Where the pending bits are.
    pub pending: BarRange,
}

/// A part of a BAR.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BarRange {
    /// Which BAR.
    pub bar: u8,
    /// Where in it.
    pub offset: u64,
    /// How long.
    pub bytes: u64,
}

impl BarRange {
    /// Whether it lies in a memory BAR of the function.
    fn is_inside(&self, bars: &Bars) -> bool {
        let bar = bars.get(usize::from(self.bar)).copied().flatten();
        bar.is_some_and(|bar| {
            matches!(bar.kind, BarKind::Memory { .. }) && self.offset + self.bytes <= bar.bytes
        })
    }
}

/// Reads the capabilities of a function whose BARs are known.
///
/// # Errors
///
/// [`PciError::Malformed`] where one that Weir would use runs past the end of its space, or where the MSI-X table or
/// its pending bits lie outside of the function's memory: then nobody knows which pages hold them.
pub(super) fn read(config: Config, bars: &Bars) -> Result<Capabilities, PciError> {
    let mut found = Capabilities::default();
    for (id, at) in standard(config) {
        let bytes = match id {
            id::MSI if found.msi.is_none() => found.msi.insert(read_msi(config, at)).bytes(),
            id::MSIX if found.msix.is_none() => {
                found.msix = Some(read_msix(config, at));
                12
            }
            id::EXPRESS if found.express.is_none() => {
                found.express = Some(read_express(config, at));
                12
            }
            id::ADVANCED_FEATURES if AdvancedFeatures::from_bits(config.read(at)).has_flr() => {
                found.advanced_features_flr.get_or_insert(at);
                8
            }
            _ => 0,
        };
        if at + bytes > offset::EXTENDED {
            return Err(PciError::Malformed);
        }
    }
    // Only a PCI Express function has the extended space; others may show the first 256 bytes again there.
    let extended = found.express.is_some().then(|| extended(config));
    for (id, at) in extended.into_iter().flatten() {
        match id {
            id::EXTENDED_ACS => _ = found.acs.get_or_insert(at),
            id::EXTENDED_ATS => _ = found.ats.get_or_insert(at),
            id::EXTENDED_ARI => found.has_ari = true,
            id::EXTENDED_SRIOV if found.sriov.is_none() => found.sriov = Some(read_sriov(config, at)),
            _ => continue,
        }
        let bytes = if id == id::EXTENDED_SRIOV { sriov::CAPABILITY_BYTES } else { 12 };
        if at + bytes > CONFIG_END {
            return Err(PciError::Malformed);
        }
    }
    match found.msix {
        Some(msix) if !msix.table.is_inside(bars) || !msix.pending.is_inside(bars) => {
            Err(PciError::Malformed)
        }
        _ => Ok(found),
    }
}

fn read_express(config: Config, at: u16) -> Express {
    let word = ExpressWord::from_bits(config.read_half(at + 2));
    let capabilities = DeviceCapabilities::from_bits(config.read(at + 4));
    let port_type = PortType::from_number(word.port_type());
    Express { offset: at, port_type, has_flr: capabilities.has_flr() }
}

fn read_msi(config: Config, at: u16) -> Msi {
    let control = MsiControl::from_bits(config.read_half(at + 2));
    let vectors = 1 << control.vectors_capable().min(5); // 6 and 7 are reserved
    Msi { offset: at, vectors, is_64_bit: control.is_64_bit(), has_mask: control.has_mask() }
}

fn read_msix(config: Config, at: u16) -> Msix {
    let entries = MsixControl::from_bits(config.read_half(at + 2)).last_entry() + 1;
    let place = |register, bytes| {
        let place = MsixPlace::from_bits(config.read(register));
        BarRange { bar: place.bar(), offset: u64::from(place.offset_words()) * 8, bytes }
    };
    let pending_bytes = u64::from(entries).div_ceil(64) * 8;
    let table = place(at + 4, u64::from(entries) * 16);
    Msix { offset: at, entries, table, pending: place(at + 8, pending_bytes) }
}

fn read_sriov(config: Config, at: u16) -> Sriov {
    let totals = SriovTotals::from_bits(config.read(at + sriov::TOTALS));
    Sriov { offset: at, functions: totals.initial().min(totals.total()).min(sriov::MAX_FUNCTIONS) }
}

/// Ids and offsets of the capabilities, each offset once (PCIe 6.0 §7.5.1.1.11 "Capabilities Pointer").
fn standard(config: Config) -> impl Iterator<Item = (u8, u16)> {
    let has_list = config.read_half(offset::COMMAND + 2) & STATUS_HAS_CAPABILITIES != 0;
    let first = if has_list { config.read(offset::CAPABILITIES).to_le_bytes()[0] } else { 0 };
    let mut walk = Walk::new(u16::from(first));
    core::iter::from_fn(move || {
        let at = walk.at(HEADER_END..offset::EXTENDED)?;
        let word = CapabilityWord::from_bits(config.read(at));
        walk.next = u16::from(word.next());
        Some((word.id(), at))
    })
}

/// Ids and offsets of the extended capabilities, each offset once.
fn extended(config: Config) -> impl Iterator<Item = (u16, u16)> {
    let mut walk = Walk::new(offset::EXTENDED);
    core::iter::from_fn(move || {
        let at = walk.at(offset::EXTENDED..CONFIG_END)?;
        let word = ExtendedWord::from_bits(config.read(at));
        if matches!(word.into_bits(), 0 | u32::MAX) {
            return None;
        }
        walk.next = word.next();
        Some((word.id(), at))
    })
}

/// Bit 4 of the status register: there is a list of capabilities.
const STATUS_HAS_CAPABILITIES: u16 = 1 << 4;
const HEADER_END: u16 = 0x40;
const CONFIG_END: u16 = 0x1000;

/// A position in a list whose links are not believed.
struct Walk {
    next: u16,
    /// By register.
    seen: [bool; CONFIG_END as usize / 4],
}

impl Walk {
    fn new(first: u16) -> Walk {
        Walk { next: first, seen: [false; CONFIG_END as usize / 4] }
    }

    /// The position, unless it is outside of `space` or was there before.
    fn at(&mut self, space: Range<u16>) -> Option<u16> {
        let at = self.next & !3;
        let seen = self.seen.get_mut(usize::from(at / 4)).filter(|seen| !**seen && space.contains(&at))?;
        *seen = true;
        Some(at)
    }
}
