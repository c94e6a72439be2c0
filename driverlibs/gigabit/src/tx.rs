//! Transmitting.

use core::marker::PhantomData;
use core::sync::atomic::{Ordering, fence};

use weir_hal::{Clock, Device, DmaWindow, Iova};
use weir_pool::{Buf, Burst, Pool};
use weir_ring::{LocalRing, Position};

use crate::ring::{Desc, DescRing};
use crate::{Chip, Error, FRAME_MAX_BYTES, FRAME_MIN_BYTES, Registers};

/// The transmit queue. It raises no interrupts: sent buffers are collected when room is needed.
///
/// Only the last frame of a burst is reported by the device, which works in order: one look tells of the whole burst.
/// A device that lies about that reuses buffers of its own owner too early, and harms nobody else.
pub struct TxQueue<D: Device, C: Chip> {
    queue: u16,
    ring: DescRing<D>,
    /// Where the burst ends that begins at a slot.
    ends: LocalRing<Position>,
    chip: PhantomData<C>,
}

impl<D: Device, C: Chip> TxQueue<D, C> {
    /// Makes transmit queue `queue`, with `entries` descriptors; the device does not know of it yet.
    ///
    /// # Errors
    /// `BadRing`, and the host's.
    pub fn new(
        regs: &Registers<D::Mmio>,
        window: &impl DmaWindow,
        queue: u16,
        entries: u16,
    ) -> Result<TxQueue<D, C>, Error> {
        let ring = DescRing::new(window, regs, C::tx(queue), entries)?;
        let ends = LocalRing::new(entries, |_| Position::default()).ok_or(Error::BadRing { entries })?;
        Ok(TxQueue { queue, ring, ends, chip: PhantomData })
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
    }

    /// Makes what was added a burst, whose last descriptor has the second word `last`, and tells the device.
    #[inline]
    fn publish(&mut self, last: u64) {
        if self.ring.added != self.ring.published {
            self.ring.amend(self.ring.added.minus(1), last | C::REPORT);
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

    /// How many frames the device has not given back yet, as far as was looked.
    #[must_use]
    pub fn in_flight(&self) -> u16 {
        self.ring.in_flight()
    }
}

impl<D: Device, C: Chip> weir_nic::TxQueue for TxQueue<D, C> {
    type Error = Error;

    #[inline]
    fn transmit<const N: usize>(&mut self, pool: &mut Pool, burst: &mut Burst<N>) -> Result<usize, Error> {
        if usize::from(self.ring.room()) < burst.len() {
            self.reclaim(pool);
        }
        let (mut count, mut last, mut result) = (0, 0, Ok(()));
        self.ring.add(self.ring.room(), || {
            let desc = desc::<C>(pool, burst.pop()?).map_err(|error| result = Err(error)).ok()?;
            last = desc.word;
            count += 1;
            Some(desc)
        });
        self.publish(last);
        result.map(|()| count)
    }

    fn send_wrong_address(&mut self, pool: &mut Pool, iova: Iova, len: u16) -> Result<bool, Error> {
        if self.ring.room() == 0 {
            self.reclaim(pool);
        }
        if self.ring.room() == 0 {
            return Ok(false);
        }
        let Some((buffer, _)) = pool.lend_fresh() else { return Ok(false) };
        let mut desc = Some(Desc { buffer, addr: iova, word: C::send(len) });
        self.ring.add(1, || desc.take());
        self.publish(C::send(len));
        Ok(true)
    }
}

/// The descriptor of a frame.
#[inline]
fn desc<C: Chip>(pool: &mut Pool, buf: Buf) -> Result<Desc, Error> {
    let len = buf.len();
    if !(FRAME_MIN_BYTES..=FRAME_MAX_BYTES).contains(&len) {
        pool.put(buf);
        return Err(Error::BadFrame { len });
    }
    let (buffer, addr) = pool.lend(buf).map_err(|_| Error::BadBuffer)?;
    Ok(Desc { buffer, addr, word: C::send(len) })
}
