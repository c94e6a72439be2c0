//! What it does when told to (NVMe §5 "Admin Command Set", NVM §3.2 "I/O Command Set specific commands").
#![expect(clippy::cast_possible_truncation, reason = "fields of commands are cut to their width")]

use super::queue::Command;
use super::{MESSAGES, Nvme, QUEUES};

const SUCCESS: u16 = 0x000;
const INVALID_OPCODE: u16 = 0x001;
const INVALID_FIELD: u16 = 0x002;
const INVALID_NAMESPACE: u16 = 0x00b;
const ABORT_REQUESTED: u16 = 0x007;
const OUT_OF_RANGE: u16 = 0x080;
const READ_ONLY: u16 = 0x182;
const INVALID_QUEUE: u16 = 0x101;

/// Status and dword 0 of a completion.
type Answer = (u16, u32);

impl Nvme {
    pub(super) fn administer(&mut self, command: &Command) -> Answer {
        match command.opcode() {
            0x01 => self.create_submission(command),
            0x05 => self.create_completion(command),
            0x06 => self.identify(command),
            0x08 => self.abort(command),
            0x09 if command.dword(10) & 0xff == 7 => {
                let queues = self.behaviour.queues;
                let (submission, completion) = self.granted.unwrap_or((queues, queues));
                (SUCCESS, u32::from(submission - 1) | u32::from(completion - 1) << 16)
            }
            _ => (INVALID_OPCODE, 0),
        }
    }

    /// The queue's number and entries, if there is room for it.
    fn queue_of(&self, command: &Command) -> Option<(usize, u16)> {
        let (id, less_one) = ((command.dword(10) & 0xffff) as usize, command.dword(10) >> 16);
        let is_possible = id > 0 && id < QUEUES && less_one > 0 && less_one < self.behaviour.entries;
        is_possible.then_some((id, less_one as u16 + 1))
    }

    fn create_completion(&mut self, command: &Command) -> Answer {
        let Some((id, entries)) = self.queue_of(command) else { return (INVALID_QUEUE, 0) };
        let (flags, vector) = (command.dword(11), (command.dword(11) >> 16) as u16);
        if flags & 1 == 0 || vector >= MESSAGES || id > usize::from(self.behaviour.queues) {
            return (INVALID_FIELD, 0);
        }
        let queue = &mut self.queues[id];
        (queue.completions, queue.completion_entries) = (command.qword(6), entries);
        queue.vector = (flags & 2 != 0).then_some(vector);
        (SUCCESS, 0)
    }

    fn create_submission(&mut self, command: &Command) -> Answer {
        let Some((id, entries)) = self.queue_of(command) else { return (INVALID_QUEUE, 0) };
        let (flags, completions) = (command.dword(11), (command.dword(11) >> 16) as usize);
        if flags & 1 == 0 || completions != id || self.queues[id].completion_entries == 0 {
            return (INVALID_FIELD, 0);
        }
        (self.queues[id].commands, self.queues[id].command_entries) = (command.qword(6), entries);
        (SUCCESS, 0)
    }

    /// Gives a swallowed command up; others are done by the time they could be given up.
    fn abort(&mut self, command: &Command) -> Answer {
        let (id, cid) = ((command.dword(10) & 0xffff) as usize, (command.dword(10) >> 16) as u16);
        let Some(queue) = self.queues.get_mut(id) else { return (SUCCESS, 1) };
        match queue.stalled.iter().position(|&stalled| stalled == cid) {
            None => (SUCCESS, 1),
            Some(at) => {
                queue.stalled.swap_remove(at);
                queue.finish(cid, ABORT_REQUESTED, 0);
                self.post(id);
                (SUCCESS, 0)
            }
        }
    }

    /// Does an I/O command; `None` where it swallows it.
    pub(super) fn perform(&mut self, command: &Command) -> Option<Answer> {
        if self.is_stalled {
            return None;
        }
        let status = self.next_status.take().unwrap_or_else(|| self.read_write_trim(command));
        Some((status, 0))
    }

    fn read_write_trim(&mut self, command: &Command) -> u16 {
        let number = command.namespace();
        let Some(at) = self.behaviour.namespaces.iter().position(|n| n.id == number) else {
            return INVALID_NAMESPACE;
        };
        let shift = self.behaviour.namespaces[at].block_shift;
        let is_read_only = self.behaviour.namespaces[at].is_read_only;
        let blocks = u64::from(command.dword(12) & 0xffff) + 1;
        match command.opcode() {
            0x00 => {
                self.counts.flushes += 1;
                SUCCESS
            }
            0x01 | 0x09 if is_read_only => READ_ONLY,
            0x01 => self.transfer(at, command, command.qword(10) << shift, blocks << shift, false),
            0x02 => self.transfer(at, command, command.qword(10) << shift, blocks << shift, true),
            0x09 if self.behaviour.can_trim => self.trim(at, command, shift),
            _ => INVALID_OPCODE,
        }
    }

    fn transfer(&mut self, disk: usize, command: &Command, start: u64, bytes: u64, is_read: bool) -> u16 {
        let limit = match self.behaviour.transfer_shift {
            0 => u64::MAX,
            shift => 4096 << shift,
        };
        if bytes > limit {
            return INVALID_FIELD;
        }
        let (Ok(start), Ok(length)) = (usize::try_from(start), usize::try_from(bytes)) else {
            return OUT_OF_RANGE;
        };
        let pages = self.pages(command, length);
        let Some(mut data) = self.disks[disk].get_mut(start..start.saturating_add(length)) else {
            return OUT_OF_RANGE;
        };
        for (page, bytes) in pages {
            let (part, rest) = data.split_at_mut(bytes);
            if is_read {
                self.window.write(page, part)
            } else {
                self.window.read(page, part)
            }
            data = rest;
        }
        SUCCESS
    }

    /// Where the data is: address and length of each page (NVMe §4.1.1 "Physical Region Page Entry and List").
    fn pages(&self, command: &Command, bytes: usize) -> Vec<(u64, usize)> {
        let room = |address: u64| 4096 - (address & 4095) as usize;
        let first = command.qword(6);
        let mut pages = vec![(first, bytes.min(room(first)))];
        let mut left = bytes - pages[0].1;
        if left > 0 && left <= 4096 {
            pages.push((command.qword(8), left));
            return pages;
        }
        let mut list = command.qword(8);
        while left > 0 {
            // The last entry of a page leads to the next part of the list, where more than one entry is needed.
            if list & 4095 == 4088 && left > 4096 {
                list = self.window.read_u64(list);
            }
            pages.push((self.window.read_u64(list), left.min(4096)));
            left -= left.min(4096);
            list += 8;
        }
        pages
    }

    /// NVM §3.2.3 "Dataset Management command": deallocated blocks read as zeros here.
    fn trim(&mut self, disk: usize, command: &Command, shift: u8) -> u16 {
        if command.dword(11) & 4 == 0 {
            return SUCCESS;
        }
        for range in 0..=u64::from(command.dword(10) & 0xff) {
            let at = command.qword(6) + 16 * range;
            let blocks = u64::from(self.window.read_u32(at + 4)) << shift;
            let start = self.window.read_u64(at + 8) << shift;
            let (start, end) = (start as usize, start.saturating_add(blocks) as usize);
            match self.disks[disk].get_mut(start..end) {
                Some(part) => part.fill(0),
                None => return OUT_OF_RANGE,
            }
        }
        SUCCESS
    }
}
