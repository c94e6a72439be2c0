//! One end of a channel: a ring each way, and the right to ring the neighbour's bell.

use core::num::NonZeroU8;

use weir_pool::{Burst, Pool, Refused};

use crate::cells::Cells;
use crate::ring::{Consumer, Producer};
use crate::{Desc, PeerCorrupt};

/// Wakes the other side.
pub trait Bell {
    /// Wakes it. That it is gone meanwhile is no matter: somebody else tells.
    fn ring(&self);
}

/// What a program's pool calls the owner of the channel's other end.
pub type Neighbour = NonZeroU8;

/// One end of a channel. Its calls never wait.
///
/// **Invariant: after a violation nothing is read, written or taken until [`End::reset`].**
pub struct End<C, B> {
    out: Producer<C>,
    back: Consumer<C>,
    neighbour: Neighbour,
    bell: B,
    violation: Option<PeerCorrupt>,
    is_news: bool,
}

impl<C: Cells, B: Bell> End<C, B> {
    /// An end that writes to `out` and reads from `back`. `neighbour` names the other side in the pool's record.
    pub fn new(out: C, back: C, neighbour: Neighbour, bell: B) -> End<C, B> {
        End {
            out: Producer::new(out),
            back: Consumer::new(back),
            neighbour,
            bell,
            violation: None,
            is_news: false,
        }
    }

    /// How the pool's record calls the other side.
    #[must_use]
    pub fn neighbour(&self) -> Neighbour {
        self.neighbour
    }

    /// The bell, to be hung anew.
    pub fn bell_mut(&mut self) -> &mut B {
        &mut self.bell
    }

    /// Begins again with empty rings; what the neighbour still has, stays with it until [`Pool::reclaim`]. Of
    /// `generation`, rings know the lower half.
    #[expect(clippy::cast_possible_truncation, reason = "enough to tell one from those before and after it")]
    pub fn reset(&mut self, generation: u64) {
        (self.violation, self.is_news) = (None, false);
        self.out.reset(generation as u32);
        self.back.reset(generation as u32);
    }

    /// Sends buffers from the front of `burst`, as many as the ring takes; the others stay. Returns how many. Enters the
    /// kernel only if the other side sleeps.
    ///
    /// # Errors
    /// The other side broke the protocol, now or earlier. A buffer of another pool ends the burst, and is dropped.
    #[inline]
    pub fn send<const N: usize>(
        &mut self,
        pool: &mut Pool,
        burst: &mut Burst<N>,
    ) -> Result<usize, PeerCorrupt> {
        let room = self.room(burst.len())?;
        let mut count = 0;
        while count < room
            && let Some(buf) = burst.pop()
        {
            let desc =
                Desc::new().with_start(buf.start()).with_bytes(buf.len()).with_continues(buf.continues());
            let Ok(number) = pool.lend_to(self.neighbour, buf) else { break };
            self.out.write(desc.with_number(number));
            count += 1;
        }
        self.publish();
        Ok(count)
    }

    /// Gives free buffers of the pool back to the other side, all but `keep` of them, as far as the ring takes them;
    /// returns how many.
    ///
    /// # Errors
    /// As [`End::send`].
    #[inline]
    pub fn give_back(&mut self, pool: &mut Pool, keep: usize) -> Result<usize, PeerCorrupt> {
        let surplus = pool.available().saturating_sub(keep);
        if surplus == 0 {
            return Ok(0);
        }
        let room = self.room(surplus)?;
        let mut count = 0;
        while count < room.min(surplus)
            && let Some(buf) = pool.take()
        {
            let Ok(number) = pool.lend_to(self.neighbour, buf) else { break };
            self.out.write(Desc::new().with_number(number));
            count += 1;
        }
        self.publish();
        Ok(count)
    }

