//! The device's side of a virtqueue, of either layout.

use super::Malice;
use super::feature::{IN_ORDER, INDIRECT_DESC, RING_PACKED};
use super::packed::Packed;
use super::split::Split;
use crate::SimWindow;

/// One queue as the driver set it up.
#[derive(Clone)]
pub(super) struct Queue {
    pub(super) entries: u16,
    pub(super) vector: u16,
    pub(super) is_enabled: bool,
    pub(super) desc: u64,
    pub(super) driver: u64,
    pub(super) device: u64,
    /// Buffers taken for a frame that needed more.
    pub(super) waiting: Vec<Chain>,
    /// Buffers given back that the driver does not see yet.
    done: Vec<Done>,
    split: Split,
    packed: Packed,
}

/// A buffer that the driver offered: one descriptor, or a table of them.
#[derive(Clone, Debug)]
pub(super) struct Chain {
    pub(super) id: u16,
    pub(super) parts: Vec<Part>,
}

/// A run of memory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part {
    pub(super) addr: u64,
    pub(super) len: u32,
    pub(super) device_writes: bool,
}

/// A buffer to be given back.
#[derive(Clone, Copy)]
pub(super) struct Done {
    pub(super) id: u16,
    pub(super) len: u32,
}

/// `VIRTQ_DESC_F_NEXT`, `_WRITE`, `_INDIRECT`.
pub(super) const NEXT: u16 = 1;
pub(super) const WRITE: u16 = 2;
pub(super) const INDIRECT: u16 = 4;
/// A table that is longer is cut: nobody makes such.
const MOST_PARTS: u32 = 256;

impl Queue {
    pub(super) fn new(entries: u16) -> Queue {
        Queue {
            entries,
            vector: 0xffff,
            is_enabled: false,
            desc: 0,
            driver: 0,
            device: 0,
            waiting: Vec::new(),
            done: Vec::new(),
            split: Split::default(),
            packed: Packed::default(),
        }
    }

    /// Takes the next buffer on offer. Where there is none, asks for a kick at the next, and looks again.
    pub(super) fn pop(&mut self, window: &SimWindow, features: u64) -> Option<Chain> {
        let found = if features & RING_PACKED == 0 {
            let mut split = self.split.clone();
            let found = split.pop(self, window, features);
            self.split = split;
            found
        } else {
            let mut packed = self.packed.clone();
            let found = packed.pop(self, window, features);
            self.packed = packed;
            found
        };
        let (id, flags, part) = found?;
        let is_table = flags & INDIRECT != 0 && features & INDIRECT_DESC != 0;
        let parts = if is_table { table(window, part, features) } else { vec![part] };
        Some(Chain { id, parts })
    }

    /// Gives a buffer back, unseen by the driver until [`Queue::publish`].
    pub(super) fn push(&mut self, id: u16, len: u32) {
        self.done.push(Done { id, len });
    }

    /// Shows the driver what was given back; `true` where it wants an interrupt for that. `skips`: of a batch used in
    /// order, only what must be written (virtio 1.2 §2.7.9, §2.8.8).
    pub(super) fn publish(
        &mut self,
        window: &SimWindow,
        malice: &mut Malice,
        features: u64,
        skips: bool,
    ) -> bool {
        let done = std::mem::take(&mut self.done);
        if done.is_empty() {
            return false;
        }
        let skips = skips && features & IN_ORDER != 0;
        if features & RING_PACKED == 0 {
            let mut split = self.split.clone();
            let wanted = split.publish(self, window, malice, features, &done, skips);
            self.split = split;
            wanted
        } else {
            let mut packed = self.packed.clone();
            let wanted = packed.publish(self, window, malice, features, &done, skips);
            self.packed = packed;
            wanted
        }
    }
}

/// The parts of an indirect table: linked in split rings (§2.7.5.3), one after the other in packed ones (§2.8.7).
fn table(window: &SimWindow, table: Part, features: u64) -> Vec<Part> {
    let count = (table.len / 16).min(MOST_PARTS);
    let mut parts = Vec::new();
    let mut entry = 0;
    for _ in 0..count {
        let at = table.addr + 16 * u64::from(entry);
        let (addr, len) = (window.read_u64(at), window.read_u32(at + 8));
        let is_packed = features & RING_PACKED != 0;
        let flags = window.read_u16(at + if is_packed { 14 } else { 12 });
        parts.push(Part { addr, len, device_writes: flags & WRITE != 0 });
        if is_packed {
            entry += 1;
        } else if flags & NEXT != 0 {
            entry = u32::from(window.read_u16(at + 14)) % count;
        } else {
            break;
        }
    }
    parts
}
