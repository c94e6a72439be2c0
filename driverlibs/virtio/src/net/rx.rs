//! Receiving.

use core::sync::atomic::{Ordering, fence};

use weir_hal::{Error as HostError, Interrupt, Iova, Register};
use weir_pool::{Buf, Burst, HEADROOM_BYTES, InFlight, Pool};

use super::header::{HEADER_BYTES, Header};
use crate::queue::{Access, Offer, Queue, Virtqueue, with_queue};
use crate::{Error, Features, Transport, Violation};

/// The device writes its header into the end of the headroom, so that the frame starts where fresh frames do.
const BUFFER_LEN: u16 = weir_pool::FRAME_BYTES + HEADER_BYTES;

/// The receive queue.
pub struct RxQueue<T: Transport> {
    pub(super) queue: Queue,
    /// Its number.
    pub(super) index: u16,
    doorbell: T::Doorbell,
    pub(super) interrupt: Option<T::Interrupt>,
    /// What is agreed on, as far as it changes what is received.
    mode: Mode,
}

/// How frames arrive.
#[derive(Clone, Copy, Default)]
struct Mode {
    /// Long ones in several buffers.
    merges: bool,
    /// With something to know about their checksum.
    tells_checksum: bool,
    /// Buffers of the frame under way that have not arrived yet.
    left: u16,
}

impl Mode {
    /// Takes the header off the first buffer of a frame and does what it says; `len` is what the device said it wrote.
    #[inline]
    fn open(&mut self, buf: &mut Buf, len: u32) -> Result<(), Violation> {
        if self.left > 0 {
            self.left -= 1;
        } else {
            let bytes = buf.strip().ok_or(Violation::UsedLength { len })?;
            let header = Header::from_bytes(bytes);
            if self.merges {
                self.left = header.buffers()? - 1;
            }
            if self.left == 0 && self.tells_checksum {
                header.finish(buf)?;
            }
        }
        buf.set_continues(self.left > 0);
        Ok(())
    }
}

impl<T: Transport> RxQueue<T> {
    pub(super) fn new(
        queue: Queue,
        index: u16,
        doorbell: T::Doorbell,
        interrupt: Option<T::Interrupt>,
    ) -> RxQueue<T> {
        RxQueue { queue, index, doorbell, interrupt, mode: Mode::default() }
    }

    /// Takes over what device and driver agreed on, before the device runs.
    pub(super) fn set_features(&mut self, features: Features) {
        self.queue.set_features(features);
        self.mode = Mode {
            merges: features.contains(Features::MRG_RXBUF),
            tells_checksum: features.contains(Features::GUEST_CSUM),
            left: 0,
        };
    }

    /// Appends the frames that have arrived to `burst`, as many as it has room for, and offers the device fresh
    /// buffers of `pool` instead. Returns how many buffers. Never waits, never enters a kernel.
    ///
    /// With `MRG_RXBUF` agreed on, a long frame lies in several buffers ([`Buf::continues`]); the last of them may
    /// come with the next call.
    ///
    /// # Errors
    /// `Violation`: the device must be started again. Frames already in `burst` are good.
    #[inline]
    pub fn receive<const N: usize>(&mut self, pool: &mut Pool, burst: &mut Burst<N>) -> Result<usize, Error> {
        let is_silent = self.interrupt.is_some();
        with_queue!(&mut self.queue, queue => {
            let arrived = if self.mode.merges || self.mode.tells_checksum {
                take_with_header(queue, &mut self.mode, pool, burst)?
            } else {
                take_frames(queue, pool, burst)?
            };
            if arrived > 0 && is_silent {
                queue.stay_silent();
            }
            if queue.room() > 0 {
                refill(queue, pool, &self.doorbell, self.index)?;
            }
            Ok(arrived)
        })
    }

    /// Offers the device every buffer that `pool` has and the ring takes.
    pub(super) fn refill(&mut self, pool: &mut Pool) -> Result<(), Error> {
        with_queue!(&mut self.queue, queue => refill(queue, pool, &self.doorbell, self.index))
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
            has_frames = self.queue.has_completed()?;
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
        with_queue!(&mut self.queue, queue => {
            if queue.room() == 0 {
                return Ok(false);
            }
            let Some((buffer, _)) = pool.lend_fresh() else { return Ok(false) };
            let mut offer = Some(Offer { buffer, addr: iova, len: BUFFER_LEN.into() });
            queue.add(1, Access::Writes, || offer.take());
            queue.publish(&self.doorbell, self.index);
        });
        Ok(true)
    }
}

/// Takes the frames that have arrived, as many as `burst` has room for.
#[inline]
fn take_frames<const N: usize>(
    queue: &mut impl Virtqueue,
    pool: &mut Pool,
    burst: &mut Burst<N>,
) -> Result<usize, Error> {
    let room = burst.room();
    let arrived = queue.take(room, |buffer, len| match frame(buffer, len) {
        // There is room, just checked: nothing is lost here.
        Ok(buf) => {
            burst.push(buf).unwrap_or_else(|buf| pool.put(buf));
            Ok(())
        }
        Err(buffer) => {
            pool.put(buffer.complete_empty());
            Err(Violation::UsedLength { len })
        }
    })?;
    Ok(arrived)
}

/// The same, looking at what the device wrote in front of each frame.
#[inline]
fn take_with_header<const N: usize>(
    queue: &mut impl Virtqueue,
    mode: &mut Mode,
    pool: &mut Pool,
    burst: &mut Burst<N>,
) -> Result<usize, Error> {
    let arrived = queue.take(burst.room(), |buffer, len| {
        // What the device wrote before it gave the buffer back is visible from here on.
        fence(Ordering::Acquire);
        let mut buf = buffer.complete(HEADROOM_BYTES - HEADER_BYTES, len).map_err(|buffer| {
            pool.put(buffer.complete_empty());
            Violation::UsedLength { len }
        })?;
        if let Err(violation) = mode.open(&mut buf, len) {
            pool.put(buf);
            return Err(violation);
        }
        burst.push(buf).unwrap_or_else(|buf| pool.put(buf));
        Ok(())
    })?;
    Ok(arrived)
}

/// Offers every buffer that `pool` has and the ring takes.
#[inline]
fn refill(
    queue: &mut impl Virtqueue,
    pool: &mut Pool,
    doorbell: &impl Register<u16>,
    index: u16,
) -> Result<(), Error> {
    queue.add(queue.room(), Access::Writes, || {
        let (buffer, frame) = pool.lend_fresh()?;
        let addr = Iova(frame.0.wrapping_sub(HEADER_BYTES.into()));
        Some(Offer { buffer, addr, len: BUFFER_LEN.into() })
    });
    queue.publish(doorbell, index);
    Ok(())
}

/// The frame behind the device's header, if `len` is possible: a header at least, the buffer at most.
#[inline]
fn frame(buffer: InFlight, len: u32) -> Result<Buf, InFlight> {
    // Less than a header wraps to more than a buffer.
    buffer.complete(HEADROOM_BYTES, len.wrapping_sub(HEADER_BYTES.into()))
}
