//! Who has what, and what is in memory: the answer every access is compared with.

use std::collections::BTreeMap;
use weir_iommu::domain::Permissions;

pub(super) const OWNERS: usize = 3;
/// Slots of the `edu` devices.
pub(super) const SLOTS: [u8; 3] = [3, 4, 17];
/// Where the owners' windows begin; all use the same addresses.
pub(super) const WINDOW: u64 = 0x1_0000_0000;
/// Pages of a window that come and go.
const PAGES: u64 = 1536;
/// The page behind them, which an owner has from birth to death: its devices write there what they have read.
pub(super) const MAIL: u64 = PAGES;
/// Frames that come and go. One for each owner's mail follows them.
pub(super) const FRAMES: u64 = 1536;
const FRAMES_AT: u64 = 0x400_0000;
/// Where in each page the accesses go.
const WORD: u64 = 0x18;

/// One owner: its domain, and what it mapped.
pub(super) struct Owner<D> {
    pub(super) domain: D,
    /// Frame and permissions by page.
    pub(super) pages: BTreeMap<u64, (u64, Permissions)>,
    /// First page and number of pages of each call that mapped, but for the mail.
    pub(super) regions: Vec<(u64, u64)>,
}

#[derive(Clone, Copy, Default)]
pub(super) struct Device {
    pub(super) owner: Option<usize>,
    /// What the device read last; zero where it was refused.
    pub(super) has_read: u64,
}

/// Why an access must be refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The device is nobody's.
    Blocked,
    /// Its owner has not mapped the page.
    NotMapped,
    /// Its owner has mapped the page for the other direction only.
    Forbidden,
}

/// All of them.
pub(super) struct Books<D> {
    pub(super) owners: [Option<Owner<D>>; OWNERS],
    pub(super) devices: [Device; SLOTS.len()],
    /// The word of each frame.
    pub(super) words: BTreeMap<u64, u64>,
    /// The frame that was mapped last at a page, by whomever.
    pub(super) latest: BTreeMap<u64, u64>,
}

impl<D> Books<D> {
    /// Nobody has anything, and each frame another word: none that a device writes by itself.
    pub(super) fn new() -> Self {
        Books {
            owners: [const { None }; OWNERS],
            devices: [Device::default(); SLOTS.len()],
            words: (0..FRAMES + OWNERS as u64).map(|frame| (frame, 0xf00d_0000 + frame)).collect(),
            latest: BTreeMap::new(),
        }
    }

    /// The frame an access must reach.
    pub(super) fn access(&self, device: usize, iova: u64, is_write: bool) -> Result<u64, Refusal> {
        let owner = self.owner_of(device).ok_or(Refusal::Blocked)?;
        let page = iova.checked_sub(WINDOW).and_then(|offset| owner.pages.get(&(offset >> 12)));
        let (frame, permissions) = *page.ok_or(Refusal::NotMapped)?;
        let is_allowed = if is_write { permissions.allows_write() } else { permissions.allows_read() };
        is_allowed.then_some(frame).ok_or(Refusal::Forbidden)
    }

    /// Frames that a wrong access to `iova` would reach: those that owners have or had there, and the one of this address.
    pub(super) fn suspects(&self, iova: u64) -> Vec<u64> {
        let page = iova.wrapping_sub(WINDOW) >> 12;
        let mapped = self.owners.iter().flatten().filter_map(|owner| owner.pages.get(&page).map(|at| at.0));
        let itself = iova.checked_sub(FRAMES_AT).map(|offset| offset >> 12).filter(|frame| *frame < FRAMES);
        mapped.chain(self.latest.get(&page).copied()).chain(itself).collect()
    }

    pub(super) fn owner_of(&self, device: usize) -> Option<&Owner<D>> {
        self.owners[self.devices[device].owner?].as_ref()
    }

    /// Devices of an owner.
    pub(super) fn devices_of(&self, owner: usize) -> Vec<usize> {
        (0..SLOTS.len()).filter(|at| self.devices[*at].owner == Some(owner)).collect()
    }
}

/// Where devices see the word of a page.
pub(super) fn iova_of(page: u64) -> u64 {
    WINDOW + page * 4096 + WORD
}

/// Where the word of a frame is in memory.
pub(super) fn word_of(frame: u64) -> u64 {
    start_of(frame) + WORD
}

/// Where a frame is in memory.
pub(super) fn start_of(frame: u64) -> u64 {
    FRAMES_AT + frame * 4096
}
