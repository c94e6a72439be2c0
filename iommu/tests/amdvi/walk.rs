//! A device table entry (48882 2.2.2, Table 7) and a page walk (2.2.3, Tables 14 and 15) as the specification
//! describes them, written without the library's types. Every reserved bit is checked.

use super::memory::Memory;

/// Decoded device table entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Device {
    pub(crate) domain: u16,
    /// Root and levels of the host table; `None` blocks.
    pub(crate) table: Option<(u64, u32)>,
    pub(crate) is_muted: bool,
    pub(crate) interrupts: Interrupts,
    pub(crate) are_interrupts_muted: bool,
}

/// What becomes of fixed messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Interrupts {
    Pass,
    Refuse,
    Remap(u64),
}

/// One translation, valid for 2^`order` pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Translation {
    pub(crate) phys: u64,
    pub(crate) order: u32,
    pub(crate) reads: bool,
    pub(crate) writes: bool,
}

pub(crate) fn device(memory: &Memory, table: u64, requester: u16, deepest: u64, host_bits: u32) -> Device {
    let at = table + u64::from(requester) * 32;
    let words = [0, 8, 16, 24].map(|offset| memory.unit_view(at + offset));
    assert_eq!(words[0] & 1, 1, "an entry that is not valid passes everything");
    assert_eq!(words[0] & 0x9ff0_0000_0000_01fc, 0, "reserved, dirty bits, page requests, guest tables");
    assert_eq!(words[1] & !0x0000_0004_0000_ffff, 0, "device TLB, port i/o, system management and the like");
    assert_eq!(words[3], 0);
    let (mode, root) = (words[0] >> 9 & 7, words[0] & 0x000f_ffff_ffff_f000);
    let table = if words[0] & 2 == 0 {
        assert_eq!(words[0] & !1, 0, "a blocked entry says nothing else");
        None
    } else {
        assert!((3..=deepest).contains(&mode), "levels {mode}");
        assert_eq!(words[0] >> 61, 3, "leaves decide");
        assert_eq!(root >> host_bits, 0);
        assert_ne!(words[1] & 0xffff, 0, "domain 0 is for blocked requesters");
        Some((root, mode as u32))
    };
    let interrupts = match (words[2] & 1, words[2] >> 60 & 3) {
        (0, _) => {
            assert_eq!(words[2] & !0x20, 0);
            Interrupts::Pass
        }
        (_, 0) => {
            assert_eq!(words[2] & !0x21, 0);
            Interrupts::Refuse
        }
        (_, 2) => {
            assert_eq!(words[2] & 0xcff0_0000_0000_0000, 0, "no INIT, ExtINT, NMI, LINT");
            assert_eq!(words[2] >> 1 & 0xf, 8, "256 entries");
            Interrupts::Remap(words[2] & 0x000f_ffff_ffff_ffc0)
        }
        (_, other) => panic!("interrupt control {other}"),
    };
    let (is_muted, are_interrupts_muted) = (words[1] >> 34 & 1 == 1, words[2] >> 5 & 1 == 1);
    Device { domain: words[1] as u16, table, is_muted, interrupts, are_interrupts_muted }
}

/// Walks to `iova`; `visit` is told the level and the frame of each table used.
pub(crate) fn translate(
    memory: &Memory,
    (root, levels): (u64, u32),
    host_bits: u32,
    iova: u64,
    mut visit: impl FnMut(u32, u64),
) -> Option<Translation> {
    if iova >> (12 + 9 * levels) != 0 {
        return None;
    }
    let (mut table, mut reads, mut writes) = (root, true, true);
    for level in (1..=levels).rev() {
        visit(level, table);
        let shift = 12 + 9 * (level - 1);
        let entry = memory.unit_view(table + (iova >> shift & 511) * 8);
        if entry & 1 == 0 {
            assert_eq!(entry & !0x000f_ffff_ffff_f000, 0, "not present, but no link of dead frames either");
            return None;
        }
        reads &= entry >> 61 & 1 == 1;
        writes &= entry >> 62 & 1 == 1;
        assert!(reads || writes, "an entry {entry:#x} of level {level} that allows nothing");
        assert_eq!(entry & 0x8ff0_0000_0000_01fe, 0, "reserved and ignored bits of {entry:#x}");
        let (next, frame) = ((entry >> 9 & 7) as u32, entry & 0x000f_ffff_ffff_f000);
        assert_eq!(frame >> host_bits, 0);
        if next == 0 {
            assert_eq!(entry >> 60 & 1, 1, "leaves force coherence");
            assert!(level <= 3 && frame.trailing_zeros() >= shift, "leaf {entry:#x} at level {level}");
            return Some(Translation { phys: frame, order: shift - 12, reads, writes });
        }
        assert_eq!((next, entry >> 60 & 1), (level - 1, 0), "links go one level down");
        table = frame;
    }
    unreachable!("level 1 is always a leaf")
}
