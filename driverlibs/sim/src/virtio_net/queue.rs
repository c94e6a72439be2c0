//! The device's side of a split virtqueue.

use super::Malice;
use super::feature::EVENT_IDX;
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
    next_available: u16,
    next_used: u16,
    published_used: u16,
}

/// A buffer that the driver offered.
#[derive(Clone, Copy)]
pub(super) struct Chain {
    pub(super) id: u16,
    pub(super) addr: u64,
    pub(super) len: u32,
}

impl Queue {
    pub(super) fn new(entries: u16) -> Queue {
        Queue {
            entries,
            vector: 0xffff,
            is_enabled: false,
            desc: 0,
            driver: 0,
            device: 0,
            next_available: 0,
            next_used: 0,
            published_used: 0,
        }
    }

    /// Takes the next buffer on offer. Where there is none, asks for a kick at the next, and looks again.
    pub(super) fn pop(&mut self, window: &SimWindow, features: u64) -> Option<Chain> {
        if self.available(window) == self.next_available {
            self.ask_for_kick(window, features);
            if self.available(window) == self.next_available {
                return None;
            }
        }
        let slot = u64::from(self.next_available % self.entries);
        let id = window.read_u16(self.driver + 4 + 2 * slot);
        let at = self.desc + 16 * u64::from(id % self.entries);
        let (addr, len) = (window.read_u64(at), window.read_u32(at + 8));
        self.next_available = self.next_available.wrapping_add(1);
        Some(Chain { id, addr, len })
    }

    fn available(&self, window: &SimWindow) -> u16 {
        window.read_u16(self.driver + 2)
    }

    fn ask_for_kick(&self, window: &SimWindow, features: u64) {
        if features & EVENT_IDX != 0 {
            let avail_event = self.device + 4 + 8 * u64::from(self.entries);
            window.write(avail_event, &self.next_available.to_le_bytes());
        }
    }

    /// Gives a buffer back, unseen by the driver until [`Queue::publish`].
    pub(super) fn push(&mut self, window: &SimWindow, malice: &mut Malice, id: u16, len: u32) {
        let (id, len) = (malice.twist_u32(id.into()), malice.twist_u32(len));
        self.write_used(window, self.next_used, id, len);
        self.next_used = self.next_used.wrapping_add(1);
    }

    /// Writes an element and an index, whatever they are.
    pub(super) fn forge(&self, window: &SimWindow, slot: u16, id: u32, len: u32, index: u16) {
        self.write_used(window, slot, id, len);
        window.write(self.device + 2, &index.to_le_bytes());
    }

    fn write_used(&self, window: &SimWindow, slot: u16, id: u32, len: u32) {
        let at = self.device + 4 + 8 * u64::from(slot % self.entries);
        window.write(at, &id.to_le_bytes());
        window.write(at + 4, &len.to_le_bytes());
    }

    /// Shows the driver what was given back; `true` where it wants an interrupt for that.
    pub(super) fn publish(&mut self, window: &SimWindow, malice: &mut Malice, features: u64) -> bool {
        let (old, new) = (self.published_used, self.next_used);
        self.published_used = new;
        window.write(self.device + 2, &malice.twist_u16(new).to_le_bytes());
        if features & EVENT_IDX != 0 {
            let event = window.read_u16(self.driver + 4 + 2 * u64::from(self.entries));
            new.wrapping_sub(event).wrapping_sub(1) < new.wrapping_sub(old)
        } else {
            old != new && window.read_u16(self.driver) & 1 == 0
        }
    }
}
