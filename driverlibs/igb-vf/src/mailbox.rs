//! Asking the physical function's owner.
//!
//! **Invariant: every wait is bounded, and an answer is one to the request that was made.** It is a program, which may be
//! busy, gone or hostile.

use weir_gigabit::{Error, Registers};
use weir_hal::{Clock, Error as HostError, Mmio};
use weir_igb::message::Head;

use crate::regs::{MAILBOX, MAILBOX_MEMORY, Mailbox};

/// How long its owner may take to answer: it may sleep, or wait for a processor.
const ANSWER_LIMIT_US: u64 = 5_000_000;
/// Words of an answer that mean something.
pub(crate) const ANSWER_WORDS: usize = 3;

/// Makes a request and gives the answer, without its head.
///
/// # Errors
/// `TimedOut` where nobody answers, `Gone`; `NotPermitted` where the answer is no, or is none to this request.
pub(crate) fn ask<M: Mmio>(
    regs: &Registers<M>,
    clock: &impl Clock,
    head: Head,
    words: &[u32],
) -> Result<[u32; ANSWER_WORDS - 1], Error> {
    // Whatever came before is no answer to this: reading clears it.
    regs.read::<Mailbox>(MAILBOX)?;
    regs.wait(clock, ANSWER_LIMIT_US, |regs| {
        regs.write(MAILBOX, Mailbox::new().with_is_ours(true))?;
        Ok(regs.read::<Mailbox>(MAILBOX)?.is_ours())
    })?;
    for (offset, word) in (MAILBOX_MEMORY..).step_by(4).zip([head.into_bits()].iter().chain(words)) {
        regs.write(offset, *word)?;
    }
    regs.write(MAILBOX, Mailbox::new().with_sends(true))?;
    regs.wait(clock, ANSWER_LIMIT_US, |regs| Ok(regs.read::<Mailbox>(MAILBOX)?.has_message()))?;
    let mut answer = [0; ANSWER_WORDS];
    for (offset, word) in (MAILBOX_MEMORY..).step_by(4).zip(&mut answer) {
        *word = regs.read(offset)?;
    }
    regs.write(MAILBOX, Mailbox::new().with_acknowledges(true))?;
    let [first, low, high] = answer;
    let first = Head::from_bits(first);
    if first.kind() != head.kind() || first.is_refused() || !first.is_granted() {
        return Err(HostError::NotPermitted.into());
    }
    Ok([low, high])
}

/// Waits until the physical function is not being reset.
///
/// # Errors
/// `TimedOut`, `Gone`.
pub(crate) fn await_physical<M: Mmio>(regs: &Registers<M>, clock: &impl Clock) -> Result<(), Error> {
    regs.wait(clock, ANSWER_LIMIT_US, |regs| Ok(!regs.read::<Mailbox>(MAILBOX)?.is_reset()))
}
