//! Receiving.

use core::marker::PhantomData;
use core::sync::atomic::{Ordering, fence};

use weir_hal::{Clock, Device, DmaWindow, Error as HostError, Interrupt, Iova};
use weir_pool::{Buf, Burst, HEADROOM_BYTES, Pool};

use crate::ring::DescRing;
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

    /// The next frame that has arrived. The device has at least one buffer.
    #[inline]
    fn next(&mut self) -> Result<Option<Buf>, Violation> {
        let Some(len) = C::arrived(self.ring.word(self.ring.taken))? else { return Ok(None) };
        if !(FRAME_MIN_BYTES..=FRAME_MAX_BYTES).contains(&len) {
            return Err(Violation::Length { len });
        }
        // The device wrote the frame before the word just read.
        fence(Ordering::Acquire);
        let Some(buffer) = self.ring.take() else { return Ok(None) };
        buffer.complete(HEADROOM_BYTES, len.into()).map(Some).map_err(|_| Violation::Length { len })
    }

    /// Offers the device every buffer that `pool` has and the ring takes.
    ///
    /// # Errors
    /// `BadBuffer`.
    #[inline]
    pub fn refill(&mut self, pool: &mut Pool) -> Result<(), Error> {
        for _ in 0..self.ring.room() {
            let Some(buf) = pool.take() else { break };
            let (buffer, addr) = pool.lend(buf).map_err(|_| Error::BadBuffer)?;
            self.ring.add(buffer, addr, 0);
        }
        if self.ring.added != self.ring.published {
            self.ring.publish();
        }
        Ok(())
    }

    fn wait_armed(&self, signal: &Signal<D>, seen: u64, deadline_ns: u64) -> Result<bool, Error> {
        if self.has_frames()? {
            return Ok(true);
        }
        match signal.interrupt.wait(seen, deadline_ns) {
            Ok(_) | Err(HostError::TimedOut { .. }) => self.has_frames(),
            Err(error) => Err(error.into()),
        }
    }

    fn has_frames(&self) -> Result<bool, Error> {
        Ok(self.ring.in_flight() > 0 && C::arrived(self.ring.word(self.ring.taken))?.is_some())
    }
}

impl<D: Device, C: Chip> weir_nic::RxQueue for RxQueue<D, C> {
    type Error = Error;

    #[inline]
    fn receive<const N: usize>(&mut self, pool: &mut Pool, burst: &mut Burst<N>) -> Result<usize, Error> {
        let most = burst.room().min(self.ring.in_flight().into());
        let mut count = 0;
        while count < most {
            let Some(buf) = self.next()? else { break };
            // There is room, just checked: nothing is lost here.
            burst.push(buf).unwrap_or_else(|buf| pool.put(buf));
            count += 1;
        }
        if self.ring.room() >= self.refill_at {
            self.refill(pool)?;
        }
        Ok(count)
    }

    fn wait(&mut self, deadline_ns: u64) -> Result<bool, Error> {
        let Some(signal) = &self.signal else { return Err(HostError::Unsupported.into()) };
        // Order matters: count first, then ask the device, then look once more, then sleep.
        let seen = signal.interrupt.count();
        signal.arm();
        let outcome = self.wait_armed(signal, seen, deadline_ns);
        signal.disarm();
        outcome
    }

    fn offer_wrong_address(&mut self, pool: &mut Pool, iova: Iova) -> Result<bool, Error> {
        if self.ring.room() == 0 {
            return Ok(false);
        }
        let Some(buf) = pool.take() else { return Ok(false) };
        let (buffer, _) = pool.lend(buf).map_err(|_| Error::BadBuffer)?;
        self.ring.add(buffer, iova, 0);
        self.ring.publish();
        Ok(true)
    }
}
