//! Transmitting.

use core::marker::PhantomData;
use core::sync::atomic::{Ordering, fence};

use weir_hal::{Clock, Device, DmaWindow, Iova};
use weir_nic::TxOffload;
use weir_pool::{Buf, Burst, Pool};
use weir_ring::{LocalRing, Position};

use crate::ring::{Desc, DescRing};
use crate::{Chip, Error, FRAME_LONG_BYTES, FRAME_MAX_BYTES, FRAME_MIN_BYTES, Registers};

/// Most buffers of a frame.
const PARTS_MAX: u16 = 16;

/// The transmit queue. It raises no interrupts: sent buffers are collected when room is needed.
///
/// Only the last frame of a burst is reported by the device, which works in order: one look tells of the whole burst.
/// A device that lies about that reuses buffers of its own owner too early, and harms nobody else.
pub struct TxQueue<D: Device, C: Chip> {
    queue: u16,
    ring: DescRing<D>,
    /// Where the burst ends that begins at a slot.
    ends: LocalRing<Position>,
    /// Second word of the newest descriptor.
    newest: u64,
    /// Longest frame.
    frame_max: u16,
    /// What the device was told of checksums last.
    context: Option<[u64; 2]>,
    chip: PhantomData<C>,
}

impl<D: Device, C: Chip> TxQueue<D, C> {
    /// Makes transmit queue `queue`, with `entries` descriptors; the device does not know of it yet. `is_long`: for frames of
    /// up to [`FRAME_LONG_BYTES`].
    ///
    /// # Errors
    /// `BadRing`, and the host's.
    pub fn new(
        regs: &Registers<D::Mmio>,
        window: &impl DmaWindow,
        queue: u16,
        entries: u16,
        is_long: bool,
    ) -> Result<TxQueue<D, C>, Error> {
        let ring = DescRing::new(window, regs, C::tx(queue), entries)?;
        let ends = LocalRing::new(entries, |_| Position::default()).ok_or(Error::BadRing { entries })?;
        let frame_max = if is_long { FRAME_LONG_BYTES } else { FRAME_MAX_BYTES };
        Ok(TxQueue { queue, ring, ends, newest: 0, frame_max, context: None, chip: PhantomData })
    }

    /// Tells a device that has been reset of the queue, and enables it.
    ///
    /// # Errors
    /// `Gone`, `TimedOut`.
    pub fn announce(&self, regs: &Registers<D::Mmio>, clock: &impl Clock) -> Result<(), Error> {
        self.ring.announce(regs, C::tx(self.queue))?;
        C::enable_tx(regs, self.queue, clock)
    }

    /// Takes back what a device had that has been reset.
    pub fn empty(&mut self, pool: &mut Pool) {
        self.ring.empty(pool);
        self.context = None;
    }

    /// Fills in descriptors for frames that need one each, up to the first that needs more, or cannot be sent. Gives how many.
    ///
    /// # Errors
    /// `BadBuffer`.
    #[inline]
    fn add_short_frames<const N: usize>(
        &mut self,
        pool: &Pool,
        burst: &mut Burst<N>,
        offload: &mut impl FnMut(&Buf) -> TxOffload,
    ) -> Result<usize, Error> {
        let (mut count, mut newest, mut is_foreign) = (0, self.newest, false);
        self.ring.add(self.ring.room(), || {
            let front = burst.front()?;
            let more = match context_of::<C>(front, offload(front)) {
                Ok(None) => 0,
                Ok(context) if context == self.context => C::CHECKSUM,
                _ => return None,
            };
            let len = front.len();
            // A longer one that lies in one buffer is rare, too: a constant costs less.
            let is_short = !front.continues() && (FRAME_MIN_BYTES..=FRAME_MAX_BYTES).contains(&len);
            if !is_short {
                return None;
            }
            let Ok((buffer, addr)) = pool.lend(burst.pop()?) else {
                is_foreign = true;
                return None;
            };
            newest = C::send(len, len, true) | more;
            count += 1;
            Some(Desc { buffer: Some(buffer), words: [addr.0, newest] })
        });
        self.newest = newest;
        if is_foreign { Err(Error::BadBuffer) } else { Ok(count) }
    }

    /// Fills in descriptors for the first frame, which needs several: it lies in several buffers, or the device must hear of
    /// its checksum before. `false` where the ring has no room for them.
    #[cold]
    fn add_long_frame<const N: usize>(
        &mut self,
        pool: &mut Pool,
        burst: &mut Burst<N>,
        offload: &mut impl FnMut(&Buf) -> TxOffload,
    ) -> Result<bool, Error> {
        let Some(front) = burst.front() else { return Ok(false) };
        let context = context_of::<C>(front, offload(front));
        let (parts, len, context) = match (self.measure(pool, burst), context) {
            (Ok((parts, len)), Ok(context)) => (parts, len, context),
            (Err(error), _) | (_, Err(error)) => {
                discard(pool, burst);
                return Err(error);
            }
        };
        let is_news = context.is_some() && context != self.context;
        let needed = parts + u16::from(is_news);
        if self.ring.room() < needed {
            self.reclaim(pool);
        }
        if self.ring.room() < needed {
            return Ok(false);
        }
        if is_news {
            self.context = context;
            self.ring.add(1, || context.map(|words| Desc { buffer: None, words }));
        }
        let more = if context.is_some() { C::CHECKSUM } else { 0 };
        let mut frame_len = len;
        self.ring.add(parts, || {
            let buf = burst.pop()?;
            self.newest = C::send(buf.len(), frame_len, !buf.continues()) | more;
            frame_len = 0;
            let (buffer, addr) = pool.lend(buf).ok()?;
            Some(Desc { buffer: Some(buffer), words: [addr.0, self.newest] })
        });
        Ok(true)
    }

