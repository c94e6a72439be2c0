//! A page walk as the specification describes it, written without the library's types: root entry (9.1), context
//! entry (9.3), second-stage entries (9.8). Every reserved bit is checked.

use super::memory::Memory;

/// What the unit can do, as far as a walk depends on it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Features {
    pub(crate) sagaw: u64,
    pub(crate) large_pages: u64,
    pub(crate) has_snoop_control: bool,
    pub(crate) host_bits: u32,
    pub(crate) input_bits: u32,
    pub(crate) domain_id_bits: u32,
    pub(crate) has_caching_mode: bool,
}

/// Decoded context entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Context {
    pub(crate) domain: u16,
    pub(crate) root: u64,
    pub(crate) levels: u32,
    pub(crate) is_muted: bool,
}

/// One translation, valid for 2^`order` pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Translation {
    pub(crate) phys: u64,
    pub(crate) order: u32,
    pub(crate) reads: bool,
    pub(crate) writes: bool,
}

/// Reason codes of Table 30.
pub(crate) type Reason = u8;

/// Root and context entry of `requester`; the flag says whether faults are muted.
pub(crate) fn context(
    memory: &Memory,
    features: Features,
    root: u64,
    requester: u16,
) -> Result<Context, (Reason, bool)> {
    let entry = root + u64::from(requester >> 8) * 16;
    let (low, high) = (memory.unit_view(entry), memory.unit_view(entry + 8));
    if low & 1 == 0 {
        return Err((1, false));
    }
    assert_eq!((low & 0xffe, high), (0, 0), "reserved bits of a root entry");
    assert_eq!(low >> features.host_bits, 0);
    let entry = (low & !0xfff) + u64::from(requester & 0xff) * 16;
    let (low, high) = (memory.unit_view(entry), memory.unit_view(entry + 8));
    let is_muted = low & 2 != 0;
    if low & 1 == 0 {
        assert_eq!((low & !2, high), (0, 0), "a blocked entry says nothing else");
        return Err((2, is_muted));
    }
    assert_eq!((low & 0xffc) >> 2, 0, "translation type 00 and reserved bits");
    assert_eq!(low >> features.host_bits, 0);
    assert_eq!(high & !0x0000_0000_00ff_ff07, 0, "reserved and available bits of a context entry");
    let width = high & 7;
    assert!((1..=3).contains(&width) && features.sagaw >> width & 1 == 1, "address width {width}");
    let domain = (high >> 8) as u16;
    assert!(u32::from(domain) >> features.domain_id_bits == 0, "domain id {domain}");
    assert!(domain != 0 || !features.has_caching_mode);
    Ok(Context { domain, root: low & !0xfff, levels: width as u32 + 2, is_muted })
}

/// Walks to `iova`; `visit` is told the level and the frame of each table used.
pub(crate) fn translate(
    memory: &Memory,
    features: Features,
    context: Context,
    iova: u64,
    mut visit: impl FnMut(u32, u64),
) -> Option<Translation> {
    if iova >> features.input_bits.min(12 + 9 * context.levels) != 0 {
        return None;
    }
    let (mut table, mut reads, mut writes) = (context.root, true, true);
    for level in (1..=context.levels).rev() {
        visit(level, table);
        let shift = 12 + 9 * (level - 1);
        let entry = memory.unit_view(table + (iova >> shift & 511) * 8);
        if entry & 3 == 0 {
            return None;
        }
        reads &= entry & 1 != 0;
        writes &= entry & 2 != 0;
        let is_leaf = level == 1 || entry >> 7 & 1 == 1;
        let reserved = check_entry(entry, level, is_leaf, features);
        assert_eq!(reserved, 0, "reserved bits in entry {entry:#x} of level {level}");
        let frame = entry & 0x000f_ffff_ffff_f000;
        if is_leaf {
            return Some(Translation { phys: frame, order: shift - 12, reads, writes });
        }
        table = frame;
    }
    unreachable!("level 1 is always a leaf")
}

/// The bits of an entry that must be zero and are not.
fn check_entry(entry: u64, level: u32, is_leaf: bool, features: Features) -> u64 {
    let beyond_host = 0x000f_ffff_ffff_f000 & !((1 << features.host_bits) - 1);
    let mut reserved = beyond_host | 0xfff0_0000_0000_0000 | 0x77c;
    if !(is_leaf && features.has_snoop_control) {
        reserved |= 1 << 11;
    }
    if is_leaf && level > 1 {
        assert!(level <= 3 && features.large_pages >> (level - 2) & 1 == 1, "leaf at level {level}");
        reserved |= (1 << (12 + 9 * (level - 1))) - 4096;
    } else {
        reserved |= 1 << 7;
    }
    entry & reserved
}
