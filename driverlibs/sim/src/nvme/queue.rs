//! The controller's side of a pair of queues (NVMe §3.3.1 "Memory-based Transport Queue Model").

use crate::SimWindow;

/// A submission queue and its completion queue, of the same number.
#[derive(Clone, Default)]
pub(super) struct Queue {
    pub(super) commands: u64,
    pub(super) command_entries: u16,
    pub(super) completions: u64,
    pub(super) completion_entries: u16,
    pub(super) vector: Option<u16>,
    /// Submission queue: next to fetch, and what the driver's doorbell said.
    pub(super) head: u16,
    pub(super) tail: u16,
    /// Completion queue: next to write, the driver's doorbell, and the phase of the pass.
    pub(super) posted: u16,
    pub(super) acknowledged: u16,
    pub(super) is_odd_pass: bool,
    /// Commands that are done: CID, status, result.
    pub(super) finished: Vec<(u16, u16, u32)>,
    /// Commands that were swallowed.
    pub(super) stalled: Vec<u16>,
}

/// A command, as 16 dwords.
#[derive(Clone, Copy, Debug)]
pub(super) struct Command(pub(super) [u32; 16]);

impl Command {
    pub(super) fn opcode(&self) -> u32 {
        self.0[0] & 0xff
    }

    pub(super) fn cid(&self) -> u16 {
        u16::try_from(self.0[0] >> 16).expect("16 bits")
    }

    pub(super) fn namespace(&self) -> u32 {
        self.0[1]
    }

    pub(super) fn dword(&self, number: usize) -> u32 {
        self.0[number]
    }

    pub(super) fn qword(&self, number: usize) -> u64 {
        u64::from(self.0[number]) | u64::from(self.0[number + 1]) << 32
    }
}

impl Queue {
    /// Fetches the next command.
    pub(super) fn fetch(&mut self, window: &SimWindow) -> Option<Command> {
        if self.head == self.tail || self.command_entries == 0 {
            return None;
        }
        let at = self.commands + 64 * u64::from(self.head);
        let dwords = std::array::from_fn(|number| window.read_u32(at + 4 * number as u64));
        self.head = (self.head + 1) % self.command_entries;
        Some(Command(dwords))
    }

    pub(super) fn finish(&mut self, cid: u16, status: u16, result: u32) {
        self.finished.push((cid, status, result));
    }

    pub(super) fn has_room(&self) -> bool {
        self.completion_entries != 0 && (self.posted + 1) % self.completion_entries != self.acknowledged
    }

    /// Writes a completion: the first half, then the second with the phase.
    pub(super) fn post(&mut self, window: &SimWindow, first: u64, second: u64) {
        let at = self.completions + 16 * u64::from(self.posted);
        let phase = u64::from(!self.is_odd_pass) << 48;
        window.write(at, &first.to_le_bytes());
        window.write(at + 8, &(second & !(1 << 48) | phase).to_le_bytes());
        self.posted = (self.posted + 1) % self.completion_entries.max(1);
        self.is_odd_pass ^= self.posted == 0;
    }
}
