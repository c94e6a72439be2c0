//! The global command and status registers.
//!
//! **Invariant: commands go out one at a time, each confirmed before the next** (VT-d 5.10 §6.9 "Hardware Register
//! Programming Considerations").

use super::registers::{FSTS, FaultStatus, GCMD, GSTS, Global};
use crate::environment::{Clock, Registers, TableMemory};
use crate::error::{Result, Wait};
use crate::hardware::{COMMAND_LIMIT_US, Hardware};

impl<R: Registers, M: TableMemory, C: Clock> Hardware<R, M, C> {
    pub(crate) fn status(&self) -> Global {
        Global::from_bits(self.registers.read32(GSTS))
    }

    pub(crate) fn fault_status(&self) -> FaultStatus {
        FaultStatus::from_bits(self.registers.read32(FSTS))
    }

    /// Changes one bit of the global command and waits until the status shows `done`.
    pub(crate) fn command(
        &mut self,
        what: Wait,
        change: impl FnOnce(Global) -> Global,
        done: impl Fn(Global) -> bool,
    ) -> Result<()> {
        let command = change(self.status().persistent());
        self.registers.write32(GCMD, command.into_bits());
        self.wait_until(what, COMMAND_LIMIT_US, |hardware| Ok(done(hardware.status())))
    }

    /// Pushes table writes through the unit's write buffer, where it has one
    /// (VT-d 5.10 §6.8 "Write Buffer Flushing").
    pub(crate) fn flush_write_buffer(&mut self) -> Result<()> {
        if !self.needs_write_buffer_flush {
            return Ok(());
        }
        self.command(Wait::WriteBufferFlushed, |global| global.with_wbf(true), |status| !status.wbf())
    }
}
