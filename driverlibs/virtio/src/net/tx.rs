//! Transmitting.

use weir_hal::{DmaWindow, Error as HostError, Iova};
use weir_nic::TxOffload;
use weir_pool::{Buf, Burst, Pool};

use super::header::{HEADER_BYTES, Header};
use crate::queue::{Access, Offer, PARTS, Queue, Tables, Virtqueue, with_queue};
use crate::{Error, Features, Transport};

/// Tables for frames that lie in several buffers: so many of them are with the device at once.
const TABLES: u16 = 32;

/// The transmit queue. It raises no interrupts: sent buffers are collected when room is needed.
pub struct TxQueue<T: Transport> {
    pub(super) queue: Queue,
    /// Its number.
    pub(super) index: u16,
    doorbell: T::Doorbell,
    /// Where the device takes such.
    tables: Option<Tables>,
}

impl<T: Transport> TxQueue<T> {
    pub(super) fn new(
        window: &impl DmaWindow,
        queue: Queue,
        index: u16,
        doorbell: T::Doorbell,
        features: Features,
    ) -> Result<TxQueue<T>, Error> {
        let has_tables = features.contains(Features::INDIRECT_DESC);
        let tables = has_tables.then(|| Tables::new(window, &queue, TABLES)).transpose()?;
        Ok(TxQueue { queue, index, doorbell, tables })
    }

    /// Makes it as new for a device that has been reset. Buffers the device had go back to `pool`.
    pub(super) fn empty(&mut self, pool: &mut Pool) {
        self.queue.empty(pool);
        if let Some(tables) = &mut self.tables {
            tables.empty(pool, self.queue.entries());
        }
    }

    /// Sends frames from the front of `burst`, as many as the ring takes; the others stay. Returns how many.
    /// Buffers that were sent before go back to `pool`, which is the one that all buffers come from. Never
    /// waits, never enters a kernel.
    ///
    /// A frame may lie in several buffers, each but the last [`Buf::continues`], where `INDIRECT_DESC` is agreed on.
    ///
    /// # Errors
    /// `Violation`: the device must be started again. `BadBuffer`: that one is lost, those before it are sent.
    /// `Host(Unsupported)`: a frame in several buffers, and the device takes none; it stays in the burst.
    #[inline]
    pub fn transmit<const N: usize>(
        &mut self,
        pool: &mut Pool,
        burst: &mut Burst<N>,
    ) -> Result<usize, Error> {
        self.transmit_with(pool, burst, |_| TxOffload::NONE)
    }

    /// The same; `offload` says what the device does with a frame, of which it is given the first buffer. What was
    /// not agreed on (`CSUM`, `HOST_TSO4`, `HOST_TSO6`) must not be asked for.
    ///
    /// # Errors
    /// As for [`TxQueue::transmit`]. `BadBuffer` also where what is asked for lies outside the first buffer.
    #[inline]
    pub fn transmit_with<const N: usize>(
        &mut self,
        pool: &mut Pool,
        burst: &mut Burst<N>,
        mut offload: impl FnMut(&Buf) -> TxOffload,
    ) -> Result<usize, Error> {
        with_queue!(&mut self.queue, queue => {
            let has_table = self.tables.as_ref().is_none_or(Tables::has_free);
            if usize::from(queue.room()) < burst.len() || !has_table {
                reclaim(queue, self.tables.as_mut(), pool)?;
            }
            let result = add_frames(queue, self.tables.as_mut(), pool, burst, &mut offload);
            queue.publish(&self.doorbell, self.index);
            result
        })
    }

