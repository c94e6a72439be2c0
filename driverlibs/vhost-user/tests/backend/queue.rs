//! The back end's side of a split ring (virtio 1.2 §2.7).

use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;

use super::EVENT_IDX;

const HEADER_BYTES: usize = 12;

/// A queue as the front end described it.
#[derive(Default)]
pub struct Queue {
    pub entries: u16,
    pub kick: Option<OwnedFd>,
    pub call: Option<OwnedFd>,
    pub is_enabled: bool,
    pub has_started: bool,
    desc: u64,
    used: u64,
    available: u64,
    next_available: u16,
    next_used: u16,
    published: u16,
}

impl Queue {
    pub fn set_addresses(&mut self, desc: u64, used: u64, available: u64) {
        (self.desc, self.used, self.available) = (desc, used, available);
    }

    pub fn restart_at(&mut self, base: u32) {
        self.next_available = u16::try_from(base).expect("a split ring's base");
        (self.next_used, self.published) = (self.next_available, self.next_available);
    }

    /// Stops it; the answer to `GET_VRING_BASE`.
    pub fn stop(&mut self) -> u32 {
        (self.kick, self.has_started) = (None, false);
        self.next_available.into()
    }

    pub fn is_running(&self) -> bool {
        self.is_enabled && self.has_started
    }

    /// What the driver sent next, without the header.
    pub fn take(&mut self, base: u64, memory: &File) -> Option<Vec<u8>> {
        let (id, addr, len) = self.pop(base, memory)?;
        let mut bytes = vec![0; len as usize];
        memory.read_exact_at(&mut bytes, addr - base).expect("inside the window");
        self.give_back(base, memory, id, 0);
        Some(bytes.split_off(HEADER_BYTES))
    }

    /// Gives the driver a frame; lost where it offers no buffer.
    pub fn put(&mut self, base: u64, memory: &File, frame: &[u8]) {
        let Some((id, addr, len)) = self.pop(base, memory) else { return };
        let bytes = [&[0; HEADER_BYTES], frame].concat();
        assert!(bytes.len() <= len as usize, "the buffer is long enough");
        memory.write_all_at(&bytes, addr - base).expect("inside the window");
        self.give_back(base, memory, id, u32::try_from(bytes.len()).expect("short"));
    }

    fn pop(&mut self, base: u64, memory: &File) -> Option<(u16, u64, u32)> {
        if !self.is_running() || read_u16(memory, self.available + 2 - base) == self.next_available {
            return None;
        }
        let slot = u64::from(self.next_available % self.entries);
        let id = read_u16(memory, self.available + 4 + 2 * slot - base);
        let mut desc = [0; 16];
        memory.read_exact_at(&mut desc, self.desc + 16 * u64::from(id) - base).expect("inside the window");
        let addr = u64::from_le_bytes(desc[..8].try_into().expect("eight"));
        let len = u32::from_le_bytes(desc[8..12].try_into().expect("four"));
        self.next_available = self.next_available.wrapping_add(1);
        Some((id, addr, len))
    }

    fn give_back(&mut self, base: u64, memory: &File, id: u16, len: u32) {
        let slot = u64::from(self.next_used % self.entries);
        let element = [u32::from(id).to_le_bytes(), len.to_le_bytes()].concat();
        memory.write_all_at(&element, self.used + 4 + 8 * slot - base).expect("inside the window");
        self.next_used = self.next_used.wrapping_add(1);
    }

    /// Shows the driver what was given back, and calls if it wants that; how often it called.
    pub fn publish(&mut self, base: u64, memory: &File, features: u64) -> u64 {
        let (old, new) = (self.published, self.next_used);
        if old == new || !self.is_running() {
            return 0;
        }
        self.published = new;
        write_u16(memory, self.used + 2 - base, new);
        let wants = if features & EVENT_IDX == 0 {
            read_u16(memory, self.available - base) & 1 == 0
        } else {
            let event = read_u16(memory, self.available + 4 + 2 * u64::from(self.entries) - base);
            new.wrapping_sub(event).wrapping_sub(1) < new.wrapping_sub(old)
        };
        let Some(call) = self.call.as_ref().filter(|_| wants) else { return 0 };
        rustix::io::write(call, &1u64.to_ne_bytes()).expect("an event file");
        1
    }

    /// Says whether a kick is wanted for the next buffer.
    pub fn ask_for_kicks(&self, base: u64, memory: &File, features: u64, wants: bool) {
        if !self.is_running() {
            return;
        }
        if features & EVENT_IDX == 0 {
            write_u16(memory, self.used - base, (!wants).into());
        } else if wants {
            write_u16(memory, self.used + 4 + 8 * u64::from(self.entries) - base, self.next_available);
        }
    }

    /// Claims to have used more than there is.
    pub fn forge_used_index(&self, base: u64, memory: &File) {
        if self.is_running() {
            write_u16(memory, self.used + 2 - base, self.entries + 1);
        }
    }
}

fn read_u16(memory: &File, offset: u64) -> u16 {
    let mut bytes = [0; 2];
    memory.read_exact_at(&mut bytes, offset).expect("inside the window");
    u16::from_le_bytes(bytes)
}

fn write_u16(memory: &File, offset: u64, value: u16) {
    memory.write_all_at(&value.to_le_bytes(), offset).expect("inside the window");
}
