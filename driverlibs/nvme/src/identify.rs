//! What a controller says of itself and its namespaces (NVMe §5.17 "Identify command"; NVM §4.1.5.1 "NVM Command Set
//! Identify Namespace Data Structure").
//!
//! **Invariant: a page is copied out of the device's reach once, and only the copy is read.**

use alloc::boxed::Box;
use alloc::vec::Vec;

use weir_block::Disk;
use weir_block::disk::BLOCK_SHIFTS;
use weir_hal::{Clock, Device, DmaWindow};
use weir_ring::SharedRing;

use crate::admin::Admin;
use crate::desc::{COMMAND_SHIFT, COMPLETION_SHIFT};
use crate::{Error, TRANSFER_MAX_BYTES, Violation};

const PAGE_BYTES: u32 = 4096;
const WORDS: u16 = 512;
/// Which data (CNS).
const NAMESPACE: u8 = 0;
const CONTROLLER: u8 = 1;
const ACTIVE_NAMESPACES: u8 = 2;
/// Most namespaces that are looked at.
const NAMESPACES_MAX: usize = 256;

/// A namespace that can be used.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Namespace {
    pub(crate) id: u32,
    pub(crate) disk: Disk,
}

/// What was found.
#[derive(Default)]
pub(crate) struct Found {
    pub(crate) namespaces: Vec<Namespace>,
    /// Active namespaces that cannot be used: of other block sizes, or with metadata.
    pub(crate) unusable: usize,
}

/// What the driver needs of the controller's data.
struct Controller {
    transfer_max_bytes: u32,
    has_dataset_management: bool,
}

/// Asks for everything.
pub(crate) fn identify<D: Device>(
    admin: &mut Admin<D>,
    window: &impl DmaWindow,
    clock: &impl Clock,
) -> Result<Found, Error> {
    let mut memory = window.allocate(PAGE_BYTES as usize)?;
    let page = SharedRing::<u64>::take_from(&mut memory, WORDS)?;
    let mut ask = |structure, namespace| {
        admin.identify(structure, namespace, page.iova(), clock)?;
        Ok::<_, Error>(Page::copy(&page))
    };
    let controller = Controller::read(&ask(CONTROLLER, 0)?)?;
    let mut found = Found::default();
    for id in namespace_ids(|after| ask(ACTIVE_NAMESPACES, after))? {
        match disk(&controller, &ask(NAMESPACE, id)?) {
            Some(disk) => found.namespaces.push(Namespace { id, disk }),
            None => found.unusable += 1,
        }
    }
    Ok(found)
}

/// The active namespaces, ascending.
fn namespace_ids(mut list_after: impl FnMut(u32) -> Result<Page, Error>) -> Result<Vec<u32>, Error> {
    let mut ids: Vec<u32> = Vec::new();
    loop {
        let last = ids.last().copied().unwrap_or(0);
        let (page, before) = (list_after(last)?, ids.len());
        for entry in 0..PAGE_BYTES as usize / 4 {
            let namespace = page.u32(4 * entry);
            if namespace == 0 || ids.len() == NAMESPACES_MAX {
                return Ok(ids);
            }
            if namespace <= ids.last().copied().unwrap_or(0) {
                return Err(Violation::Namespace { namespace }.into());
            }
            ids.push(namespace);
        }
        if ids.len() == before {
            return Ok(ids);
        }
    }
}

impl Controller {
    /// NVMe §5.17.2.1 "Identify Controller Data Structure".
    fn read(page: &Page) -> Result<Controller, Error> {
        const MDTS: usize = 77;
        const SQES: usize = 512;
        const CQES: usize = 513;
        const ONCS: usize = 520;
        let takes = |sizes: u8, shift| (sizes & 0xf..=sizes >> 4).contains(&shift);
        if !takes(page.u8(SQES), COMMAND_SHIFT) || !takes(page.u8(CQES), COMPLETION_SHIFT) {
            return Err(Error::Unusable { capabilities: 0 });
        }
        // In pages, as a power of two; 0 for no limit.
        let limit = match page.u8(MDTS) {
            0 => None,
            shift => PAGE_BYTES.checked_shl(shift.into()).filter(|bytes| *bytes != 0),
        };
        Ok(Controller {
            transfer_max_bytes: limit.unwrap_or(u32::MAX).min(TRANSFER_MAX_BYTES),
            has_dataset_management: page.u16(ONCS) & 1 << 2 != 0,
        })
    }
}

/// What a namespace is like; `None` where it cannot be used.
fn disk(controller: &Controller, page: &Page) -> Option<Disk> {
    const NSZE: usize = 0;
    const FLBAS: usize = 26;
    const NSATTR: usize = 99;
    const LBAF: usize = 128;
    let blocks = page.u64(NSZE);
    // Bits 3:0 and, above them, bits 6:5.
    let format = usize::from(page.u8(FLBAS) & 0xf | page.u8(FLBAS) >> 1 & 0x30);
    let format = page.u32(LBAF + 4 * format);
    let (metadata_bytes, [_, _, block_shift, _]) = (format & 0xffff, format.to_le_bytes());
    let is_usable = metadata_bytes == 0 && blocks > 0 && BLOCK_SHIFTS.contains(&block_shift);
    is_usable.then_some(Disk {
        block_shift,
        blocks,
        // A request has 65,536 blocks at most; smaller than that is what a PRP list leads to.
        transfer_max_bytes: controller.transfer_max_bytes,
        is_read_only: page.u8(NSATTR) & 1 != 0,
        can_trim: controller.has_dataset_management,
    })
}

/// A copy of a page of identify data. Offsets are constants of the specification, or masked: always inside.
struct Page(Box<[u8; PAGE_BYTES as usize]>);

impl Page {
    fn copy(page: &SharedRing<u64>) -> Page {
        let mut bytes = Box::new([0; PAGE_BYTES as usize]);
        for (chunk, word) in bytes.chunks_exact_mut(8).zip(0..WORDS) {
            chunk.copy_from_slice(&page.load(word).to_le_bytes());
        }
        Page(bytes)
    }

    fn array<const N: usize>(&self, offset: usize) -> [u8; N] {
        self.0.get(offset..).and_then(|rest| rest.first_chunk()).copied().unwrap_or([0; N])
    }

    fn u8(&self, offset: usize) -> u8 {
        u8::from_le_bytes(self.array(offset))
    }

    fn u16(&self, offset: usize) -> u16 {
        u16::from_le_bytes(self.array(offset))
    }

    fn u32(&self, offset: usize) -> u32 {
        u32::from_le_bytes(self.array(offset))
    }

    fn u64(&self, offset: usize) -> u64 {
        u64::from_le_bytes(self.array(offset))
    }
}
