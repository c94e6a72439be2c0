//! What applications are told about the machine, and what they may ask for ([`weir_board`]).
//!
//! **Invariant: nothing an application writes is read here but one byte, which means "start what the manifest lets you
//! ask for".**

use alloc::vec::Vec;

use weir_abi::start::Grant;
use weir_abi::{Error, Rights};
use weir_board::request::{REQUEST_AT, REQUEST_BYTES};
use weir_board::{Asked, BOARD_BYTES, Publisher, Snapshot};
use weir_rt::clock::now_ns;
use weir_rt::{Access, Mapping, Memory, Process, log};

/// The board.
pub(crate) struct Board {
    memory: Memory,
    window: Mapping,
    publisher: Publisher,
    /// That a snapshot did not fit was told.
    is_told: bool,
}

impl Board {
    pub(crate) fn create() -> Result<Board, Error> {
        let memory = Memory::create(BOARD_BYTES)?;
        let window = memory.map(Access::ReadWrite)?;
        Ok(Board { memory, window, publisher: Publisher::default(), is_told: false })
    }

    /// Lets `process` read it, as `status`.
    pub(crate) fn grant(&self, process: &Process, grants: &mut Vec<Grant>) -> Result<(), Error> {
        let handle = process.give(&self.memory, Rights::READ)?;
        grants.push(Grant { name: "status".into(), handle });
        Ok(())
    }

    pub(crate) fn publish(&mut self, snapshot: &Snapshot) {
        let result = self.publisher.publish(snapshot, |offset, bytes| self.window.write(offset, bytes));
        if let Err(error) = result
            && !self.is_told
        {
            self.is_told = true;
            log!("status is not published: {error}");
        }
    }
}

/// The word by which one life of an application asks.
pub(crate) struct Request {
    window: Mapping,
    asked: Asked,
}

impl Request {
    /// Makes it and grants it as `request`.
    pub(crate) fn grant(process: &Process, grants: &mut Vec<Grant>) -> Result<Request, Error> {
        let memory = Memory::create(REQUEST_BYTES)?;
        let handle = process.give(&memory, Rights::READ.union(Rights::WRITE))?;
        grants.push(Grant { name: "request".into(), handle });
        Ok(Request { window: memory.map(Access::Read)?, asked: Asked::default() })
    }

    /// Whether it asks now.
    pub(crate) fn is_heard(&mut self) -> bool {
        let mut byte = [0];
        self.window.read(REQUEST_AT, &mut byte).is_some() && self.asked.hears(byte[0], now_ns())
    }
}
