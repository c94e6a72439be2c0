//! Mailboxes between a physical function and its virtual ones (82576 §7.10.2.9), from either side: the other end is a
//! script.

use super::{Gigabit, MAC};

/// A virtual function's end; the memory.
pub(super) const END: u64 = 0x0c40;
const MEMORY: u64 = 0x0800;
/// Bits of that end: a request, an answer taken, use of the memory, a message, taken; the physical function is reset.
const REQUEST: u32 = 1;
const TAKES: u32 = 1 << 1;
const USES: u32 = 1 << 2;
const HAS_MESSAGE: u32 = 1 << 4;
const WAS_TAKEN: u32 = 1 << 5;
const IN_RESET: u32 = 1 << 6;
/// Not a register: the virtual function may send and receive.
pub(super) const LEAVE: u64 = 0xffff_0000;
/// Not registers: the physical function keeps the memory; answers that were taken.
const KEPT: u64 = 0xffff_0004;
const TAKEN: u64 = 0xffff_0008;
/// Registers of the physical function that writing 1 clears: functions that were reset, requests.
pub(super) const CLEARED_BY_ONE: [u64; 2] = [0x0c88, 0x0c80];
const GRANTED: u32 = 1 << 31;
const REFUSED: u32 = 1 << 30;

/// What the physical function's owner says to every request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answers {
    /// Yes.
    Grants,
    /// No.
    Refuses,
    /// Nothing.
    Silence,
    /// Something else than was asked.
    Nonsense,
    /// These words.
    Words([u32; 3]),
}

impl Gigabit {
    /// Makes the physical function's owner answer so from now on.
    pub fn set_answers(&mut self, answers: Answers) {
        self.answers = answers;
    }

    /// The physical function was reset: nothing of this one goes on.
    pub fn reset_physical(&mut self) {
        self.restart();
    }

    /// The physical function is being reset from now on, or no more.
    pub fn set_held_in_reset(&mut self, is_held: bool) {
        self.is_held_in_reset = is_held;
    }

    /// The physical function's owner keeps the mailbox's memory from now on, or gives it back.
    pub fn set_mailbox_kept(&mut self, is_kept: bool) {
        self.registers.insert(KEPT, is_kept.into());
    }

    /// The physical function's owner leaves a message that nobody asked for.
    pub fn leave_message(&mut self, words: [u32; 3]) {
        self.put_message(words);
    }

    /// How many answers the virtual function said it took.
    #[must_use]
    pub fn taken(&self) -> u32 {
        self.register(TAKEN)
    }

    /// The last request's words.
    #[must_use]
    pub fn request(&self) -> [u32; 3] {
        [0, 4, 8].map(|at| self.register(0xffff_1000 + at))
    }

    /// To a physical function: virtual function `number` was reset.
    pub fn virtual_reset(&mut self, number: u64) {
        let set = self.register(CLEARED_BY_ONE[0]) | 1 << number;
        self.registers.insert(CLEARED_BY_ONE[0], set);
    }

    /// To a physical function: from now on each request is of a function that was reset just before, which shows when the
    /// request is taken, and not earlier.
    pub fn set_late_resets(&mut self, are_late: bool) {
        self.has_late_resets = are_late;
    }

    /// The physical function's end of mailbox `number` was written.
    pub(super) fn written_by_physical(&mut self, number: u64, value: u32) {
        if self.has_late_resets && value & TAKES != 0 {
            self.virtual_reset(number);
        }
    }

    /// To a physical function: virtual function `number` asks.
    pub fn virtual_request(&mut self, number: u64, words: &[u32]) {
        for (at, word) in (MEMORY + 0x40 * number..).step_by(4).zip(words) {
            self.registers.insert(at, *word);
        }
        let set = self.register(CLEARED_BY_ONE[1]) | 1 << number;
        self.registers.insert(CLEARED_BY_ONE[1], set);
    }

    /// What a physical function left in a mailbox; `None` where it did not say that there is something.
    #[must_use]
    pub fn virtual_answer(&self, number: u64) -> Option<[u32; 3]> {
        let end = self.register(0x0c00 + 4 * number);
        let memory = MEMORY + 0x40 * number;
        (end & 1 != 0).then(|| [0, 4, 8].map(|at| self.register(memory + at)))
    }

    /// A register, for what a test wants to see.
    #[must_use]
    pub fn peek(&self, offset: u64) -> u32 {
        self.register(offset)
    }

    pub(super) fn read_mailbox(&mut self) -> u32 {
        let value = self.register(END);
        self.registers.insert(END, value & !(HAS_MESSAGE | WAS_TAKEN));
        value | if self.is_held_in_reset { IN_RESET } else { 0 }
    }

    pub(super) fn write_mailbox(&mut self, value: u32) {
        let told = self.register(END) & (HAS_MESSAGE | WAS_TAKEN);
        let uses = if self.register(KEPT) == 0 { value & USES } else { 0 };
        self.registers.insert(END, told | uses);
        if value & TAKES != 0 {
            self.count(TAKEN, 1);
        }
        if value & REQUEST != 0 {
            self.answer();
        }
    }

    fn answer(&mut self) {
        let head = self.register(MEMORY);
        for at in [0, 4, 8] {
            let word = self.register(MEMORY + at);
            self.registers.insert(0xffff_1000 + at, word);
        }
        let [a, b, c, d, e, f] = MAC;
        let with = |head| [head, u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, 0, 0])];
        let words = match self.answers {
            Answers::Silence => return,
            Answers::Grants => with(head | GRANTED),
            Answers::Refuses => with(head | REFUSED),
            Answers::Nonsense => with(head ^ 3 | GRANTED),
            Answers::Words(words) => words,
        };
        if self.answers == Answers::Grants && head & 0xffff == 1 {
            self.registers.insert(LEAVE, 1);
        }
        self.put_message(words);
    }

    fn put_message(&mut self, words: [u32; 3]) {
        for (at, word) in (MEMORY..).step_by(4).zip(words) {
            self.registers.insert(at, word);
        }
        let end = self.register(END) | HAS_MESSAGE | WAS_TAKEN;
        self.registers.insert(END, end);
    }
}
