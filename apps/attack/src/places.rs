//! Its memory, filled with words that the test recognizes.

use alloc::vec::Vec;

use weir_abi::call::{MAP_DMA, MAP_READ, MAP_WRITE};
use weir_abi::layout::PAGE_BYTES;
use weir_attack_orders::Answer;
use weir_rt::{Access, Error, Mapping, Memory};

use crate::Failure;

/// A page as an array.
pub(crate) const PAGE: usize = 4096;
const _: () = assert!(PAGE as u64 == PAGE_BYTES);

/// A memory and the one mapping of it.
struct Place {
    memory: Memory,
    mapping: Mapping,
}

/// All of its memories; a slot is not used again.
#[derive(Default)]
pub(crate) struct Places(Vec<Option<Place>>);

impl Places {
    /// New memory in the DMA window.
    pub(crate) fn map(&mut self, bytes: u64, word: u64) -> Result<Answer, Failure> {
        let memory = Memory::create(bytes)?;
        let mapping = map_for_devices(&memory)?;
        let (slot, address) = (self.0.len(), mapping.address());
        self.0.push(Some(Place { memory, mapping }));
        self.fill(slot, word)?;
        Ok(Answer::Place { slot, address })
    }

    /// A page in the DMA window that can only be read.
    pub(crate) fn map_read_only(&mut self, word: u64) -> Result<Answer, Failure> {
        let memory = Memory::create(PAGE_BYTES)?;
        fill(&memory.map(Access::ReadWrite)?, word);
        let mapping = memory.map_with(0, MAP_READ | MAP_DMA)?;
        let (slot, address) = (self.0.len(), mapping.address());
        self.0.push(Some(Place { memory, mapping }));
        Ok(Answer::Place { slot, address })
    }

    /// Takes a memory out of the window and keeps it.
    pub(crate) fn withdraw(&mut self, slot: usize) -> Result<Answer, Failure> {
        let place = self.0.get_mut(slot).and_then(Option::take).ok_or(Failure::Missing)?;
        let Place { memory, mapping } = place;
        drop(mapping);
        let mapping = memory.map(Access::ReadWrite)?;
        let address = mapping.address();
        self.0[slot] = Some(Place { memory, mapping });
        Ok(Answer::Place { slot, address })
    }

    /// Gives a memory back.
    pub(crate) fn free(&mut self, slot: usize) -> Result<Answer, Failure> {
        let place = self.0.get_mut(slot).and_then(Option::take).ok_or(Failure::Missing)?;
        drop(place);
        Ok(Answer::Done)
    }

    /// Fills a memory: word `i` is `word + i`.
    pub(crate) fn fill(&self, slot: usize, word: u64) -> Result<Answer, Failure> {
        fill(&self.place(slot)?.mapping, word);
        Ok(Answer::Done)
    }

    /// The first page of a memory.
    pub(crate) fn page(&self, slot: usize) -> Result<[u8; PAGE], Failure> {
        let mut page = [0; PAGE];
        self.place(slot)?.mapping.read(0, &mut page).ok_or(Failure::Missing)?;
        Ok(page)
    }

    fn place(&self, slot: usize) -> Result<&Place, Failure> {
        self.0.get(slot).and_then(Option::as_ref).ok_or(Failure::Missing)
    }
}

/// Word `i` becomes `word + i`.
fn fill(mapping: &Mapping, word: u64) {
    for i in 0..mapping.bytes() / 8 {
        // Inside: just counted.
        let _ = mapping.write(8 * i, &word.wrapping_add(i).to_le_bytes());
    }
}

fn map_for_devices(memory: &Memory) -> Result<Mapping, Error> {
    memory.map_with(0, MAP_READ | MAP_WRITE | MAP_DMA)
}

/// Maps one page for DMA `times` times; what succeeded is taken back at the end.
pub(crate) fn map_many(times: u64) -> Result<Answer, Failure> {
    let memory = Memory::create(PAGE_BYTES)?;
    let (mut mappings, mut quota) = (Vec::new(), 0);
    for _ in 0..times {
        match map_for_devices(&memory) {
            Ok(mapping) => mappings.push(mapping),
            Err(Error::Quota) => quota += 1,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(Answer::Counted { count: times, quota })
}
