//! Its registers (NVMe §3.1.3 "Controller Properties") and doorbells.
#![expect(clippy::cast_possible_truncation, reason = "a register takes the low bits of what is written")]

use super::queue::Queue;
use super::{Nvme, QUEUES};

pub(super) const BAR_BYTES: u64 = 0x4000;
pub(super) const READY: u32 = 1;
pub(super) const FATAL: u32 = 2;
const ENABLE: u32 = 1;

impl Nvme {
    pub(super) fn read_register(&self, offset: u64, bytes: usize) -> u64 {
        match (offset, bytes) {
            (0x00, 8) => self.capabilities(),
            (0x08, 4) => 0x0002_0000,
            (0x14, 4) => self.configuration.into(),
            (0x1c, 4) => self.status.into(),
            (0x24, 4) => self.admin[0],
            (0x28, 8) => self.admin[1],
            (0x30, 8) => self.admin[2],
            _ => 0,
        }
    }

    /// Contiguous queues, ready within half a second, NVM command set, pages of 4 KiB.
    fn capabilities(&self) -> u64 {
        let entries_less_one = u64::from(self.behaviour.entries - 1);
        entries_less_one | 1 << 16 | 1 << 24 | u64::from(self.behaviour.doorbell_stride) << 32 | 1 << 37
    }

    pub(super) fn write_register(&mut self, offset: u64, value: u64) {
        match offset {
            0x14 => self.configure(value as u32),
            0x24 => self.admin[0] = value,
            0x28 => self.admin[1] = value,
            0x30 => self.admin[2] = value,
            0x1000.. => self.ring(offset - 0x1000, value as u32),
            _ => {}
        }
    }

    /// NVMe §3.1.3.5: enabling takes the admin queues over, disabling resets. Only 64-byte commands and 16-byte
    /// completions are taken.
    fn configure(&mut self, value: u32) {
        let was_enabled = self.configuration & ENABLE != 0;
        if self.is_stuck {
            return;
        }
        self.configuration = value;
        if value & ENABLE == 0 {
            self.restart();
            self.counts.resets += u64::from(was_enabled);
        } else if !was_enabled {
            let sizes = value >> 16 & 0xff;
            self.status = if sizes == 0x46 { READY } else { FATAL };
            self.queues[0] = Queue {
                commands: self.admin[1],
                completions: self.admin[2],
                command_entries: (self.admin[0] & 0xfff) as u16 + 1,
                completion_entries: (self.admin[0] >> 16 & 0xfff) as u16 + 1,
                ..Queue::default()
            };
        }
    }

    fn ring(&mut self, offset: u64, value: u32) {
        let doorbell = (offset / (4 << self.behaviour.doorbell_stride)) as usize;
        let (id, is_head) = (doorbell / 2, doorbell % 2 == 1);
        let Some(queue) = self.queues.get_mut(id) else { return };
        let entries = if is_head { queue.completion_entries } else { queue.command_entries };
        if id >= QUEUES || value >= entries.into() {
            self.counts.bad_doorbells += 1;
            return;
        }
        if is_head {
            queue.acknowledged = value as u16;
            self.counts.head_doorbells += u64::from(id != 0);
            return self.post(id);
        }
        queue.tail = value as u16;
        self.counts.tail_doorbells += u64::from(id != 0);
        if id == 0 || self.behaviour.works_on_doorbell {
            self.work_on(id);
        }
    }
}
