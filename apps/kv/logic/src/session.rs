//! One client's connection: bytes in, answers out.
//!
//! **Invariants: it keeps no more than a command that is not complete yet, within its limits; it takes no further command
//! while the output, or the journal, is longer than [`Limits::output_max_bytes`]**, so that a client that sends and does not
//! read makes nothing grow. Who sends changes to a log must have them there before the output goes out.

use alloc::vec::Vec;

use crate::command;
use crate::reply;
use crate::resp::Parser;
use crate::store::Store;

/// What a connection may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Most arguments of a command.
    pub args_max: usize,
    /// Longest argument, and longest value.
    pub bulk_max_bytes: usize,
    /// Longest command, and longest answer to one. Below 4 GiB.
    pub command_max_bytes: usize,
    /// With so much output no further command is taken.
    pub output_max_bytes: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            args_max: 4096,
            bulk_max_bytes: 1 << 20,
            command_max_bytes: 2 << 20,
            output_max_bytes: 64 << 10,
        }
    }
}

/// The connection is to be closed, after the output went out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Close {
    /// The client asked for it.
    Quit,
    /// The client broke the protocol.
    Protocol,
}

/// A connection.
#[derive(Debug)]
pub struct Session {
    limits: Limits,
    parser: Parser,
    /// The beginning of a command that is not complete.
    pending: Vec<u8>,
}

impl Session {
    /// A new one.
    #[must_use]
    pub const fn new(limits: Limits) -> Session {
        Session { limits, parser: Parser::new(), pending: Vec::new() }
    }

    /// Does the commands in `input`, which follows what was consumed before, and appends their answers to `output`. Gives how
    /// many bytes it consumed; the others are to be given again when the output went out. With an empty output that is one
    /// byte at least.
    ///
    /// # Errors
    /// It is over; the last answer is in `output`.
    pub fn feed(
        &mut self,
        store: &mut Store,
        now_ms: u64,
        input: &[u8],
        output: &mut Vec<u8>,
    ) -> Result<usize, Close> {
        store.sweep(now_ms);
        let mut used = 0;
        if !self.pending.is_empty() {
            used = self.complete(store, now_ms, input, output)?;
        }
        while used < input.len() && self.has_room(store, output) {
            let rest = &input[used..];
            match self.take(store, now_ms, rest, output)? {
                Some(len) => used += len,
                None => {
                    self.pending.extend_from_slice(rest);
                    used = input.len();
                }
            }
        }
        Ok(used)
    }

    /// Completes the pending command with the front of `input`; gives how many bytes of it that takes.
    fn complete(
        &mut self,
        store: &mut Store,
        now_ms: u64,
        input: &[u8],
        output: &mut Vec<u8>,
    ) -> Result<usize, Close> {
        let mut pending = core::mem::take(&mut self.pending);
        let before = pending.len();
        pending.extend_from_slice(input);
        match self.take(store, now_ms, &pending, output)? {
            Some(len) => {
                pending.clear();
                pending.shrink_to(self.limits.output_max_bytes);
                self.pending = pending;
                Ok(len - before)
            }
            None => {
                self.pending = pending;
                Ok(input.len())
            }
        }
    }

    /// Does the command at the front of `bytes`; gives its length, if all of it is there.
    fn take(
        &mut self,
        store: &mut Store,
        now_ms: u64,
        bytes: &[u8],
        output: &mut Vec<u8>,
    ) -> Result<Option<usize>, Close> {
        let len = match self.parser.parse(bytes, &self.limits) {
            Ok(Some(len)) => len,
            Ok(None) => return Ok(None),
            Err(error) => {
                reply::error(output, &error);
                return Err(Close::Protocol);
            }
        };
        let args = self.parser.args(bytes);
        let result =
            if args.len() == 0 { Ok(()) } else { command::run(store, now_ms, args, &self.limits, output) };
        self.parser.reset();
        result.map(|()| Some(len))
    }

    fn has_room(&self, store: &Store, output: &[u8]) -> bool {
        let most = self.limits.output_max_bytes;
        output.len() < most && store.changes().len() < most
    }
}
