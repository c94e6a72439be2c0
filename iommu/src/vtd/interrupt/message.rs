//! What interrupt sources are programmed with: messages and I/O APIC redirection entries in remappable format
//! (VT-d 5.10 §5.1.2.2 "Interrupt Requests in Remappable Format", §5.1.5 "Programming Interrupt Sources").
//!
//! **Invariant: SHV = 0**, so the handle alone names the entry and the data a device adds selects nothing.

use crate::interrupt::{Msi, Polarity, RedirectionEntry, Trigger};
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

/// The message that names entry `index`.
pub(super) fn msi(index: u16) -> Msi {
    let address = Address::new().with_prefix(0xfee).with_is_remappable(true);
    let address = address.with_handle_low(index & 0x7fff).with_handle_high(index >> 15 != 0);
    Msi { address: u64::from(address.into_bits()), data: 0 }
}

/// The masked redirection entry that names entry `index`.
pub(super) fn redirection(index: u16, vector: u8, trigger: Trigger, polarity: Polarity) -> RedirectionEntry {
    RedirectionEntry::new()
        .with_vector(vector)
        .with_handle_high(index >> 15 != 0)
        .with_is_active_low(polarity == Polarity::ActiveLow)
        .with_is_level(trigger == Trigger::Level)
        .with_is_masked(true)
        .with_is_remappable(true)
        .with_handle_low(index & 0x7fff)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Golden values packed by hand from §5.1.2.2.
    #[test]
    fn messages() {
        assert_eq!(msi(0), Msi { address: 0xfee0_0010, data: 0 });
        assert_eq!(msi(0x123), Msi { address: 0xfee0_2470, data: 0 });
        assert_eq!(msi(0x8001), Msi { address: 0xfee0_0034, data: 0 });
        assert_eq!(msi(0xffff), Msi { address: 0xfeef_fff4, data: 0 });
    }

    /// Golden values packed by hand from §5.1.5.1.
    #[test]
    fn redirection_entries() {
        let edge = redirection(5, 0x30, Trigger::Edge, Polarity::ActiveHigh);
        assert_eq!(edge.into_bits(), 0x000b_0000_0001_0030);
        let level = redirection(0x8002, 0x41, Trigger::Level, Polarity::ActiveLow);
        assert_eq!(level.with_is_masked(false).into_bits(), 0x0005_0000_0000_a841);
    }
}