    /// Appends the frames that have come to `burst`, while it has room; buffers that were given back go to the pool. Returns
    /// how many buffers came, of both kinds.
    ///
    /// # Errors
    /// The other side broke the protocol, now or earlier. What came before is good.
    #[inline]
    pub fn receive<const N: usize>(
        &mut self,
        pool: &mut Pool,
        burst: &mut Burst<N>,
    ) -> Result<usize, PeerCorrupt> {
        self.check()?;
        let mut count = 0;
        let result = loop {
            match self.back.available() {
                Ok(0) => break Ok(count),
                Ok(_) if burst.room() == 0 || count == MOST_AT_ONCE => break Ok(count),
                Ok(_) => {}
                Err(violation) => break self.fail(violation),
            }
            let desc = self.back.read();
            match pool.redeem(self.neighbour, desc.number(), desc.start(), desc.bytes()) {
                Ok(buf) if desc.bytes() == 0 => pool.put(buf),
                Ok(mut buf) => {
                    buf.set_continues(desc.continues());
                    // There is room, as was just asked.
                    burst.push(buf).unwrap_or_else(|buf| pool.put(buf));
                }
                Err(refused) => break self.fail(violation(refused, desc)),
            }
            count += 1;
        };
        self.back.release();
        result
    }

    /// Shows `keep` the frames that were sent and that the neighbour, which has ended, did not take; their buffers are here
    /// again. For before [`End::reset`]; one that the neighbour took without a word is shown, too.
    pub fn take_back(&mut self, pool: &mut Pool, mut keep: impl FnMut(&[u8])) {
        // Each is looked at once, so that this ends, whatever the neighbour writes meanwhile.
        while let Some(desc) = self.out.take_back() {
            // What it changed, and is no buffer of its own any more, is lost.
            if let Ok(buf) = pool.redeem(self.neighbour, desc.number(), desc.start(), desc.bytes()) {
                if !buf.is_empty() {
                    keep(buf.frame());
                }
                pool.put(buf);
            }
        }
    }

    /// Says that this side is about to sleep, and looks once more: `true` where it may. After it, sleeping or not,
    /// [`End::stay_awake`].
    ///
    /// # Errors
    /// As [`End::receive`].
    pub fn may_sleep(&mut self) -> Result<bool, PeerCorrupt> {
        self.check()?;
        let may = self.back.may_sleep();
        may.or_else(|violation| self.fail(violation))
    }

    /// Says that this side does not sleep.
    pub fn stay_awake(&mut self) {
        self.back.stay_awake();
    }

    /// Whether a violation was found that nobody has asked about here; says so once.
    pub fn take_news(&mut self) -> bool {
        core::mem::take(&mut self.is_news)
    }

    #[inline]
    fn room(&mut self, wanted: usize) -> Result<usize, PeerCorrupt> {
        self.check()?;
        let wanted = u32::try_from(wanted).unwrap_or(u32::MAX);
        match self.out.room(wanted) {
            Ok(room) => Ok(room as usize),
            Err(violation) => self.fail(violation),
        }
    }

    #[inline]
    fn publish(&mut self) {
        if self.out.publish() {
            self.bell.ring();
        }
    }

    #[inline]
    fn check(&self) -> Result<(), PeerCorrupt> {
        self.violation.map_or(Ok(()), Err)
    }

    #[cold]
    fn fail<T>(&mut self, violation: PeerCorrupt) -> Result<T, PeerCorrupt> {
        (self.violation, self.is_news) = (Some(violation), true);
        Err(violation)
    }
}

/// Most buffers taken at once: a neighbour that gives buffers back without end keeps nobody from other work.
const MOST_AT_ONCE: usize = 256;

#[cold]
fn violation(refused: Refused, desc: Desc) -> PeerCorrupt {
    let number = desc.number();
    match refused {
        Refused::NotTheirs => PeerCorrupt::NotTheirs { number },
        Refused::OutOfBuffer => PeerCorrupt::OutOfBuffer { number, start: desc.start(), len: desc.bytes() },
    }
}
