//! Receiving.

use weir_hal::{Error as HostError, Interrupt, Iova};
use weir_pool::{Buf, Burst, HEADROOM_BYTES, InFlight, Pool};

use super::{HEADER_BYTES, RX};
use crate::queue::{Completed, SplitQueue};
use crate::{Error, Transport, Violation};

/// The device writes its header into the end of the headroom, so that the frame starts where fresh frames do.
const BUFFER_LEN: u16 = weir_pool::FRAME_BYTES + HEADER_BYTES;

/// The receive queue.
pub struct RxQueue<T: Transport> {
    pub(super) queue: SplitQueue,
    doorbell: T::Doorbell,
    pub(super) interrupt: Option<T::Interrupt>,
}

impl<T: Transport> RxQueue<T> {
    pub(super) fn new(
        queue: SplitQueue,
        doorbell: T::Doorbell,
        interrupt: Option<T::Interrupt>,
    ) -> RxQueue<T> {
        RxQueue { queue, doorbell, interrupt }
    }

    /// Appends the frames that have arrived to `burst`, as many as it has room for, and offers the device fresh
    /// buffers of `pool` instead. Returns how many. Never waits, never enters a kernel.
    ///
    /// # Errors
    /// `Violation`: the device must be started again. Frames already in `burst` are good.
    #[inline]
    pub fn receive<const N: usize>(&mut self, pool: &mut Pool, burst: &mut Burst<N>) -> Result<usize, Error> {
        let arrived = usize::from(self.queue.completed()?).min(burst.room());
        for _ in 0..arrived {
            let Completed { buffer, len } = self.queue.take()?;
            match frame(buffer, len) {
                // There is room, just checked: nothing is lost here.
                Ok(buf) => burst.push(buf).unwrap_or_else(|buf| pool.put(buf)),
                Err(buffer) => {
                    pool.put(buffer.complete_empty());
                    return Err(Violation::UsedLength { len }.into());
                }
            }
        }
        if arrived > 0 && self.interrupt.is_some() {
            self.queue.silence();
        }
        if self.queue.room() > 0 {
            self.refill(pool)?;
        }
        Ok(arrived)
    }

    /// Offers the device every buffer that `pool` has and the ring takes.
    #[inline]
    pub(super) fn refill(&mut self, pool: &mut Pool) -> Result<(), Error> {
        for _ in 0..self.queue.room() {
            let Some(buf) = pool.take() else { break };
            let (buffer, frame) = pool.lend(buf).map_err(|_| Error::BadBuffer)?;
            let addr = Iova(frame.0.wrapping_sub(HEADER_BYTES.into()));
            self.queue.add(buffer, addr, BUFFER_LEN, true);
        }
        self.queue.publish(&self.doorbell, RX);
        Ok(())
    }

    /// Sleeps until a frame arrives or the deadline passes (`deadline_ns` on the host's clock, `u64::MAX` for
    /// none). `true` where frames wait. Costs one kernel entry, and none where a frame is already there.
    ///
    /// # Errors
    /// `Violation`; `Host(Unsupported)` where the device was opened without an interrupt; `Host(Gone)`.
    pub fn wait(&mut self, deadline_ns: u64) -> Result<bool, Error> {
        let Some(interrupt) = &self.interrupt else { return Err(HostError::Unsupported.into()) };
        let seen = interrupt.count();
        // Order matters: count first, then ask the device, then look once more, then sleep. A frame that comes
        // after the look raises an interrupt, which changes the count, which ends the sleep.
        let mut has_frames = self.queue.listen()?;
        if !has_frames {
            match interrupt.wait(seen, deadline_ns) {
                Ok(_) | Err(HostError::TimedOut { .. }) => {}
                Err(error) => return Err(error.into()),
            }
            has_frames = self.queue.completed()? > 0;
        }
        self.queue.silence();
        Ok(has_frames)
    }

    /// Offers the device a buffer under the wrong address `iova`, instead of its own: for showing that the
    /// IOMMU, not the driver, confines the device. What the device writes there does not arrive. `false` where
    /// pool or ring have no room.
    ///
    /// # Errors
    /// `BadBuffer`.
    pub fn offer_wrong_address(&mut self, pool: &mut Pool, iova: Iova) -> Result<bool, Error> {
        if self.queue.room() == 0 {
            return Ok(false);
        }
        let Some(buf) = pool.take() else { return Ok(false) };
        let (buffer, _) = pool.lend(buf).map_err(|_| Error::BadBuffer)?;
        self.queue.add(buffer, iova, BUFFER_LEN, true);
        self.queue.publish(&self.doorbell, RX);
        Ok(true)
    }
}

/// The frame behind the device's header, if `len` is possible: a header at least, the buffer at most.
#[inline]
fn frame(buffer: InFlight, len: u32) -> Result<Buf, InFlight> {
    // Less than a header wraps to more than a buffer.
    buffer.complete(HEADROOM_BYTES, len.wrapping_sub(HEADER_BYTES.into()))
}