    /// Takes back the buffers that have been sent.
    ///
    /// # Errors
    /// `Violation`: the device must be started again.
    pub fn reclaim(&mut self, pool: &mut Pool) -> Result<(), Error> {
        with_queue!(&mut self.queue, queue => reclaim(queue, self.tables.as_mut(), pool))
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
    mut tables: Option<&mut Tables>,
    pool: &mut Pool,
    burst: &mut Burst<N>,
    offload: &mut impl FnMut(&Buf) -> TxOffload,
) -> Result<usize, Error> {
    let mut sent = 0;
    loop {
        sent += add_short_frames(queue, pool, burst, offload)?;
        let is_long = burst.front().is_some_and(Buf::continues);
        if !is_long || queue.room() == 0 {
            return Ok(sent);
        }
        let tables = tables.as_deref_mut().ok_or(HostError::Unsupported)?;
        if !tables.has_free() {
            return Ok(sent);
        }
        add_long_frame(queue, tables, pool, burst, offload)?;
        sent += 1;
    }
}

/// Those that lie in one buffer each, up to the first that does not.
#[inline]
fn add_short_frames<const N: usize>(
    queue: &mut impl Virtqueue,
    pool: &Pool,
    burst: &mut Burst<N>,
    offload: &mut impl FnMut(&Buf) -> TxOffload,
) -> Result<usize, Error> {
    let room = queue.room();
    let (mut sent, mut result) = (0, Ok(()));
    queue.add(room, Access::Reads, || {
        if burst.front()?.continues() {
            return None;
        }
        let mut buf = burst.pop()?;
        let offer = put_header(&mut buf, offload).and_then(|()| lend(pool, buf));
        sent += usize::from(offer.is_ok());
        offer.map_err(|error| result = Err(error)).ok()
    });
    result.map(|()| sent)
}

/// Puts the device's header in front of a frame.
#[inline]
fn put_header(buf: &mut Buf, offload: &mut impl FnMut(&Buf) -> TxOffload) -> Result<(), Error> {
    let header = Header::of(offload(buf), buf.len()).ok_or(Error::BadBuffer)?;
    let bytes: [u8; HEADER_BYTES as usize] = header.bytes();
    if buf.prepend(bytes) { Ok(()) } else { Err(Error::BadBuffer) }
}

#[inline]
fn lend(pool: &Pool, buf: Buf) -> Result<Offer, Error> {
    let len = buf.len().into();
    let (buffer, addr) = pool.lend(buf).map_err(|_| Error::BadBuffer)?;
    Ok(Offer { buffer, addr, len })
}

/// The first frame of `burst`, which lies in several buffers. A table is free, and the ring has room.
#[cold]
fn add_long_frame<const N: usize>(
    queue: &mut impl Virtqueue,
    tables: &mut Tables,
    pool: &mut Pool,
    burst: &mut Burst<N>,
    offload: &mut impl FnMut(&Buf) -> TxOffload,
) -> Result<(), Error> {
    let parts = burst.iter().take_while(|buf| buf.continues()).count() + 1;
    let is_whole = parts <= burst.len() && parts <= PARTS.into();
    let is_ours = burst.iter().take(parts).all(|buf| pool.has(buf));
    let first = burst.iter_mut().next().ok_or(Error::BadBuffer)?;
    if !is_whole || !is_ours || put_header(first, offload).is_err() {
        (0..parts).filter_map(|_| burst.pop()).for_each(|buf| pool.put(buf));
        return Err(Error::BadBuffer);
    }
    let lent = (0..parts).map_while(|_| lend(pool, burst.pop()?).ok().map(|offer| (offer, Access::Reads)));
    let Some((offer, table)) = tables.fill(lent) else { return Err(Error::BadBuffer) };
    let mut offer = Some(offer);
    let id = queue.add(1, Access::Table, || offer.take());
    tables.belongs_to(table, id);
    Ok(())
}

#[inline]
fn reclaim(queue: &mut impl Virtqueue, tables: Option<&mut Tables>, pool: &mut Pool) -> Result<(), Error> {
    match tables.filter(|tables| tables.are_out()) {
        None => queue.reclaim(|_, buffer| pool.put(buffer.complete_empty()))?,
        Some(tables) => queue.reclaim(|id, buffer| {
            tables.take_back(id, |buffer| pool.put(buffer.complete_empty()));
            pool.put(buffer.complete_empty());
        })?,
    }
    Ok(())
}
