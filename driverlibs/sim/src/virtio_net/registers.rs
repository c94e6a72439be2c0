//! Its registers (virtio 1.2 §4.1.4.3, §4.1.4.4, §5.1.4).
#![expect(clippy::cast_possible_truncation, reason = "a register takes the low bits of what is written")]

use super::{COMMON, DEVICE, NOTIFY, NOTIFY_STRIDE, TX, VECTORS, VirtioNet};

const FEATURES_OK: u8 = 8;
/// Longest payload of a frame.
const MTU: u16 = 9000;
/// What receive-side scaling can do.
const RSS_KEY_BYTES: u8 = 40;
const RSS_ENTRIES: u16 = 128;
const RSS_TYPES: u32 = 0x3f;

fn vector(value: u64) -> u16 {
    if value < VECTORS.into() { value as u16 } else { 0xffff }
}

impl VirtioNet {
    pub(super) fn read_register(&mut self, offset: u64, bytes: usize) -> u64 {
        match offset {
            COMMON..0x38 => self.read_common(offset),
            DEVICE..0x2018 => self.read_device(offset - DEVICE, bytes),
            _ => 0,
        }
    }

    fn read_common(&mut self, offset: u64) -> u64 {
        let queue = self.queues.get(usize::from(self.queue_select));
        let of_queue = |value: fn(&super::Queue) -> u64| queue.map_or(0, value);
        match offset {
            0x04 => self.behaviour.features >> (32 * self.feature_select.min(1)) & 0xffff_ffff,
            0x10 => self.config_vector.into(),
            0x12 => self.queues.len() as u64,
            0x14 => self.status.into(),
            0x15 => self.generation.into(),
            0x16 => self.queue_select.into(),
            0x18 => of_queue(|q| q.entries.into()),
            0x1a => of_queue(|q| q.vector.into()),
            0x1c => of_queue(|q| q.is_enabled.into()),
            0x1e => self.queue_select.into(),
            _ => 0,
        }
    }

    fn read_device(&self, offset: u64, bytes: usize) -> u64 {
        let mut config = [0; 24];
        config[..6].copy_from_slice(&self.mac);
        config[6] = u8::from(self.link_up) | u8::from(self.wants_announcement) << 1;
        config[8..10].copy_from_slice(&self.pairs_told.unwrap_or(self.behaviour.pairs).to_le_bytes());
        config[10..12].copy_from_slice(&MTU.to_le_bytes());
        config[17] = RSS_KEY_BYTES;
        config[18..20].copy_from_slice(&RSS_ENTRIES.to_le_bytes());
        config[20..24].copy_from_slice(&RSS_TYPES.to_le_bytes());
        let mut value = [0; 8];
        let start = offset as usize;
        value[..bytes].copy_from_slice(&config[start..start + bytes]);
        u64::from_le_bytes(value)
    }

    pub(super) fn write_register(&mut self, offset: u64, value: u64) {
        match offset {
            COMMON..0x38 => self.write_common(offset, value),
            NOTIFY..0x4000 => self.kick((offset - NOTIFY) / u64::from(NOTIFY_STRIDE)),
            _ => {}
        }
    }

    fn write_common(&mut self, offset: u64, value: u64) {
        match offset {
            0x00 => self.feature_select = value as u32,
            0x08 => self.driver_feature_select = value as u32,
            0x0c => {
                let shift = 32 * self.driver_feature_select.min(1);
                self.driver_features &= !(0xffff_ffff << shift);
                self.driver_features |= value << shift;
            }
            0x14 => self.write_status(value as u8),
            0x10 => self.config_vector = vector(value),
            0x16 => self.queue_select = value as u16,
            _ => self.write_queue(offset, value),
        }
    }

    fn write_status(&mut self, status: u8) {
        if status == 0 {
            return self.restart();
        }
        self.status = status;
        let is_subset = self.driver_features & !self.behaviour.features == 0;
        if status & FEATURES_OK != 0 && !is_subset {
            self.status &= !FEATURES_OK;
        }
    }

    fn write_queue(&mut self, offset: u64, value: u64) {
        let Some(queue) = self.queues.get_mut(usize::from(self.queue_select)) else { return };
        let low = |old: u64| old & !0xffff_ffff | value;
        let high = |old: u64| old & 0xffff_ffff | value << 32;
        match offset {
            // A device whose structures lie elsewhere than it said gets other values here.
            0x18 => queue.entries = (value as u16).max(1),
            0x1a => queue.vector = vector(value),
            0x1c => queue.is_enabled = value == 1 && queue.entries != 0,
            0x20 => queue.desc = low(queue.desc),
            0x24 => queue.desc = high(queue.desc),
            0x28 => queue.driver = low(queue.driver),
            0x2c => queue.driver = high(queue.driver),
            0x30 => queue.device = low(queue.device),
            0x34 => queue.device = high(queue.device),
            _ => {}
        }
    }

    fn kick(&mut self, queue: u64) {
        if let Some(kicks) = self.kicks.get_mut(queue as usize) {
            *kicks += 1;
        }
        let queue = queue as usize;
        if queue == self.control_index() {
            self.obey();
        } else if queue % 2 == TX && self.behaviour.works_on_kick {
            self.transmit();
        }
    }
}
