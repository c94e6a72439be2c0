//! What interrupt sources are programmed with: messages and I/O APIC redirection entries in remappable format
//! (VT-d 5.10 §5.1.2.2 "Interrupt Requests in Remappable Format", §5.1.5 "Programming Interrupt Sources").
//!
//! **Invariant: SHV = 0**, so the handle alone names the entry and the data a device adds selects nothing.

use super::Trigger;
use bitfield_struct::bitfield;

/// Address word of a remappable message.
#[bitfield(u32)]
struct Address {
    #[bits(2)]
    __: u8,
    handle_high: bool,
    subhandle_valid: bool,
    is_remappable: bool,
    #[bits(15)]
    handle_low: u16,
    #[bits(12)]
    prefix: u16,
}
const _: () = assert!(Address::IS_REMAPPABLE_OFFSET == 4 && Address::HANDLE_LOW_OFFSET == 5);
const _: () = assert!(Address::PREFIX_OFFSET == 20);

/// A message for a function's MSI or MSI-X registers; the upper address is 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Msi {
    /// Message address.
    pub address: u64,
    /// Message data.
    pub data: u32,
}

impl Msi {
    pub(super) fn remappable(index: u16) -> Self {
        let address = Address::new().with_prefix(0xfee).with_is_remappable(true);
        let address = address.with_handle_low(index & 0x7fff).with_handle_high(index >> 15 != 0);
        Msi { address: u64::from(address.into_bits()), data: 0 }
    }
}

/// Which level of a line means "raised".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Polarity {
    /// ISA lines.
    ActiveHigh,
    /// PCI lines.
    ActiveLow,
}

/// I/O APIC redirection table entry in remappable format. [`into_bits`](Self::into_bits) is what to write.
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct RedirectionEntry {
    /// Must equal the vector of the remapping entry, or end-of-interrupt does not find the pin.
    pub vector: u8,
    #[bits(3)]
    __: u8,
    handle_high: bool,
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
    is_remappable: bool,
    #[bits(15)]
    handle_low: u16,
}
const _: () = assert!(RedirectionEntry::HANDLE_HIGH_OFFSET == 11 && RedirectionEntry::IS_LEVEL_OFFSET == 15);
const _: () =
    assert!(RedirectionEntry::IS_MASKED_OFFSET == 16 && RedirectionEntry::IS_REMAPPABLE_OFFSET == 48);
const _: () = assert!(RedirectionEntry::HANDLE_LOW_OFFSET == 49);

impl RedirectionEntry {
    pub(super) fn remappable(index: u16, vector: u8, trigger: Trigger, polarity: Polarity) -> Self {
        RedirectionEntry::new()
            .with_vector(vector)
            .with_handle_high(index >> 15 != 0)
            .with_is_active_low(polarity == Polarity::ActiveLow)
            .with_is_level(trigger == Trigger::Level)
            .with_is_masked(true)
            .with_is_remappable(true)
            .with_handle_low(index & 0x7fff)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Golden values packed by hand from §5.1.2.2.
    #[test]
    fn messages() {
        assert_eq!(Msi::remappable(0), Msi { address: 0xfee0_0010, data: 0 });
        assert_eq!(Msi::remappable(0x123), Msi { address: 0xfee0_2470, data: 0 });
        assert_eq!(Msi::remappable(0x8001), Msi { address: 0xfee0_0034, data: 0 });
        assert_eq!(Msi::remappable(0xffff), Msi { address: 0xfeef_fff4, data: 0 });
    }

    /// Golden values packed by hand from §5.1.5.1.
    #[test]
    fn redirection_entries() {
        let edge = RedirectionEntry::remappable(5, 0x30, Trigger::Edge, Polarity::ActiveHigh);
        assert_eq!(edge.into_bits(), 0x000b_0000_0001_0030);
        let level = RedirectionEntry::remappable(0x8002, 0x41, Trigger::Level, Polarity::ActiveLow);
        assert_eq!(level.with_is_masked(false).into_bits(), 0x0005_0000_0000_a841);
    }
}
