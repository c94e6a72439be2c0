//! Which I/O addresses are used: the books of one I/O page table.
//!
//! **Invariant: runs given out lie inside the ranges that the IOMMU translates, and do not overlap.**
//!
//! The kernel says which ranges it translates (`VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE`): the width of the page table,
//! without the interrupts' window and what firmware reserved.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

/// Below this no address is chosen: 0 is what a driver's mistake looks like.
const LOWEST: u64 = 1 << 20;
/// Chosen addresses are multiples of this, so that large pages stay large.
const ALIGN: u64 = 2 << 20;

/// Capability of `struct vfio_info_cap_header`.
const IOVA_RANGE: u16 = 1;
/// Bytes of its header, and where its ranges begin.
const HEADER_BYTES: usize = 8;
const RANGES: usize = 16;

/// The books.
pub struct Books {
    ranges: Vec<RangeInclusive<u64>>,
    /// First address and bytes of each run.
    used: BTreeMap<u64, u64>,
}

impl Books {
    /// Books over `ranges`, all free.
    #[must_use]
    pub fn new(mut ranges: Vec<RangeInclusive<u64>>) -> Books {
        ranges.sort_unstable_by_key(|range| *range.start());
        Books { ranges, used: BTreeMap::new() }
    }

    /// Takes `bytes` (not 0): at `wanted` if that is possible, else elsewhere. `None` where there is no room.
    pub fn take(&mut self, wanted: u64, bytes: u64) -> Option<u64> {
        let place = if self.is_free(wanted, bytes) { wanted } else { self.find(bytes)? };
        self.used.insert(place, bytes);
        Some(place)
    }

    /// Gives back what [`Books::take`] gave.
    pub fn give_back(&mut self, place: u64) {
        self.used.remove(&place);
    }

    fn is_free(&self, start: u64, bytes: u64) -> bool {
        let Some(last) = last_of(start, bytes) else { return false };
        let is_translated = self.ranges.iter().any(|range| range.contains(&start) && range.contains(&last));
        is_translated && self.overlap(start, last).is_none()
    }

    /// The end of a run that has an address of `start..=last`.
    fn overlap(&self, start: u64, last: u64) -> Option<u64> {
        // Runs do not overlap: of those that begin before `last`, the last one ends last.
        let (run, bytes) = self.used.range(..=last).next_back()?;
        let end = run.saturating_add(*bytes);
        (end > start).then_some(end)
    }

    /// The first place with room.
    fn find(&self, bytes: u64) -> Option<u64> {
        self.ranges.iter().find_map(|range| {
            let mut start = (*range.start()).max(LOWEST).checked_next_multiple_of(ALIGN)?;
            loop {
                let last = last_of(start, bytes).filter(|last| last <= range.end())?;
                match self.overlap(start, last) {
                    None => return Some(start),
                    Some(end) => start = end.checked_next_multiple_of(ALIGN)?,
                }
            }
        })
    }
}

fn last_of(start: u64, bytes: u64) -> Option<u64> {
    start.checked_add(bytes.checked_sub(1)?)
}

/// The ranges in a chain of capabilities that begins at `first` of `info`; `None` where they are not there. Whatever
/// the bytes are, this ends: an offset that does not grow ends the chain.
#[must_use]
pub fn ranges(info: &[u8], first: u32) -> Option<Vec<RangeInclusive<u64>>> {
    let mut offset = usize::try_from(first).ok()?;
    loop {
        let header = info.get(offset..)?.first_chunk::<HEADER_BYTES>()?;
        let next = usize::try_from(u32::from_ne_bytes(*header.last_chunk()?)).ok()?;
        if u16::from_ne_bytes(*header.first_chunk()?) == IOVA_RANGE {
            return listed(info.get(offset..)?);
        }
        if next <= offset {
            return None;
        }
        offset = next;
    }
}

/// The ranges of the capability (`struct vfio_iommu_type1_info_cap_iova_range`) that `bytes` begins with.
fn listed(bytes: &[u8]) -> Option<Vec<RangeInclusive<u64>>> {
    let count = bytes.get(HEADER_BYTES..)?.first_chunk().map(|count| u32::from_ne_bytes(*count))?;
    let ranges = bytes.get(RANGES..)?.chunks_exact(16).take(usize::try_from(count).ok()?);
    let number = |half: Option<&[u8; 8]>| half.map(|bytes| u64::from_ne_bytes(*bytes));
    let ranges: Option<Vec<_>> =
        ranges.map(|range| Some(number(range.first_chunk())?..=number(range.last_chunk())?)).collect();
    ranges.filter(|ranges| u32::try_from(ranges.len()) == Ok(count))
}
