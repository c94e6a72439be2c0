//! The device's side of a split virtqueue with chains (virtio 1.2 §2.7).

use super::Malice;
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
}

/// One descriptor of a chain.
#[derive(Clone, Copy)]
pub(super) struct Part {
    pub(super) addr: u64,
    pub(super) len: u32,
    pub(super) device_writes: bool,
}

/// A request that the driver offered.
pub(super) struct Chain {
    pub(super) id: u16,
    pub(super) parts: Vec<Part>,
}

impl Chain {
    /// Where the status goes, and the parts between header and status; `None` where it is no request.
    pub(super) fn writable_end(&self) -> Option<(u64, &[Part])> {
        let [header, data @ .., status] = &self.parts[..] else { return None };
        let is_request = header.len == 16 && !header.device_writes && status.len == 1 && status.device_writes;
        is_request.then_some((status.addr, data))
    }
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
        }
    }

    /// Takes the next chain on offer.
    pub(super) fn pop(&mut self, window: &SimWindow) -> Option<Chain> {
        if window.read_u16(self.driver + 2) == self.next_available {
            return None;
        }
        let slot = u64::from(self.next_available % self.entries);
        self.next_available = self.next_available.wrapping_add(1);
        let id = window.read_u16(self.driver + 4 + 2 * slot);
        let (mut parts, mut next) = (Vec::new(), id);
        while parts.len() < usize::from(self.entries) {
            let at = self.desc + 16 * u64::from(next % self.entries);
            let flags = window.read_u16(at + 12);
            let (addr, len) = (window.read_u64(at), window.read_u32(at + 8));
            parts.push(Part { addr, len, device_writes: flags & 2 != 0 });
            if flags & 1 == 0 {
                break;
            }
            next = window.read_u16(at + 14);
        }
        Some(Chain { id, parts })
    }

    /// Gives a chain back, unseen by the driver until [`Queue::publish`].
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
    pub(super) fn publish(&mut self, window: &SimWindow, malice: &mut Malice) -> bool {
        window.write(self.device + 2, &malice.twist_u16(self.next_used).to_le_bytes());
        window.read_u16(self.driver) & 1 == 0
    }
}
