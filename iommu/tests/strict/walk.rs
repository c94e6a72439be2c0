//! A page walk as the specification describes it, written without the library's types: root entries (9.1, 9.2), context
//! entries (9.3, 9.4), PASID entries (9.5, 9.6), first- and second-stage entries (9.7, 9.8). Every reserved bit is
//! checked, and that a unit never has to write a table.

use super::memory::Memory;

/// What the unit can do, as far as a walk depends on it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Features {
    pub(crate) sagaw: u64,
    pub(crate) large_pages: u64,
    pub(crate) has_huge_first_stage: bool,
    pub(crate) has_snoop_control: bool,
    /// ECAP.SMPWC.
    pub(crate) may_snoop_walks: bool,
    pub(crate) host_bits: u32,
    pub(crate) input_bits: u32,
    pub(crate) domain_id_bits: u32,
    pub(crate) has_caching_mode: bool,
}

/// The root table in force.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Root {
    pub(crate) at: u64,
    /// In scalable mode.
    pub(crate) is_scalable: bool,
}

/// Decoded context entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Context {
    Legacy(Target),
    Scalable { directory: u64, is_muted: bool },
}

/// Where the walk of a page table starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) domain: u16,
    pub(crate) stage: Stage,
    pub(crate) root: u64,
    pub(crate) levels: u32,
    pub(crate) is_muted: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    First,
    Second,
}

/// Decoded PASID entry, and the frames it was found through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pasid {
    pub(crate) target: Target,
    pub(crate) directory: u64,
    pub(crate) table: u64,
}

/// A table a walk may start at, and what the entries above it allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Table {
    pub(crate) level: u32,
    pub(crate) frame: u64,
    pub(crate) reads: bool,
    pub(crate) writes: bool,
}

/// A translation, valid for 2^`order` pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Translation {
    pub(crate) phys: u64,
    pub(crate) order: u32,
    pub(crate) reads: bool,
    pub(crate) writes: bool,
}

/// A reason code of Table 30, and whether faults are muted.
pub(crate) type Refusal = (u8, bool);

/// Root and context entry of `requester`.
pub(crate) fn context(
    memory: &Memory,
    features: Features,
    root: Root,
    requester: u16,
) -> Result<Context, Refusal> {
    let (bus, function) = (u64::from(requester >> 8), u64::from(requester & 0xff));
    let entry = root.at + bus * 16;
    let halves = [memory.unit_view(entry), memory.unit_view(entry + 8)];
    let half = if root.is_scalable { halves[(function / 128) as usize] } else { halves[0] };
    if half & 1 == 0 {
        return Err((if root.is_scalable { 0x39 } else { 1 }, false));
    }
    assert_eq!(half & 0xffe, 0, "reserved bits of a root entry");
    assert!(root.is_scalable || halves[1] == 0, "upper half of a legacy root entry");
    assert_eq!(half >> features.host_bits, 0);
    let table = half & !0xfff;
    if root.is_scalable {
        scalable_context(memory, features, table + function % 128 * 32)
    } else {
        legacy_context(memory, features, table + function * 16)
    }
}

fn legacy_context(memory: &Memory, features: Features, entry: u64) -> Result<Context, Refusal> {
    let (low, high) = (memory.unit_view(entry), memory.unit_view(entry + 8));
    let is_muted = low & 2 != 0;
    if low & 1 == 0 {
        assert_eq!((low & !2, high), (0, 0), "a blocked entry says nothing else");
        return Err((2, is_muted));
    }
    assert_eq!((low & 0xffc) >> 2, 0, "translation type 00 and reserved bits");
    assert_eq!(low >> features.host_bits, 0);
    assert_eq!(high & !0x0000_0000_00ff_ff07, 0, "reserved and available bits of a context entry");
    let levels = levels(features, high & 7);
    let domain = domain(features, high >> 8 & 0xffff);
    Ok(Context::Legacy(Target { domain, stage: Stage::Second, root: low & !0xfff, levels, is_muted }))
}

