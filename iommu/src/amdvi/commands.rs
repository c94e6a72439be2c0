//! The command buffer (48882 §2.4 "Commands").
//!
//! **Invariant: outside `run` the buffer is empty; `run` returns `Ok` only after the unit stored the word of a
//! COMPLETION_WAIT that follows every request, and has not stopped.** The head register is never asked: it moves
//! before a command is carried out.
//!
//! The buffer and the stored word are snooped by every unit: nothing depends on their being flushed.

mod command;

use super::registers::{COMMAND_BASE, COMMAND_HEAD, COMMAND_TAIL, RingBase, STATUS, Status};
use crate::address::PhysAddr;
use crate::environment::{Clock, Registers, TableMemory};
use crate::error::{Error, Result, Wait};
use crate::hardware::{Hardware, INVALIDATION_LIMIT_US};
use command::completion_wait;
pub(super) use command::{LARGEST_ORDER, Request};

/// Commands of 16 bytes in the one frame of the buffer.
const SLOTS: u64 = 256;
/// Requests that share one wait. Fewer than there are slots, so the tail never catches up with the head.
const BATCH: usize = 128;

pub(super) struct Commands {
    ring: PhysAddr,
    /// The word a COMPLETION_WAIT stores to.
    stored: PhysAddr,
    /// Next slot to fill.
    tail: u64,
    /// Last value the unit was asked to store.
    sequence: u64,
}

impl Commands {
    /// An empty buffer, told to a unit whose command processing is off.
    pub(super) fn new<R: Registers, M: TableMemory, C>(hardware: &mut Hardware<R, M, C>) -> Result<Self> {
        let ring = hardware.tables.alloc(1)?;
        let stored = hardware.tables.alloc(1).inspect_err(|_| hardware.tables.free(ring, 1))?;
        let mut commands = Commands { ring, stored, tail: 0, sequence: 0 };
        commands.reset(hardware);
        Ok(commands)
    }

    /// Forgets what was in the buffer; command processing must be off.
    pub(super) fn reset<R: Registers, M, C>(&mut self, hardware: &mut Hardware<R, M, C>) {
        self.tail = 0;
        hardware.registers.write64(COMMAND_BASE, RingBase::one_frame(self.ring).into_bits());
        hardware.registers.write64(COMMAND_HEAD, 0);
        hardware.registers.write64(COMMAND_TAIL, 0);
    }

    /// Has the unit carry out the requests, in any order, and waits for all of them.
    ///
    /// # Errors
    /// `Timeout`, `CommandError`: nothing is known about the unit's caches.
    pub(super) fn run<R: Registers, M: TableMemory, C: Clock>(
        &mut self,
        hardware: &mut Hardware<R, M, C>,
        requests: impl IntoIterator<Item = Request>,
    ) -> Result<()> {
        let mut requests = requests.into_iter().peekable();
        while requests.peek().is_some() {
            for request in requests.by_ref().take(BATCH) {
                self.push(hardware, request.command());
            }
            self.confirm(hardware)?;
        }
        Ok(())
    }

    /// Waits until the unit has carried out everything pushed.
    fn confirm<R: Registers, M: TableMemory, C: Clock>(
        &mut self,
        hardware: &mut Hardware<R, M, C>,
    ) -> Result<()> {
        self.sequence += 1;
        self.push(hardware, completion_wait(self.stored, self.sequence));
        hardware.registers.write64(COMMAND_TAIL, self.tail * 16);
        let (stored, sequence) = (self.stored, self.sequence);
        hardware.wait_until(Wait::Invalidated, INVALIDATION_LIMIT_US, |hardware| {
            // The word first: a unit that stopped before it stored is then seen stopped after it.
            let is_confirmed = hardware.tables.read64(stored) == sequence;
            let status = Status::from_bits(hardware.registers.read64(STATUS));
            if !status.commands_run() {
                #[expect(clippy::cast_possible_truncation, reason = "the low half is what is reported")]
                return Err(Error::CommandError { status: status.into_bits() as u32 });
            }
            Ok(is_confirmed)
        })
    }

    fn push<R, M: TableMemory, C>(&mut self, hardware: &Hardware<R, M, C>, command: [u64; 2]) {
        let [low, high] = command.map(u128::from);
        hardware.tables.write128(self.ring.offset(self.tail * 16), high << 64 | low);
        self.tail = (self.tail + 1) % SLOTS;
    }
}
