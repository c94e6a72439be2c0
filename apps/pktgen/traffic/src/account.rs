//! What became of each probe.
//!
//! **Invariant: a probe counts as answered once, and what was sent is either answered or lost.** A bit for each of the last
//! [`WINDOW`] probes says whether it was answered.

use alloc::boxed::Box;
use alloc::vec;
use core::fmt;

/// How far back an answer may be: one to an earlier probe is no use any more, and its probe counts as lost.
pub const WINDOW: u64 = 1 << 20;
const WORDS: usize = (WINDOW / 64) as usize;

/// Numbers of probes and of answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Probes sent.
    pub sent: u64,
    /// Probes answered.
    pub answered: u64,
    /// Answers to a probe that had been answered.
    pub duplicate: u64,
    /// First answers that came after the answer to a later probe.
    pub reordered: u64,
    /// Answers in which something was wrong. Their probes are lost, unless another answer comes.
    pub damaged: u64,
    /// Answers to no probe, or to one that was sent too long ago.
    pub stray: u64,
}

impl Counts {
    /// Probes without an answer so far.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.sent - self.answered
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counts { sent, answered, duplicate, reordered, damaged, stray } = self;
        write!(f, "{sent} probes sent, {answered} answered, {} lost, {duplicate} duplicate, ", self.lost())?;
        write!(f, "{reordered} reordered, {damaged} damaged, {stray} stray")
    }
}

/// The account of a run.
#[derive(Debug)]
pub struct Account {
    counts: Counts,
    is_answered: Box<[u64]>,
    /// The latest probe that was answered.
    latest: Option<u64>,
}

impl Default for Account {
    fn default() -> Account {
        Account { counts: Counts::default(), is_answered: vec![0; WORDS].into_boxed_slice(), latest: None }
    }
}

impl Account {
    /// The next probe is sent; gives its number, from 0.
    #[inline]
    pub fn send(&mut self) -> u64 {
        let sequence = self.counts.sent;
        let (word, bit) = self.place(sequence);
        *word &= !bit;
        self.counts.sent += 1;
        sequence
    }

    /// Probe `sequence` was answered; whether this was its first answer.
    #[inline]
    pub fn answer(&mut self, sequence: u64) -> bool {
        let age = self.counts.sent.checked_sub(sequence);
        if !age.is_some_and(|age| (1..=WINDOW).contains(&age)) {
            self.counts.stray += 1;
            return false;
        }
        let (word, bit) = self.place(sequence);
        if *word & bit != 0 {
            self.counts.duplicate += 1;
            return false;
        }
        *word |= bit;
        self.counts.answered += 1;
        match self.latest {
            Some(latest) if latest > sequence => self.counts.reordered += 1,
            _ => self.latest = Some(sequence),
        }
        true
    }

    /// An answer was damaged.
    pub fn damage(&mut self) {
        self.counts.damaged += 1;
    }

    /// An answer is to no probe.
    pub fn stray(&mut self) {
        self.counts.stray += 1;
    }

    /// How things stand.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts
    }

    #[inline]
    fn place(&mut self, sequence: u64) -> (&mut u64, u64) {
        let at = sequence % WINDOW;
        // As many words as bits of a window.
        let word = usize::try_from(at / 64).unwrap_or(0);
        (&mut self.is_answered[word], 1 << (at % 64))
    }
}