fn scalable_context(memory: &Memory, features: Features, entry: u64) -> Result<Context, Refusal> {
    let [low, rest @ ..] = [0, 8, 16, 24].map(|offset| memory.unit_view(entry + offset));
    assert_eq!(rest, [0; 3], "RID_PASID 0, and reserved bits of a context entry");
    let is_muted = low & 2 != 0;
    if low & 1 == 0 {
        assert_eq!(low & !2, 0, "a blocked entry says nothing else");
        return Err((0x41, is_muted));
    }
    assert_eq!(
        low & 0xffc,
        0,
        "no translation requests, PASIDs, page requests; smallest directory; reserved"
    );
    assert_eq!(low >> features.host_bits, 0);
    Ok(Context::Scalable { directory: low & !0xfff, is_muted })
}

/// The PASID entry of requests without PASID.
pub(crate) fn pasid(memory: &Memory, features: Features, directory: u64) -> Result<Pasid, Refusal> {
    let link = memory.unit_view(directory);
    for other in 1..128 {
        assert_eq!(memory.unit_view(directory + other * 8), 0, "directory entry {other}");
    }
    if link & 1 == 0 {
        return Err((0x51, link & 2 != 0));
    }
    assert_eq!((link & 0xffc, link >> features.host_bits), (0, 0), "reserved bits of a directory entry");
    let table = link & !0xfff;
    for other in 8..512 {
        assert_eq!(memory.unit_view(table + other * 8), 0, "word {other} of a PASID table");
    }
    let words = [0, 1, 2, 3, 4, 5, 6, 7].map(|word| memory.unit_view(table + word * 8));
    // The unkind reading: every entry on the way must ask for silence.
    let is_muted = link & words[0] & 2 != 0;
    if words[0] & 1 == 0 {
        return Err((0x59, is_muted));
    }
    let target = Target { is_muted, ..pasid_entry(features, words) };
    Ok(Pasid { target, directory, table })
}

fn pasid_entry(features: Features, words: [u64; 8]) -> Target {
    let [low, tags, first, rest @ ..] = words;
    assert_eq!(rest, [0; 5], "reserved and available words of a PASID entry");
    assert_eq!(low & 0xe20, 0, "reserved bits, no accessed and dirty flags");
    assert_eq!(tags & !0x0180_ffff, 0, "reserved bits");
    assert_eq!(first & 0xfff, 0, "no supervisor, 4 levels, no write protection, no extended access");
    assert_eq!((low >> features.host_bits, first >> features.host_bits), (0, 0));
    assert_eq!(tags >> 23 & 1 == 1, features.may_snoop_walks, "walks snoop wherever they can");
    let (width, snoops_pages) = (low >> 2 & 7, tags >> 24 & 1 == 1);
    let (stage, root, levels) = match low >> 6 & 7 {
        1 => {
            assert_eq!(low & !0xfff, 0, "no second stage");
            assert_eq!(width, 2, "48 bits, for units that check it");
            assert_eq!(snoops_pages, features.has_snoop_control);
            (Stage::First, first, 4)
        }
        2 => {
            assert_eq!((first, snoops_pages), (0, false), "no first stage; leaves say what is snooped");
            (Stage::Second, low & !0xfff, levels(features, width))
        }
        other => panic!("translation type {other}"),
    };
    Target { domain: domain(features, tags & 0xffff), stage, root, levels, is_muted: false }
}

fn levels(features: Features, width: u64) -> u32 {
    assert!((1..=3).contains(&width) && features.sagaw >> width & 1 == 1, "address width {width}");
    width as u32 + 2
}

fn domain(features: Features, id: u64) -> u16 {
    assert!(id >> features.domain_id_bits == 0, "domain id {id}");
    assert!(id != 0 || !features.has_caching_mode);
    id as u16
}

