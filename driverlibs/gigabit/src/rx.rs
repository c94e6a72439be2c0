//! Receiving.

use core::marker::PhantomData;
use core::sync::atomic::{Ordering, fence};

use weir_hal::{Clock, Device, DmaWindow, Error as HostError, Interrupt, Iova};
use weir_pool::{Burst, HEADROOM_BYTES, Pool};

use crate::ring::{Desc, DescRing};
use crate::signal::Signal;
use crate::{Chip, Error, FRAME_MAX_BYTES, FRAME_MIN_BYTES, Registers, Violation};

/// The receive queue. After a violation it gives the same violation until the device is started again.
pub struct RxQueue<D: Device, C: Chip> {
    queue: u16,
    ring: DescRing<D>,
    signal: Option<Signal<D>>,
    /// Buffers that must be missing before the ring is filled up: a doorbell write for a few frames, not for each.
    refill_at: u16,
    chip: PhantomData<C>,
}

impl<D: Device, C: Chip> RxQueue<D, C> {
    /// Makes receive queue `queue` of `device`, with `entries` descriptors; the device does not know of it yet. Its
    /// interrupt is bound where it is given an MSI-X table entry, `vector`.
    ///
    /// # Errors
    /// `BadRing`, and the host's.
    pub fn new(
        device: &D,
        regs: &Registers<D::Mmio>,
        window: &impl DmaWindow,
        queue: u16,
        entries: u16,
        vector: Option<u16>,
    ) -> Result<RxQueue<D, C>, Error> {
        let ring = DescRing::new(window, regs, C::rx(queue), entries)?;
        let signal = vector.map(|vector| Signal::new::<C>(device, regs, vector)).transpose()?;
        let refill_at = ring.entries() / 8;
        Ok(RxQueue { queue, ring, signal, refill_at, chip: PhantomData })
    }

    /// Tells a device that has been reset of the queue, and enables it.
    ///
    /// # Errors
    /// `Gone`, `TimedOut`.
    pub fn announce(&self, regs: &Registers<D::Mmio>, clock: &impl Clock) -> Result<(), Error> {
        self.ring.announce(regs, C::rx(self.queue))?;
        C::enable_rx(regs, self.queue, clock)
    }

    /// Takes back what a device had that has been reset.
    pub fn empty(&mut self, pool: &mut Pool) {
        self.ring.empty(pool);
    }

    /// Offers the device every buffer that `pool` has and the ring takes.
    #[inline]
    pub fn refill(&mut self, pool: &mut Pool) {
        self.ring.add(self.ring.room(), || {
            let (buffer, addr) = pool.lend_fresh()?;
            Some(Desc { buffer, addr, word: 0 })
        });
        self.ring.publish();
    }
}

/// Whether a frame has arrived that was not taken.
fn has_frames<D: Device, C: Chip>(ring: &mut DescRing<D>) -> Result<bool, Error> {
    Ok(ring.in_flight() > 0 && C::arrived(ring.word(ring.taken))?.is_some())
}

impl<D: Device, C: Chip> weir_nic::RxQueue for RxQueue<D, C> {
    type Error = Error;

    #[inline]
    fn receive<const N: usize>(&mut self, pool: &mut Pool, burst: &mut Burst<N>) -> Result<usize, Error> {
        let taken = self.ring.take(burst.room(), |word, slot| {
            let Some(len) = C::arrived(word)? else { return Ok(false) };
            let violation = Violation::Length { len };
            if !(FRAME_MIN_BYTES..=FRAME_MAX_BYTES).contains(&len) {
                return Err(violation);
            }
            let Some(buffer) = slot.take() else { return Ok(true) };
            let buf = buffer.complete(HEADROOM_BYTES, len.into()).map_err(|_| violation)?;
            // There is room, just checked: nothing is lost here.
            burst.push(buf).unwrap_or_else(|buf| pool.put(buf));
            Ok(true)
        });
        // The device wrote the frames before the words just read.
        fence(Ordering::Acquire);
        let count = taken?;
        if self.ring.room() >= self.refill_at {
            self.refill(pool);
        }
        Ok(count)
    }

    fn wait(&mut self, deadline_ns: u64) -> Result<bool, Error> {
        let Some(signal) = &self.signal else { return Err(HostError::Unsupported.into()) };
        // Order matters: count first, then ask the device, then look once more, then sleep.
        let seen = signal.interrupt.count();
        signal.arm();
        let mut outcome = has_frames::<D, C>(&mut self.ring);
        if outcome == Ok(false) {
            outcome = match signal.interrupt.wait(seen, deadline_ns) {
                Ok(_) | Err(HostError::TimedOut { .. }) => has_frames::<D, C>(&mut self.ring),
                Err(error) => Err(error.into()),
            };
        }
        signal.disarm();
        outcome
    }

    fn offer_wrong_address(&mut self, pool: &mut Pool, iova: Iova) -> Result<bool, Error> {
        if self.ring.room() == 0 {
            return Ok(false);
        }
        let Some((buffer, _)) = pool.lend_fresh() else { return Ok(false) };
        let mut desc = Some(Desc { buffer, addr: iova, word: 0 });
        self.ring.add(1, || desc.take());
        self.ring.publish();
        Ok(true)
    }
}
