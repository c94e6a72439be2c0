//! One unit's registers, table memory and clock together, and the way to wait for the unit.
//!
//! **Invariant: every wait is bounded.**

use crate::environment::{Clock, Registers, TableMemory};
use crate::error::{Error, Result, Wait};
use crate::tables::Tables;

/// Longest wait for a command bit, in microseconds. Units answer within a few.
pub(crate) const COMMAND_LIMIT_US: u64 = 10_000;
/// Longest wait for one invalidation with draining, in microseconds.
pub(crate) const INVALIDATION_LIMIT_US: u64 = 100_000;

pub(crate) struct Hardware<R, M, C> {
    pub(crate) registers: R,
    pub(crate) tables: Tables<M>,
    pub(crate) clock: C,
    /// VT-d CAP.RWBF: writes to tables may sit in a buffer until told to go on.
    pub(crate) needs_write_buffer_flush: bool,
}

impl<R: Registers, M: TableMemory, C: Clock> Hardware<R, M, C> {
    /// Polls `done` until it holds, fails, or `limit_us` microseconds have passed.
    pub(crate) fn wait_until(
        &mut self,
        what: Wait,
        limit_us: u64,
        mut done: impl FnMut(&mut Self) -> Result<bool>,
    ) -> Result<()> {
        let start_us = self.clock.now_us();
        loop {
            // The time is read first: having been kept from looking is not the unit's fault.
            let is_late = self.clock.now_us().saturating_sub(start_us) >= limit_us;
            if done(self)? {
                return Ok(());
            }
            if is_late {
                return Err(Error::Timeout { what, limit_us });
            }
            self.clock.spin();
        }
    }
}
