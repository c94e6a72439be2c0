//! The device table: which domain a requester is in, and which interrupts it may raise (48882 §2.2.2 "Device Table",
//! Table 7).
//!
//! **Invariant: every entry is valid (V = 1) from before the unit sees the table, and says of its low half either
//! "blocked" (TV = 0, IR = IW = 0) or "through this host table"**; guest tables, device TLBs, port I/O and system
//! management are never allowed. Blocked is TV = 0 rather than mode 0, which machines with SNP take for illegal.
//! The halves do not depend on each other (translation, interrupts), and each changes in one 16-byte write.
//! Does not invalidate: that is the unit's part.

use super::registers::DeviceTableBase;
use crate::address::{DomainId, PhysAddr, RequesterId};
use crate::environment::TableMemory;
use crate::error::Result;
use crate::tables::Tables;
use bitfield_struct::bitfield;

/// One entry per 16-bit id, so no request is beyond the table.
const ENTRIES: u64 = 1 << 16;
const ENTRY_BYTES: u64 = 32;
const FRAMES: u16 = 512;
const _: () = assert!(ENTRIES * ENTRY_BYTES == FRAMES as u64 * 4096);

/// Bits 127:0 of an entry: translation.
#[bitfield(u128)]
pub(super) struct Translation {
    /// V.
    pub is_valid: bool,
    /// TV: the fields below say how to translate.
    pub is_translated: bool,
    /// Reserved; HAD: accessed and dirty bits.
    #[bits(7)]
    __: u8,
    /// Levels of the host table.
    #[bits(3)]
    pub mode: u8,
    /// Frame number of the host table's root.
    #[bits(40)]
    pub frame: u64,
    /// Page requests, guest tables.
    #[bits(9)]
    __: u16,
    /// IR: devices may read.
    pub readable: bool,
    /// IW: devices may write.
    pub writable: bool,
    __: bool,
    pub domain: u16,
    /// Guest tables; I: device TLB.
    #[bits(17)]
    __: u32,
    /// SE: record one fault only.
    __: bool,
    /// SA: record no faults.
    pub is_muted: bool,
    /// IoCtl, Cache, SD, EX, SysMgt, SATS, guest tables.
    #[bits(29)]
    __: u32,
}
const _: () = assert!(Translation::MODE_OFFSET == 9 && Translation::FRAME_OFFSET == 12);
const _: () = assert!(Translation::READABLE_OFFSET == 61 && Translation::WRITABLE_OFFSET == 62);
const _: () = assert!(Translation::DOMAIN_OFFSET == 64 && Translation::IS_MUTED_OFFSET == 98);

impl Translation {
    /// Every request is refused. The domain is 0, which no domain has: faults of blocked requesters show it.
    pub(super) fn blocked() -> Self {
        Translation::new().with_is_valid(true)
    }

    /// Requests go through the table of `mode` levels at `root`, cached under `domain`.
    pub(super) fn through(root: PhysAddr, mode: u8, domain: DomainId) -> Self {
        let entry = Translation::blocked().with_is_translated(true).with_mode(mode).with_frame(root.0 >> 12);
        entry.with_readable(true).with_writable(true).with_domain(domain.0)
    }

    pub(super) fn is_in(self, domain: DomainId) -> bool {
        self.is_translated() && self.domain() == domain.0
    }
}

/// Bits 255:128 of an entry: interrupts.
#[bitfield(u128)]
pub(super) struct Interrupts {
    /// IV: the fields below hold; without it every message passes as it is.
    pub is_valid: bool,
    /// log2 of the table's entries.
    #[bits(4)]
    pub order: u8,
    /// IG: record no faults of interrupts.
    pub is_muted: bool,
    /// Address of the table, in 64 bytes.
    #[bits(46)]
    pub table: u64,
    #[bits(4)]
    __: u8,
    /// INIT, ExtINT, NMI pass; reserved.
    #[bits(4)]
    __: u8,
    /// IntCtl: what becomes of fixed and arbitrated messages; 0 refused, 1 passed, 2 remapped.
    #[bits(2)]
    pub control: u8,
    /// Legacy PIC lines pass.
    #[bits(2)]
    __: u8,
    __: u64,
}
const _: () = assert!(Interrupts::ORDER_OFFSET == 1 && Interrupts::TABLE_OFFSET == 6);
const _: () = assert!(Interrupts::CONTROL_OFFSET == 60);

impl Interrupts {
    /// Every message is refused.
    pub(super) fn blocked() -> Self {
        Interrupts::new().with_is_valid(true)
    }

    /// Messages go through the table of 2^`order` entries at `table`; all other kinds are refused.
    pub(super) fn remapped(table: PhysAddr, order: u8) -> Self {
        Interrupts::blocked().with_order(order).with_table(table.0 >> 6).with_control(2)
    }

