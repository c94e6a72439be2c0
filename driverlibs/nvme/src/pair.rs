//! A submission queue and its completion queue (NVMe §3.3.1 "Memory-based Transport Queue Model").
//!
//! **Invariants: at most `entries − 1` commands are under way, so that neither ring overruns** (each completion shows that
//! its command was fetched, so a slot is only used again after its command was); **a completion is read only where its
//! phase says that it is new, by one load.** Heads that the device reports are checked and not used.

use core::sync::atomic::{Ordering, fence};

use weir_hal::{Device, DmaWindow, Iova, Register, RegisterOf};
use weir_ring::{Position, SharedRing};

use crate::desc::{Answer, COMPLETION_WORDS, Command};
use crate::regs::Doorbells;
use crate::{Error, Violation};

pub(crate) struct Pair<D: Device> {
    id: u16,
    entries: u16,
    commands: SharedRing<Command>,
    completions: SharedRing<u64>,
    /// Commands written so far, and those that the device was told of.
    tail: Position,
    told_tail: Position,
    /// Completions read so far, and those that the device was told of.
    head: Position,
    told_head: Position,
    tail_doorbell: RegisterOf<D, u32>,
    head_doorbell: RegisterOf<D, u32>,
}

impl<D: Device> Pair<D> {
    /// Allocates the rings of queue `id`; `entries` is a power of two. Empty, and unknown to the device.
    pub(crate) fn new(
        window: &impl DmaWindow,
        doorbells: &Doorbells<D>,
        id: u16,
        entries: u16,
    ) -> Result<Pair<D>, Error> {
        let mut commands = window.allocate(SharedRing::<Command>::bytes(entries))?;
        let words = entries * COMPLETION_WORDS;
        let mut completions = window.allocate(SharedRing::<u64>::bytes(words))?;
        Ok(Pair {
            id,
            entries,
            commands: SharedRing::take_from(&mut commands, entries)?,
            completions: SharedRing::take_from(&mut completions, words)?,
            tail: Position::default(),
            told_tail: Position::default(),
            head: Position::default(),
            told_head: Position::default(),
            tail_doorbell: doorbells.tail(id)?,
            head_doorbell: doorbells.head(id)?,
        })
    }

    /// Makes it as new for a device that has been reset.
    pub(crate) fn empty(&mut self) {
        (self.tail, self.told_tail) = (Position::default(), Position::default());
        (self.head, self.told_head) = (Position::default(), Position::default());
        for entry in 0..self.entries {
            self.completions.store(COMPLETION_WORDS * entry + 1, Answer::new().into_bits());
        }
    }

    pub(crate) fn id(&self) -> u16 {
        self.id
    }

    pub(crate) fn entries(&self) -> u16 {
        self.entries
    }

    /// Where the device finds the commands.
    pub(crate) fn commands(&self) -> Iova {
        self.commands.iova()
    }

    /// Where the device finds the completions.
    pub(crate) fn completions(&self) -> Iova {
        self.completions.iova()
    }

    /// Writes a command, unknown to the device until [`Pair::publish`]. The caller has fewer than `entries − 1` under way.
    #[inline]
    pub(crate) fn push(&mut self, command: Command) {
        self.commands.store(self.tail.0, command);
        self.tail = self.tail.plus(1);
    }

    /// Tells the device of the commands written since the last time: one doorbell.
    #[inline]
    pub(crate) fn publish(&mut self) {
        if self.tail != self.told_tail {
            self.told_tail = self.tail;
            self.tail_doorbell.write(self.slot(self.tail));
        }
    }

    /// Whether a completion waits. No check but the phase.
    #[inline]
    pub(crate) fn has_next(&self) -> bool {
        self.peek().is_some()
    }

    /// The next completion, if it is there. What it says of data is true from here on.
    #[inline]
    pub(crate) fn next(&mut self) -> Result<Option<Answer>, Violation> {
        let Some(answer) = self.peek() else { return Ok(None) };
        // Data, and the first word of the completion, were written before the phase.
        fence(Ordering::Acquire);
        if answer.queue() != self.id {
            return Err(Violation::QueueId { queue: answer.queue(), expected: self.id });
        }
        if answer.head() >= self.entries {
            return Err(Violation::Head { head: answer.head(), entries: self.entries });
        }
        self.head = self.head.plus(1);
        Ok(Some(answer))
    }

    /// First word of the completion that [`Pair::next`] gave last.
    pub(crate) fn result(&self) -> u64 {
        self.completions.load(COMPLETION_WORDS.wrapping_mul(self.head.minus(1).0))
    }

    /// Tells the device of the completions read since the last time: one doorbell.
    #[inline]
    pub(crate) fn acknowledge(&mut self) {
        if self.head != self.told_head {
            self.told_head = self.head;
            self.head_doorbell.write(self.slot(self.head));
        }
    }

    #[inline]
    fn peek(&self) -> Option<Answer> {
        let word = self.completions.load(COMPLETION_WORDS.wrapping_mul(self.head.0).wrapping_add(1));
        let answer = Answer::from_bits(word);
        // Memory starts as 0, so the first pass writes 1. Positions wrap after an even number of passes.
        let is_odd_pass = self.head.0 & self.entries != 0;
        (answer.phase() != is_odd_pass).then_some(answer)
    }

    #[inline]
    fn slot(&self, position: Position) -> u32 {
        u32::from(position.0 & (self.entries - 1))
    }
}
