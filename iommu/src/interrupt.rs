//! Interrupts through a unit, in words both makes share: who may raise what, and what sources are programmed with.
//!
//! **Invariant: what is routed is one fixed vector to one APIC**: never NMI, SMI, INIT or a broadcast.

use crate::address::RequesterId;
use crate::error::{Error, Result};
use bitfield_struct::bitfield;

/// How the machine's local APICs are addressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ApicMode {
    /// 8-bit ids.
    XApic,
    /// 32-bit ids; needs extended interrupt mode (ECAP.EIM) or AMD's x2APIC support (EFR.XTSup).
    X2Apic,
}

impl ApicMode {
    /// Whether `apic_id` names one APIC.
    fn accepts(self, apic_id: u32) -> bool {
        match self {
            ApicMode::XApic => apic_id < 0xff,
            ApicMode::X2Apic => apic_id != u32::MAX,
        }
    }
}

/// Trigger mode of an interrupt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// Messages (MSI, MSI-X) and most legacy lines.
    Edge,
    /// PCI lines through an I/O APIC.
    Level,
}

/// From whom, to where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InterruptRoute {
    /// The only requester that may raise it: a function, or an I/O APIC's id from firmware's table.
    pub requester: RequesterId,
    /// Vector at the destination, 16 or more.
    pub vector: u8,
    /// Destination, physical mode.
    pub apic_id: u32,
    /// Must agree with the I/O APIC's redirection entry; `Edge` for messages.
    pub trigger: Trigger,
}

/// Whether `vector` can be sent to `apic_id` as a fixed interrupt.
pub(crate) fn check_target(mode: ApicMode, vector: u8, apic_id: u32) -> Result<()> {
    if vector < 16 {
        return Err(Error::BadVector { vector });
    }
    if !mode.accepts(apic_id) {
        return Err(Error::BadDestination { apic_id });
    }
    Ok(())
}

/// A message for a function's MSI or MSI-X registers; the upper address is 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Msi {
    /// Message address.
    pub address: u64,
    /// Message data.
    pub data: u32,
}

/// Which level of a line means "raised".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Polarity {
    /// ISA lines.
    ActiveHigh,
    /// PCI lines.
    ActiveLow,
}

/// I/O APIC redirection table entry, physical destination, fixed delivery; in VT-d's remappable format where
/// `is_remappable` is set, else as the I/O APIC has it, which is what AMD's units read. [`into_bits`](Self::into_bits) is what to write.
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct RedirectionEntry {
    /// VT-d: must equal the vector of the remapping entry. AMD: the index of the entry. Where they differ, end-of-interrupt does not find a pin of
    /// level trigger.
    pub vector: u8,
    #[bits(3)]
    __: u8,
    pub(crate) handle_high: bool,
    __: bool,
    /// Polarity: active low.
    pub is_active_low: bool,
    __: bool,
    /// Trigger mode; must equal that of the remapping entry.
    pub is_level: bool,
    /// The pin raises nothing.
    pub is_masked: bool,
    #[bits(31)]
    __: u32,
    pub(crate) is_remappable: bool,
    #[bits(15)]
    pub(crate) handle_low: u16,
}
const _: () = assert!(RedirectionEntry::HANDLE_HIGH_OFFSET == 11 && RedirectionEntry::IS_LEVEL_OFFSET == 15);
const _: () =
    assert!(RedirectionEntry::IS_MASKED_OFFSET == 16 && RedirectionEntry::IS_REMAPPABLE_OFFSET == 48);
const _: () = assert!(RedirectionEntry::HANDLE_LOW_OFFSET == 49);
