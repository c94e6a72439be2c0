//! The device's side of a packed virtqueue (virtio 1.2 §2.8).

use super::Malice;
use super::feature::EVENT_IDX;
use super::queue::{Done, Part, Queue, WRITE};
use crate::SimWindow;

const AVAILABLE: u16 = 1 << 7;
const USED: u16 = 1 << 15;

/// Event flags (§2.8.10).
const ALWAYS: u16 = 0;
const NEVER: u16 = 1;
const WHEN_AT: u16 = 2;

/// A place in the ring, and the wrap counter there (§2.8.1).
#[derive(Clone, Copy, PartialEq)]
struct Place {
    slot: u16,
    wrap: bool,
}

/// How far the device is.
#[derive(Clone)]
pub(super) struct Packed {
    next_available: Place,
    next_used: Place,
    /// It said once when it wants a kick; before, it gets all of them.
    has_asked: bool,
}

impl Default for Packed {
    fn default() -> Packed {
        let start = Place { slot: 0, wrap: true };
        Packed { next_available: start, next_used: start, has_asked: false }
    }
}

impl Place {
    fn advance(&mut self, count: usize, entries: u16) {
        for _ in 0..count {
            self.slot += 1;
            if self.slot >= entries {
                *self = Place { slot: 0, wrap: !self.wrap };
            }
        }
    }

    fn event(self) -> u16 {
        self.slot | u16::from(self.wrap) << 15
    }
}

impl Packed {
    /// The next descriptor on offer: its id, flags, and the run it describes.
    pub(super) fn pop(
        &mut self,
        queue: &Queue,
        window: &SimWindow,
        features: u64,
    ) -> Option<(u16, u16, Part)> {
        let at = queue.desc + 16 * u64::from(self.next_available.slot);
        let wrap = self.next_available.wrap;
        let is_available = || {
            let flags = window.read_u16(at + 14);
            (flags & AVAILABLE != 0) == wrap && (flags & USED != 0) != wrap
        };
        let is_there = is_available();
        if !is_there || !self.has_asked {
            self.has_asked = true;
            if features & EVENT_IDX != 0 {
                window.write(queue.device, &self.next_available.event().to_le_bytes());
                window.write(queue.device + 2, &WHEN_AT.to_le_bytes());
            }
            if !is_available() {
                return None;
            }
        }
        let (addr, len) = (window.read_u64(at), window.read_u32(at + 8));
        let (id, flags) = (window.read_u16(at + 12), window.read_u16(at + 14));
        self.next_available.advance(1, queue.entries);
        Some((id, flags, Part { addr, len, device_writes: flags & WRITE != 0 }))
    }

    /// Writes used descriptors, the first one last, as if all were one request (§2.8.9); `true` where the driver wants
    /// an interrupt for that.
    pub(super) fn publish(
        &mut self,
        queue: &Queue,
        window: &SimWindow,
        malice: &mut Malice,
        features: u64,
        done: &[Done],
        skips: bool,
    ) -> bool {
        let first = self.next_used;
        let mut written = Vec::new();
        for (number, Done { id, len }) in done.iter().copied().enumerate() {
            if !skips {
                written.push((self.next_used, id, len));
            } else if number + 1 == done.len() {
                written.push((first, id, len));
            }
            self.next_used.advance(1, queue.entries);
        }
        for (place, id, len) in written.into_iter().rev() {
            let both = if place.wrap { AVAILABLE | USED } else { 0 };
            let flags = malice.twist_u16(both | if len > 0 { WRITE } else { 0 });
            write_used(queue, window, place.slot, malice.twist_u16(id), malice.twist_u32(len), flags);
        }
        self.wants_interrupt(queue, window, features, first, done.len())
    }

    /// §2.8.10: whether one of the `count` descriptors from `first` on is the one asked for.
    fn wants_interrupt(
        &self,
        queue: &Queue,
        window: &SimWindow,
        features: u64,
        first: Place,
        count: usize,
    ) -> bool {
        let (event, flags) = (window.read_u16(queue.driver), window.read_u16(queue.driver + 2) & 3);
        match flags {
            ALWAYS => true,
            NEVER => false,
            _ if features & EVENT_IDX == 0 => false,
            _ => {
                let mut place = first;
                (0..count).any(|_| {
                    let is_it = place.event() == event;
                    place.advance(1, queue.entries);
                    is_it
                })
            }
        }
    }
}

/// Writes a used descriptor, whatever it is.
pub(super) fn write_used(queue: &Queue, window: &SimWindow, slot: u16, id: u16, len: u32, flags: u16) {
    let at = queue.desc + 16 * u64::from(slot % queue.entries);
    window.write(at + 8, &len.to_le_bytes());
    window.write(at + 12, &id.to_le_bytes());
    window.write(at + 14, &flags.to_le_bytes());
}
