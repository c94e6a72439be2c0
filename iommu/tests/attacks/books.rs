//! Who has what: the answer that every request is compared with.

use std::collections::BTreeMap;

use super::{Refusal, Wall};
use weir_iommu::domain::Permissions;

/// Where the owners' windows begin; all use the same addresses.
pub(crate) const WINDOW: u64 = 0x1_0000_0000;
/// Pages of a window that are used; mapped once over several leaf sizes.
pub(crate) const PAGES: u64 = 1536;
/// Where the frames are that get mapped.
pub(crate) const FRAMES_AT: u64 = 0x20_0000_0000;

/// One owner: its domain, and what it mapped.
pub(crate) struct Owner<D> {
    pub(crate) domain: D,
    /// Frame and permissions by page.
    pub(crate) pages: BTreeMap<u64, (u64, Permissions)>,
    /// First page and number of pages of each call that mapped.
    pub(crate) regions: Vec<(u64, u64)>,
}

/// One device.
pub(crate) struct Device<H> {
    pub(crate) owner: Option<usize>,
    pub(crate) interrupts: Vec<(H, u8)>,
}

/// All of them.
pub(crate) struct Books<W: Wall> {
    pub(crate) owners: Vec<Option<Owner<W::Domain>>>,
    pub(crate) devices: Vec<Device<W::Handle>>,
}

impl<W: Wall> Books<W> {
    pub(crate) fn new(owners: usize, devices: usize) -> Self {
        let device = |_| Device { owner: None, interrupts: Vec::new() };
        Books { owners: (0..owners).map(|_| None).collect(), devices: (0..devices).map(device).collect() }
    }

    /// Where an access must land.
    pub(crate) fn access(&self, device: usize, iova: u64, is_write: bool) -> Result<u64, Refusal> {
        let owner = self.devices[device].owner.and_then(|owner| self.owners[owner].as_ref());
        let owner = owner.ok_or(Refusal::Blocked)?;
        let page = iova.checked_sub(WINDOW).and_then(|offset| owner.pages.get(&(offset >> 12)));
        let allowed = page.filter(|(_, permissions)| match is_write {
            true => permissions.allows_write(),
            false => permissions.allows_read(),
        });
        let refusal = if is_write { Refusal::Write } else { Refusal::Read };
        allowed.map(|(frame, _)| FRAMES_AT + frame * 4096 + iova % 4096).ok_or(refusal)
    }

    /// Which vector a message of `device` with `index` must raise.
    pub(crate) fn message(&self, device: usize, index: u16) -> Result<u8, Refusal> {
        let find = |device: &Device<W::Handle>| {
            device.interrupts.iter().find(|(handle, _)| W::index(handle) == index).map(|(_, vector)| *vector)
        };
        let is_anybodys = || self.devices.iter().any(|other| find(other).is_some());
        match find(&self.devices[device]) {
            Some(vector) => Ok(vector),
            None if !W::HAS_OWN_ENTRIES && is_anybodys() => Err(Refusal::ForeignEntry),
            None => Err(Refusal::NoEntry),
        }
    }

    /// Devices of an owner.
    pub(crate) fn devices_of(&self, owner: usize) -> Vec<usize> {
        (0..self.devices.len()).filter(|at| self.devices[*at].owner == Some(owner)).collect()
    }
}
