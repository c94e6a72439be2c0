//! Its registers (virtio 1.2 §4.1.4.3, §4.1.4.4, §5.2.4).
#![expect(clippy::cast_possible_truncation, reason = "a register takes the low bits of what is written")]

use super::{BAR, MESSAGES, VirtioBlk};
use crate::pci::ConfigSpace;

const COMMON: u64 = 0x0000;
const DEVICE: u64 = 0x2000;
const NOTIFY: u64 = 0x3000;
const NOTIFY_STRIDE: u32 = 4;
const FEATURES_OK: u8 = 8;

/// The layout QEMU uses: one BAR, a page per structure.
pub(super) fn config_space() -> ConfigSpace {
    let mut config = ConfigSpace::new(0x1af4, 0x1042);
    let mut add = |kind: u8, offset: u64, more: &[u8]| {
        let length = u8::try_from(16 + more.len()).expect("short");
        let mut rest = vec![length, kind, BAR, 0, 0, 0];
        rest.extend_from_slice(&(offset as u32).to_le_bytes());
        rest.extend_from_slice(&0x1000u32.to_le_bytes());
        rest.extend_from_slice(more);
        config.add_capability(9, &rest);
    };
    add(1, COMMON, &[]);
    add(4, DEVICE, &[]);
    add(2, NOTIFY, &NOTIFY_STRIDE.to_le_bytes());
    config
}

impl VirtioBlk {
    pub(super) fn read_register(&self, offset: u64, bytes: usize) -> u64 {
        match offset {
            COMMON..0x38 => self.read_common(offset),
            DEVICE..0x2040 => self.read_device((offset - DEVICE) as usize, bytes),
            _ => 0,
        }
    }

    fn read_common(&self, offset: u64) -> u64 {
        let queue = self.queues.get(usize::from(self.queue_select));
        let of_queue = |value: fn(&super::Queue) -> u64| queue.map_or(0, value);
        match offset {
            0x04 => self.behaviour.features >> (32 * self.feature_select.min(1)) & 0xffff_ffff,
            0x12 => self.queues.len() as u64,
            0x14 => self.status.into(),
            0x16 | 0x1e => self.queue_select.into(),
            0x18 => of_queue(|q| q.entries.into()),
            0x1a => of_queue(|q| q.vector.into()),
            0x1c => of_queue(|q| q.is_enabled.into()),
            _ => 0,
        }
    }

    /// `struct virtio_blk_config`.
    fn read_device(&self, offset: usize, bytes: usize) -> u64 {
        let mut config = [0; 72];
        config[0..8].copy_from_slice(&self.behaviour.sectors.to_le_bytes());
        config[20..24].copy_from_slice(&self.behaviour.block_bytes.to_le_bytes());
        config[34..36].copy_from_slice(&self.behaviour.queues.to_le_bytes());
        config[36..40].copy_from_slice(&u32::MAX.to_le_bytes());
        let mut value = [0; 8];
        value[..bytes].copy_from_slice(&config[offset..offset + bytes]);
        u64::from_le_bytes(value)
    }

    pub(super) fn write_register(&mut self, offset: u64, value: u64) {
        match offset {
            COMMON..0x38 => self.write_common(offset, value),
            NOTIFY..0x4000 => self.kick(((offset - NOTIFY) / u64::from(NOTIFY_STRIDE)) as usize),
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
            0x1a => queue.vector = if value < MESSAGES.into() { value as u16 } else { 0xffff },
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

    fn kick(&mut self, queue: usize) {
        self.kicks += 1;
        if queue < self.queues.len() && self.behaviour.works_on_kick {
            self.work_on(queue);
        }
    }
}