    /// The table, where there is one.
    pub(super) fn remapping_table(self) -> Option<PhysAddr> {
        (self.is_valid() && self.control() == 2).then_some(PhysAddr(self.table() << 6))
    }
}

/// The device table of one unit.
pub(super) struct DeviceTable {
    at: PhysAddr,
}

impl DeviceTable {
    /// A table that blocks every requester; messages pass as they are.
    pub(super) fn new<M: TableMemory>(tables: &Tables<M>) -> Result<Self> {
        let table = DeviceTable { at: tables.alloc(usize::from(FRAMES))? };
        table.block_all(tables);
        Ok(table)
    }

    /// What the base register is programmed with.
    pub(super) fn register(&self) -> DeviceTableBase {
        DeviceTableBase::new().with_size(FRAMES - 1).with_frame(self.at.0 >> 12)
    }

    pub(super) fn translation<M: TableMemory>(
        &self,
        tables: &Tables<M>,
        requester: RequesterId,
    ) -> Translation {
        Translation::from_bits(read(tables, self.low_half(requester)))
    }

    pub(super) fn set_translation<M: TableMemory>(
        &self,
        tables: &Tables<M>,
        requester: RequesterId,
        entry: Translation,
    ) {
        tables.write128(self.low_half(requester), entry.into_bits());
    }

    pub(super) fn interrupts<M: TableMemory>(
        &self,
        tables: &Tables<M>,
        requester: RequesterId,
    ) -> Interrupts {
        Interrupts::from_bits(read(tables, self.high_half(requester)))
    }

    pub(super) fn set_interrupts<M: TableMemory>(
        &self,
        tables: &Tables<M>,
        requester: RequesterId,
        entry: Interrupts,
    ) {
        tables.write128(self.high_half(requester), entry.into_bits());
    }

    /// Blocks every requester, whatever its entry says; interrupts stay as they are.
    pub(super) fn block_all<M: TableMemory>(&self, tables: &Tables<M>) {
        let blocked = Translation::blocked().into_bits();
        // One word holds all that lets requests pass; the domain in the next is meaningless then.
        #[expect(clippy::cast_possible_truncation, reason = "the low word")]
        (0..ENTRIES).for_each(|at| tables.write64(self.at.offset(at * ENTRY_BYTES), blocked as u64));
        tables.flush(self.at, ENTRIES * ENTRY_BYTES);
    }

    /// Refuses every message of every requester.
    pub(super) fn block_all_interrupts<M: TableMemory>(&self, tables: &Tables<M>) {
        for id in 0..=u16::MAX {
            self.set_interrupts(tables, RequesterId(id), Interrupts::blocked());
        }
    }

    fn low_half(&self, requester: RequesterId) -> PhysAddr {
        self.at.offset(u64::from(requester.0) * ENTRY_BYTES)
    }

    fn high_half(&self, requester: RequesterId) -> PhysAddr {
        self.low_half(requester).offset(16)
    }
}

fn read<M: TableMemory>(tables: &Tables<M>, at: PhysAddr) -> u128 {
    u128::from(tables.read64(at.offset(8))) << 64 | u128::from(tables.read64(at))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Golden values packed by hand from Table 7.
    #[test]
    fn packs_as_the_specification_says() {
        assert_eq!(Translation::blocked().into_bits(), 1);
        assert_eq!(
            Translation::blocked().with_is_muted(true).into_bits(),
            0x0000_0004_0000_0000_0000_0000_0000_0001
        );
        let entry = Translation::through(PhysAddr(0x9_8765_4000), 3, DomainId(0xabcd));
        assert_eq!(entry.into_bits(), 0x0000_0000_0000_abcd_6000_0009_8765_4603);
        assert_eq!(Interrupts::blocked().into_bits(), 1);
        let table = Interrupts::remapped(PhysAddr(0x9_8765_4000), 8);
        assert_eq!(table.into_bits(), 0x2000_0009_8765_4011);
        assert_eq!(table.remapping_table(), Some(PhysAddr(0x9_8765_4000)));
        assert_eq!(table.with_is_muted(true).into_bits(), 0x2000_0009_8765_4031);
        assert_eq!(Interrupts::blocked().remapping_table(), None);
        assert_eq!(Interrupts::new().remapping_table(), None);
    }

    #[test]
    fn a_blocked_entry_is_in_no_domain() {
        let entry = Translation::through(PhysAddr(0x1000), 3, DomainId(5));
        assert!(entry.is_in(DomainId(5)) && !entry.is_in(DomainId(6)));
        assert!(!entry.with_is_translated(false).is_in(DomainId(5)));
    }
}
