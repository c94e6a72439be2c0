//! The device's side of a split virtqueue (virtio 1.2 §2.7).

use super::Malice;
use super::feature::EVENT_IDX;
use super::queue::{Done, Part, Queue, WRITE};
use crate::SimWindow;

/// How far the device is.
#[derive(Clone, Default)]
pub(super) struct Split {
    next_available: u16,
    next_used: u16,
}

impl Split {
    /// The next descriptor on offer: its id, flags, and the run it describes.
    pub(super) fn pop(
        &mut self,
        queue: &Queue,
        window: &SimWindow,
        features: u64,
    ) -> Option<(u16, u16, Part)> {
        let available = || window.read_u16(queue.driver + 2);
        if available() == self.next_available {
            if features & EVENT_IDX != 0 {
                let avail_event = queue.device + 4 + 8 * u64::from(queue.entries);
                window.write(avail_event, &self.next_available.to_le_bytes());
            }
            if available() == self.next_available {
                return None;
            }
        }
        let slot = u64::from(self.next_available % queue.entries);
        let id = window.read_u16(queue.driver + 4 + 2 * slot);
        let at = queue.desc + 16 * u64::from(id % queue.entries);
        let flags = window.read_u16(at + 12);
        let (addr, len) = (window.read_u64(at), window.read_u32(at + 8));
        self.next_available = self.next_available.wrapping_add(1);
        Some((id, flags, Part { addr, len, device_writes: flags & WRITE != 0 }))
    }

    /// Writes used elements and the index; `true` where the driver wants an interrupt for that.
    pub(super) fn publish(
        &mut self,
        queue: &Queue,
        window: &SimWindow,
        malice: &mut Malice,
        features: u64,
        done: &[Done],
        skips: bool,
    ) -> bool {
        let old = self.next_used;
        let last = done.len() - 1;
        for (number, Done { id, len }) in done.iter().copied().enumerate() {
            if !skips || number == last {
                let (id, len) = (malice.twist_u32(id.into()), malice.twist_u32(len));
                write_used(queue, window, self.next_used, id, len);
            }
            self.next_used = self.next_used.wrapping_add(1);
        }
        let new = self.next_used;
        window.write(queue.device + 2, &malice.twist_u16(new).to_le_bytes());
        if features & EVENT_IDX != 0 {
            let event = window.read_u16(queue.driver + 4 + 2 * u64::from(queue.entries));
            new.wrapping_sub(event).wrapping_sub(1) < new.wrapping_sub(old)
        } else {
            window.read_u16(queue.driver) & 1 == 0
        }
    }
}

/// Writes an element and an index, whatever they are.
pub(super) fn forge(queue: &Queue, window: &SimWindow, slot: u16, id: u32, len: u32, index: u16) {
    write_used(queue, window, slot, id, len);
    window.write(queue.device + 2, &index.to_le_bytes());
}

fn write_used(queue: &Queue, window: &SimWindow, slot: u16, id: u32, len: u32) {
    let at = queue.device + 4 + 8 * u64::from(slot % queue.entries);
    window.write(at, &id.to_le_bytes());
    window.write(at + 4, &len.to_le_bytes());
}