    /// How many buffers the first frame lies in, and its bytes.
    fn measure<const N: usize>(&self, pool: &Pool, burst: &Burst<N>) -> Result<(u16, u16), Error> {
        // One descriptor stays free, and one may be needed for the checksum.
        let most = PARTS_MAX.min(self.ring.entries() - 2);
        let mut len = 0u16;
        for (parts, buf) in (1..=most).zip(burst.iter()) {
            if !pool.has(buf) {
                return Err(Error::BadBuffer);
            }
            len = len.saturating_add(buf.len());
            if buf.is_empty() || !(FRAME_MIN_BYTES..=self.frame_max).contains(&len) {
                break;
            }
            if !buf.continues() {
                return Ok((parts, len));
            }
        }
        Err(Error::BadFrame { len })
    }

    /// Makes what was added a burst, and tells the device.
    #[inline]
    fn publish(&mut self) {
        if self.ring.added != self.ring.published {
            self.ring.amend(self.ring.added.minus(1), self.newest | C::REPORT);
            *self.ends.at(self.ring.published.0) = self.ring.added;
            self.ring.publish();
        }
    }

    /// Takes back the buffers that have been sent.
    #[inline]
    pub fn reclaim(&mut self, pool: &mut Pool) {
        let mut end = self.ring.taken;
        while end != self.ring.published {
            let next = *self.ends.at(end.0);
            if !C::is_sent(self.ring.word(next.minus(1))) {
                break;
            }
            end = next;
        }
        // The device read the frames before it wrote the words.
        fence(Ordering::Acquire);
        self.ring.take_until(end, |buffer| pool.put(buffer.complete_empty()));
    }

    /// How many descriptors the device has not given back yet, as far as was looked.
    #[must_use]
    pub fn in_flight(&self) -> u16 {
        self.ring.in_flight()
    }
}

impl<D: Device, C: Chip> weir_nic::TxQueue for TxQueue<D, C> {
    type Error = Error;

    /// Of a frame that did not fit, or is the first of its kind, `offload` is asked more than once.
    #[inline]
    fn transmit_with<const N: usize>(
        &mut self,
        pool: &mut Pool,
        burst: &mut Burst<N>,
        mut offload: impl FnMut(&Buf) -> TxOffload,
    ) -> Result<usize, Error> {
        if usize::from(self.ring.room()) < burst.len() {
            self.reclaim(pool);
        }
        let mut result = self.add_short_frames(pool, burst, &mut offload);
        while let Ok(count) = result
            && !burst.is_empty()
            && self.ring.room() > 0
        {
            result = match self.add_long_frame(pool, burst, &mut offload) {
                Ok(true) => self.add_short_frames(pool, burst, &mut offload).map(|short| count + 1 + short),
                Ok(false) => break,
                Err(error) => Err(error),
            };
        }
        self.publish();
        result
    }

    #[inline]
    fn reclaim(&mut self, pool: &mut Pool) -> Result<(), Error> {
        TxQueue::reclaim(self, pool);
        Ok(())
    }

    fn send_wrong_address(&mut self, pool: &mut Pool, iova: Iova, len: u16) -> Result<bool, Error> {
        if self.ring.room() == 0 {
            self.reclaim(pool);
        }
        if self.ring.room() == 0 {
            return Ok(false);
        }
        let Some((buffer, _)) = pool.lend_fresh() else { return Ok(false) };
        self.newest = C::send(len, len, true);
        let mut desc = Some(Desc { buffer: Some(buffer), words: [iova.0, self.newest] });
        self.ring.add(1, || desc.take());
        self.publish();
        Ok(true)
    }
}

/// What the device must know to do what is asked for a frame that begins in `front`; `None` where that is nothing.
#[inline]
fn context_of<C: Chip>(front: &Buf, offload: TxOffload) -> Result<Option<[u64; 2]>, Error> {
    if offload.segments.is_some() {
        return Err(Error::BadOffload);
    }
    let Some(checksum) = offload.checksum else { return Ok(None) };
    let end = u32::from(checksum.start) + u32::from(checksum.offset) + 2;
    let context = C::context(checksum).filter(|_| end <= front.len().into());
    context.map(Some).ok_or(Error::BadOffload)
}

/// Takes the first frame out of `burst`.
fn discard<const N: usize>(pool: &mut Pool, burst: &mut Burst<N>) {
    while let Some(buf) = burst.pop() {
        let continues = buf.continues();
        // One of another pool is lost.
        if pool.has(&buf) {
            pool.put(buf);
        }
        if !continues {
            break;
        }
    }
}
