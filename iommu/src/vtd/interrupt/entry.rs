//! Interrupt remapping table entry (VT-d 5.10 §9.9 "Interrupt Remapping Table Entry for Remapped Interrupts").

use crate::interrupt::{ApicMode, InterruptRoute, Trigger};
use bitfield_struct::bitfield;

/// The entry, remapped format.
#[bitfield(u128)]
pub(super) struct Irte {
    pub present: bool,
    /// FPD: do not record faults.
    pub is_muted: bool,
    /// DM: 0 physical.
    pub is_logical: bool,
    /// RH: 0 the APIC named.
    pub redirection_hint: bool,
    /// TM: 1 level.
    pub is_level: bool,
    /// DLM: 0 fixed.
    #[bits(3)]
    pub delivery: u8,
    /// AVAIL.
    #[bits(4)]
    __: u8,
    #[bits(3)]
    __: u8,
    /// IM: 0 remapped, 1 posted.
    pub is_posted: bool,
    pub vector: u8,
    __: u8,
    pub destination: u32,
    /// SID.
    pub source: u16,
    /// SQ: 0 compare all 16 bits of the source.
    #[bits(2)]
    pub source_qualifier: u8,
    /// SVT: 1 compare the source with SID under SQ.
    #[bits(2)]
    pub source_validation: u8,
    #[bits(44)]
    __: u64,
}
const _: () =
    assert!(Irte::IS_LEVEL_OFFSET == 4 && Irte::DELIVERY_OFFSET == 5 && Irte::IS_POSTED_OFFSET == 15);
const _: () = assert!(Irte::VECTOR_OFFSET == 16 && Irte::DESTINATION_OFFSET == 32);
const _: () = assert!(Irte::SOURCE_OFFSET == 64 && Irte::SOURCE_QUALIFIER_OFFSET == 80);
const _: () = assert!(Irte::SOURCE_VALIDATION_OFFSET == 82);

impl Irte {
    pub(super) fn fixed(route: InterruptRoute, mode: ApicMode) -> Self {
        let destination = match mode {
            ApicMode::X2Apic => route.apic_id,
            // Without extended interrupt mode the 8-bit id sits in bits 47:40 of the entry.
            ApicMode::XApic => (route.apic_id & 0xff) << 8,
        };
        Irte::new()
            .with_present(true)
            .with_is_level(route.trigger == Trigger::Level)
            .with_vector(route.vector)
            .with_destination(destination)
            .with_source(route.requester.0)
            .with_source_validation(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::RequesterId;

    /// Golden values packed by hand from §9.9.
    #[test]
    fn packs_as_the_specification_says() {
        let route = InterruptRoute {
            requester: RequesterId(0x0018),
            vector: 0x41,
            apic_id: 0x1234_5678,
            trigger: Trigger::Edge,
        };
        let packed = |route, mode| Irte::fixed(route, mode).into_bits();
        assert_eq!(packed(route, ApicMode::X2Apic), 0x0000_0000_0004_0018_1234_5678_0041_0001);
        let level = InterruptRoute { apic_id: 0xab, trigger: Trigger::Level, ..route };
        assert_eq!(packed(level, ApicMode::XApic), 0x0000_0000_0004_0018_0000_ab00_0041_0011);
    }
}
