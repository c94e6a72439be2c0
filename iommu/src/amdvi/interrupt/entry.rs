//! Interrupt remapping table entries: 32 bits (48882 §2.2.5.1, Table 20), and 128 bits with destinations of 8 or of
//! 32 bits (§2.2.5.2, §2.2.5.3, Tables 21 to 23).
//!
//! **Invariant: an entry is written whole, and its neighbours are not touched.**

use crate::address::PhysAddr;
use crate::environment::TableMemory;
use crate::interrupt::InterruptRoute;
use crate::tables::Tables;
use bitfield_struct::bitfield;

/// 32 bits.
#[bitfield(u32)]
struct Short {
    /// RemapEn.
    is_present: bool,
    /// SupIOPF: record no faults.
    is_muted: bool,
    /// IntType: 0 fixed.
    #[bits(3)]
    kind: u8,
    /// RqEoi.
    wants_end: bool,
    /// DM: 0 physical.
    is_logical: bool,
    __: bool,
    destination: u8,
    vector: u8,
    __: u8,
}
const _: () = assert!(Short::DESTINATION_OFFSET == 8 && Short::VECTOR_OFFSET == 16);

/// 128 bits. Where the unit knows 8-bit destinations only, those are the low ones.
#[bitfield(u128)]
struct Long {
    /// RemapEn.
    is_present: bool,
    /// SupIOPF: record no faults.
    is_muted: bool,
    /// IntType: 0 fixed.
    #[bits(3)]
    kind: u8,
    /// RqEoi.
    wants_end: bool,
    /// DM: 0 physical.
    is_logical: bool,
    /// GuestMode: 0 remapped.
    is_guest: bool,
    #[bits(24)]
    destination_low: u32,
    __: u32,
    vector: u8,
    #[bits(48)]
    __: u64,
    destination_high: u8,
}
const _: () = assert!(Long::DESTINATION_LOW_OFFSET == 8 && Long::VECTOR_OFFSET == 64);
const _: () = assert!(Long::DESTINATION_HIGH_OFFSET == 120);

fn short(route: InterruptRoute) -> Short {
    let [destination, ..] = route.apic_id.to_le_bytes();
    Short::new().with_is_present(true).with_destination(destination).with_vector(route.vector)
}

fn long(route: InterruptRoute) -> Long {
    let [.., high] = route.apic_id.to_le_bytes();
    let entry = Long::new().with_is_present(true).with_vector(route.vector);
    entry.with_destination_low(route.apic_id & 0xff_ffff).with_destination_high(high)
}

/// How large a unit's entries are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::amdvi) enum Format {
    /// 32 bits.
    Short,
    /// 128 bits (GAEn).
    Long,
}

impl Format {
    /// Whether nobody has the slot.
    pub(super) fn is_free<M: TableMemory>(self, tables: &Tables<M>, table: PhysAddr, slot: u8) -> bool {
        match self {
            Format::Short => short_bits(tables, table, slot) == 0,
            Format::Long => tables.read64(long_at(table, slot)) == 0,
        }
    }

    /// Writes the slot; `None` clears it.
    pub(in crate::amdvi) fn set<M: TableMemory>(
        self,
        tables: &Tables<M>,
        table: PhysAddr,
        slot: u8,
        route: Option<InterruptRoute>,
    ) {
        match self {
            Format::Short => {
                set_short(tables, table, slot, route.map_or(0, |route| short(route).into_bits()))
            }
            Format::Long => {
                tables.write128(long_at(table, slot), route.map_or(0, |route| long(route).into_bits()));
            }
        }
    }
}

fn long_at(table: PhysAddr, slot: u8) -> PhysAddr {
    table.offset(u64::from(slot) * 16)
}

/// The 8 bytes with `slot` and its neighbour, and how far up in them it is.
fn short_at(table: PhysAddr, slot: u8) -> (PhysAddr, u32) {
    (table.offset(u64::from(slot / 2) * 8), u32::from(slot % 2) * 32)
}

fn short_bits<M: TableMemory>(tables: &Tables<M>, table: PhysAddr, slot: u8) -> u32 {
    let (at, shift) = short_at(table, slot);
    #[expect(clippy::cast_possible_truncation, reason = "one of the two entries in the word")]
    let bits = (tables.read64(at) >> shift) as u32;
    bits
}

fn set_short<M: TableMemory>(tables: &Tables<M>, table: PhysAddr, slot: u8, bits: u32) {
    let (at, shift) = short_at(table, slot);
    let neighbour = tables.read64(at) & !(u64::from(u32::MAX) << shift);
    tables.write64(at, neighbour | u64::from(bits) << shift);
    tables.flush(at, 8);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::RequesterId;
    use crate::interrupt::Trigger;

    /// Golden values packed by hand from Tables 20 to 23.
    #[test]
    fn packs_as_the_specification_says() {
        let route = |apic_id| InterruptRoute {
            requester: RequesterId(0x18),
            vector: 0x41,
            apic_id,
            trigger: Trigger::Edge,
        };
        assert_eq!(short(route(0xab)).into_bits(), 0x0041_ab01);
        assert_eq!(long(route(0xab)).into_bits(), 0x0000_0000_0000_0041_0000_0000_0000_ab01);
        assert_eq!(long(route(0x1234_5678)).into_bits(), 0x1200_0000_0000_0041_0000_0000_3456_7801);
    }
}
