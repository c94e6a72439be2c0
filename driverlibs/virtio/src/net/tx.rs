//! Transmitting.

use weir_hal::Iova;
use weir_pool::{Buf, Burst, Pool};

use super::{HEADER_BYTES, TX};
use crate::queue::SplitQueue;
use crate::{Error, Transport};

/// No checksum, no segmentation; `num_buffers` 0 (virtio 1.2 §5.1.6.2.1 "Driver Requirements: Packet
/// Transmission").
const PLAIN: [u8; HEADER_BYTES as usize] = [0; HEADER_BYTES as usize];

/// The transmit queue. It raises no interrupts: sent buffers are collected when room is needed.
pub struct TxQueue<T: Transport> {
    pub(super) queue: SplitQueue,
    doorbell: T::Doorbell,
    pub(super) is_in_order: bool,
}

impl<T: Transport> TxQueue<T> {
    pub(super) fn new(queue: SplitQueue, doorbell: T::Doorbell) -> TxQueue<T> {
        TxQueue { queue, doorbell, is_in_order: false }
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
        if usize::from(self.queue.room()) < burst.len() {
            self.reclaim(pool)?;
        }
        let count = burst.len().min(self.queue.room().into());
        let mut result = Ok(count);
        for _ in 0..count {
            let Some(buf) = burst.pop() else { break };
            if let Err(error) = self.add(pool, buf) {
                result = Err(error);
                break;
            }
        }
        self.queue.publish(&self.doorbell, TX);
        result
    }

    #[inline]
    fn add(&mut self, pool: &mut Pool, mut buf: Buf) -> Result<(), Error> {
        if !buf.prepend(PLAIN) {
            return Err(Error::BadBuffer);
        }
        let len = buf.len();
        let (buffer, addr) = pool.lend(buf).map_err(|_| Error::BadBuffer)?;
        self.queue.add(buffer, addr, len, false);
        Ok(())
    }

    /// Takes back the buffers that have been sent.
    ///
    /// # Errors
    /// `Violation`: the device must be started again.
    #[inline]
    pub fn reclaim(&mut self, pool: &mut Pool) -> Result<(), Error> {
        for _ in 0..self.queue.completed()? {
            let buffer =
                if self.is_in_order { self.queue.take_in_order()? } else { self.queue.take()?.buffer };
            pool.put(buffer.complete_empty());
        }
        Ok(())
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
        if self.queue.room() == 0 {
            return Ok(false);
        }
        let Some(buf) = pool.take() else { return Ok(false) };
        let (buffer, _) = pool.lend(buf).map_err(|_| Error::BadBuffer)?;
        self.queue.add(buffer, iova, len, false);
        self.queue.publish(&self.doorbell, TX);
        Ok(true)
    }
}
