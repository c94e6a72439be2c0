//! Receiving.

use core::marker::PhantomData;
use core::sync::atomic::{Ordering, fence};

use weir_hal::{Clock, Device, DmaWindow, Error as HostError, Interrupt, Iova};
use weir_pool::{Burst, HEADROOM_BYTES, Pool};

use crate::received::UnderWay;
use crate::ring::{Desc, DescRing};
use crate::signal::Signal;
use crate::{Chip, Error, Registers, Violation};

/// The receive queue. After a violation it gives the same violation until the device is started again.
pub struct RxQueue<D: Device, C: Chip> {
    queue: u16,
    ring: DescRing<D>,
    signal: Option<Signal<D>>,
    /// Buffers that must be missing before the ring is filled up: a doorbell write for a few frames, not for each.
    refill_at: u16,
    manner: Manner,
    under_way: UnderWay,
    chip: PhantomData<C>,
}

/// How frames are received.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Manner {
    /// Long ones, too, in several buffers. The device knows only buffers whose size is a power of two, so each is used from
    /// its very start, without headroom.
    pub is_long: bool,
    /// With what the device says of their checksums.
    pub has_checksums: bool,
}

impl Manner {
    /// Every frame is one buffer of which nothing needs to be said.
    #[inline]
    fn is_plain(self) -> bool {
        !self.is_long && !self.has_checksums
    }

    /// Where in a buffer the device begins to write.
    #[inline]
    fn start(self) -> u16 {
        if self.is_long { 0 } else { HEADROOM_BYTES }
    }
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
        manner: Manner,
    ) -> Result<RxQueue<D, C>, Error> {
        let ring = DescRing::new(window, regs, C::rx(queue), entries)?;
        let signal = vector.map(|vector| Signal::new::<C>(device, regs, vector)).transpose()?;
        let refill_at = ring.entries() / 8;
        let under_way = UnderWay::new(manner.is_long);
        Ok(RxQueue { queue, ring, signal, refill_at, manner, under_way, chip: PhantomData })
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
        self.under_way = UnderWay::new(self.manner.is_long);
    }

    /// Offers the device every buffer that `pool` has and the ring takes.
    #[inline]
    pub fn refill(&mut self, pool: &mut Pool) {
        let unused = u64::from(HEADROOM_BYTES - self.manner.start());
        self.ring.add(self.ring.room(), || {
            let (buffer, addr) = pool.lend_fresh()?;
            Some(Desc { buffer: Some(buffer), words: [addr.0.wrapping_sub(unused), 0] })
        });
        self.ring.publish();
    }

    /// Takes frames that lie in one buffer each.
    #[inline]
    fn take_frames<const N: usize>(
        &mut self,
        pool: &mut Pool,
        burst: &mut Burst<N>,
    ) -> Result<usize, Violation> {
        self.ring.take(burst.room(), |word, slot| {
            let Some(len) = C::RECEIVED.whole(word)? else { return Ok(false) };
            let Some(buffer) = slot.take() else { return Ok(true) };
            let buf = buffer.complete(HEADROOM_BYTES, len.into()).map_err(|_| Violation::Length { len })?;
            // There is room, just checked: nothing is lost here.
            burst.push(buf).unwrap_or_else(|buf| pool.put(buf));
            Ok(true)
        })
    }

    /// The same where they may lie in several, or there is something to say of them.
    #[inline]
    fn take_parts<const N: usize>(
        &mut self,
        pool: &mut Pool,
        burst: &mut Burst<N>,
    ) -> Result<usize, Violation> {
        let start = self.manner.start();
        self.ring.take(burst.room(), |word, slot| {
            let Some(part) = C::RECEIVED.part(word)? else { return Ok(false) };
            self.under_way.add(part)?;
            let Some(buffer) = slot.take() else { return Ok(true) };
            let len = part.len;
            let mut buf = buffer.complete(start, len.into()).map_err(|_| Violation::Length { len })?;
            buf.set_continues(!part.is_last);
            if part.is_checksum_good {
                buf.set_checksum_good();
            }
            burst.push(buf).unwrap_or_else(|buf| pool.put(buf));
            Ok(true)
        })
    }
}

/// Whether something has arrived that was not taken.
fn has_arrived<D: Device, C: Chip>(ring: &mut DescRing<D>) -> Result<bool, Error> {
    Ok(ring.in_flight() > 0 && C::RECEIVED.part(ring.word(ring.taken))?.is_some())
}

impl<D: Device, C: Chip> weir_nic::RxQueue for RxQueue<D, C> {
    type Error = Error;

    /// Returns how many buffers. The last of a frame that lies in several may come with the next call.
    #[inline]
    fn receive<const N: usize>(&mut self, pool: &mut Pool, burst: &mut Burst<N>) -> Result<usize, Error> {
        let taken =
            if self.manner.is_plain() { self.take_frames(pool, burst) } else { self.take_parts(pool, burst) };
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
        let mut outcome = has_arrived::<D, C>(&mut self.ring);
        if outcome == Ok(false) {
            outcome = match signal.interrupt.wait(seen, deadline_ns) {
                Ok(_) | Err(HostError::TimedOut { .. }) => has_arrived::<D, C>(&mut self.ring),
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
        let mut desc = Some(Desc { buffer: Some(buffer), words: [iova.0, 0] });
        self.ring.add(1, || desc.take());
        self.ring.publish();
        Ok(true)
    }
}
