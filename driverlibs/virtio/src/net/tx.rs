//! Transmitting.

use weir_hal::Iova;
use weir_pool::{Buf, Burst, Pool};

use super::HEADER_BYTES;
use crate::queue::{Access, Offer, Queue, Virtqueue, with_queue};
use crate::{Error, Transport};

/// No checksum, no segmentation; `num_buffers` 0 (virtio 1.2 §5.1.6.2.1 "Driver Requirements: Packet
/// Transmission").
const PLAIN: [u8; HEADER_BYTES as usize] = [0; HEADER_BYTES as usize];

/// The transmit queue. It raises no interrupts: sent buffers are collected when room is needed.
pub struct TxQueue<T: Transport> {
    pub(super) queue: Queue,
    /// Its number.
    pub(super) index: u16,
    doorbell: T::Doorbell,
}

impl<T: Transport> TxQueue<T> {
    pub(super) fn new(queue: Queue, index: u16, doorbell: T::Doorbell) -> TxQueue<T> {
        TxQueue { queue, index, doorbell }
    }

    /// Sends frames from the front of `burst`, as many as the ring takes; the others stay. Returns how many.
    /// Buffers that were sent before go back to `pool`, which is the one that all buffers come from. Never
    /// waits, never enters a kernel.
    ///
    /// # Errors
    /// `Violation`: the device must be started again. `BadBuffer`: that one is lost, those before it are sent.
    #[inline]
    pub fn transmit<const N: usize>(
        &mut self,
        pool: &mut Pool,
        burst: &mut Burst<N>,
    ) -> Result<usize, Error> {
        with_queue!(&mut self.queue, queue => {
            if usize::from(queue.room()) < burst.len() {
                reclaim(queue, pool)?;
            }
            let result = add_frames(queue, pool, burst);
            queue.publish(&self.doorbell, self.index);
            result
        })
    }

    /// Takes back the buffers that have been sent.
    ///
    /// # Errors
    /// `Violation`: the device must be started again.
    pub fn reclaim(&mut self, pool: &mut Pool) -> Result<(), Error> {
        with_queue!(&mut self.queue, queue => reclaim(queue, pool))
    }

    /// How many frames the device has not given back yet, as far as was looked.
    #[must_use]
    pub fn in_flight(&self) -> u16 {
        self.queue.in_flight()
    }

    /// Sends `len` bytes from the wrong address `iova`, instead of a buffer's own: for showing that the IOMMU,
    /// not the driver, confines the device. `false` where pool or ring have no room.
    ///
    /// # Errors
    /// `BadBuffer`.
    pub fn send_wrong_address(&mut self, pool: &mut Pool, iova: Iova, len: u16) -> Result<bool, Error> {
        with_queue!(&mut self.queue, queue => {
            if queue.room() == 0 {
                return Ok(false);
            }
            let Some((buffer, _)) = pool.lend_fresh() else { return Ok(false) };
            let mut offer = Some(Offer { buffer, addr: iova, len: len.into() });
            queue.add(1, Access::Reads, || offer.take());
            queue.publish(&self.doorbell, self.index);
        });
        Ok(true)
    }
}

/// Offers frames from the front of `burst`, as many as the ring takes; gives how many.
#[inline]
fn add_frames<const N: usize>(
    queue: &mut impl Virtqueue,
    pool: &mut Pool,
    burst: &mut Burst<N>,
) -> Result<usize, Error> {
    let room = queue.room();
    let (mut sent, mut result) = (0, Ok(()));
    queue.add(room, Access::Reads, || match offer(pool, burst.pop()?) {
        Ok(offer) => {
            sent += 1;
            Some(offer)
        }
        Err(error) => {
            result = Err(error);
            None
        }
    });
    result.map(|()| sent)
}

#[inline]
fn offer(pool: &Pool, mut buf: Buf) -> Result<Offer, Error> {
    if !buf.prepend(PLAIN) {
        return Err(Error::BadBuffer);
    }
    let len = buf.len().into();
    let (buffer, addr) = pool.lend(buf).map_err(|_| Error::BadBuffer)?;
    Ok(Offer { buffer, addr, len })
}

#[inline]
fn reclaim(queue: &mut impl Virtqueue, pool: &mut Pool) -> Result<(), Error> {
    queue.reclaim(|_, buffer| pool.put(buffer.complete_empty()))?;
    Ok(())
}