/// Walks to `iova` from `start`; `visit` is told of each table used. `Err` is the reason for a fault.
pub(crate) fn translate(
    memory: &Memory,
    features: Features,
    (stage, start): (Stage, Table),
    iova: u64,
    mut visit: impl FnMut(Table),
) -> Option<Translation> {
    let mut table = start;
    loop {
        visit(table);
        let shift = 12 + 9 * (table.level - 1);
        let entry = memory.unit_view(table.frame + (iova >> shift & 511) * 8);
        let step = match stage {
            Stage::First => first_stage(memory, features, table, entry),
            Stage::Second => second_stage(features, table.level, entry),
        };
        let (is_leaf, reads, writes) = step?;
        let (reads, writes) = (table.reads && reads, table.writes && writes);
        let frame = entry & 0x000f_ffff_ffff_f000;
        if is_leaf {
            return Some(Translation { phys: frame, order: shift - 12, reads, writes });
        }
        table = Table { level: table.level - 1, frame, reads, writes };
    }
}

/// Whether an entry is a leaf, and what it allows; `None` if it is not present.
fn second_stage(features: Features, level: u32, entry: u64) -> Option<(bool, bool, bool)> {
    if entry & 3 == 0 {
        return None;
    }
    let is_leaf = level == 1 || entry >> 7 & 1 == 1;
    let mut reserved = beyond_host(features) | 0xfff0_0000_0000_0000 | 0x77c;
    if !(is_leaf && features.has_snoop_control) {
        reserved |= 1 << 11;
    }
    if is_leaf && level > 1 {
        assert!(level <= 3 && features.large_pages >> (level - 2) & 1 == 1, "leaf at level {level}");
        reserved |= below_leaf(level);
    } else {
        reserved |= 1 << 7;
    }
    assert_eq!(entry & reserved, 0, "reserved bits in entry {entry:#x} of level {level}");
    Some((is_leaf, entry & 1 != 0, entry & 2 != 0))
}

/// The same for an entry in the CPU's format. All requests are a user's.
fn first_stage(memory: &Memory, features: Features, table: Table, entry: u64) -> Option<(bool, bool, bool)> {
    let level = table.level;
    if level == 4 {
        // An owner's: the window alone. Nobody's: the same everywhere.
        let others = || (1..512).map(|other| memory.unit_view(table.frame + other * 8));
        let first = memory.unit_view(table.frame);
        let is_known = others().all(|other| other == 0) || others().all(|other| other == first);
        assert!(is_known, "the root leads elsewhere");
    }
    if entry & 1 == 0 {
        return None;
    }
    assert_ne!(entry & 1 << 2, 0, "U/S in entry {entry:#x}");
    assert_ne!(entry & 1 << 5, 0, "the unit would have to set A in entry {entry:#x}");
    let is_leaf = level == 1 || entry >> 7 & 1 == 1;
    let is_writable = entry & 2 != 0;
    assert!(!is_leaf || !is_writable || entry >> 6 & 1 == 1, "the unit would have to set D in {entry:#x}");
    assert_eq!(entry & 1 << 8, 0, "G in entry {entry:#x}");
    let mut reserved = beyond_host(features);
    if is_leaf && level > 1 {
        assert!(level == 2 || level == 3 && features.has_huge_first_stage, "leaf at level {level}");
        // Bit 12 is PAT.
        reserved |= below_leaf(level) & !(1 << 12);
    }
    assert_eq!(entry & reserved, 0, "reserved bits in entry {entry:#x} of level {level}");
    Some((is_leaf, true, is_writable))
}

fn beyond_host(features: Features) -> u64 {
    0x000f_ffff_ffff_f000 & !((1 << features.host_bits) - 1)
}

/// Address bits that must be zero in a large leaf.
fn below_leaf(level: u32) -> u64 {
    (1 << (12 + 9 * (level - 1))) - 4096
}
