//! The face that drivers of network devices share, so that a program can own any of them.
//!
//! **Invariant: which device it is, is a type**: no trait object, no indirect call; a program's loop is compiled for
//! each driver it is used with. What only one device can do (features, filters, statistics) is not here.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod multi_queue;
mod offload;

pub use multi_queue::{HashTypes, Lane, MultiQueue, OpenedPairs, RSS_KEY_BYTES, Rss};
pub use offload::{Checksum, Offloads, Segments, TxOffload};

use core::fmt::Display;

use weir_hal::{Clock, DeviceInfo, DmaWindow, Iova};
use weir_pool::{Buf, Burst, Pool};

/// Why a driver failed.
pub trait NicError: Display {
    /// Whether the device broke its protocol, so that starting it again may help.
    fn is_violation(&self) -> bool;
}

/// What [`Nic::open`] makes: the device, its receive queue, its transmit queue.
pub type Opened<N> = (N, <N as Nic>::Rx, <N as Nic>::Tx);

/// What queues are to be like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Queues {
    /// Bind the interrupt of receiving, for [`RxQueue::wait`]. Without, the device raises none.
    pub interrupt: bool,
    /// Descriptors of each queue, a power of two, where the driver's choice will not do. A device that has shorter ones
    /// may have those.
    pub entries: Option<u16>,
    /// Take and send frames longer than a buffer, in several; where the device and its driver can, which
    /// [`Nic::offloads`] says.
    pub long_frames: bool,
}

/// A network device: what is not on the data path.
pub trait Nic: Sized {
    /// What it is made of: a PCI function, or what its host has instead.
    type Device;
    /// Its receive queue.
    type Rx: RxQueue<Error = Self::Error>;
    /// Its transmit queue.
    type Tx: TxQueue<Error = Self::Error>;
    /// Why it failed.
    type Error: NicError;

    /// Whether this driver drives such a function.
    fn is_for(info: &DeviceInfo) -> bool;

    /// Finds out what the device is, resets it, and makes its queues. It does not run yet.
    ///
    /// # Errors
    /// The function is another device, or has not what it must have; the host's.
    fn open(
        device: Self::Device,
        window: &impl DmaWindow,
        clock: &impl Clock,
        queues: Queues,
    ) -> Result<Opened<Self>, Self::Error>;

    /// The pool that it brings along, where its frames can lie nowhere else. Gives it once, to who owns the queues.
    fn take_pool(&mut self) -> Option<Pool> {
        None
    }

    /// Starts the device, or starts it again after a violation: resets it, takes back what the queues had, offers
    /// buffers of `pool` for receiving. `pool` is the one that the queues were used with before.
    ///
    /// # Errors
    /// Where it does not reset, the buffers it has stay lost.
    fn start(
        &mut self,
        rx: &mut Self::Rx,
        tx: &mut Self::Tx,
        pool: &mut Pool,
        clock: &impl Clock,
    ) -> Result<(), Self::Error>;

    /// Its MAC address; `None` where it has none.
    ///
    /// # Errors
    /// The host's.
    fn read_mac(&self) -> Result<Option<[u8; 6]>, Self::Error>;

    /// Whether the link is up. Costs a register read.
    ///
    /// # Errors
    /// The host's.
    fn read_link_up(&self) -> Result<bool, Self::Error>;

    /// What it does for its owner. What a driver does not say it cannot.
    fn offloads(&self) -> Offloads {
        Offloads::default()
    }

    /// Whether the link, or what else the device tells of itself, may have changed since this was asked last. Costs a
    /// load, no register read; a driver that cannot know says yes.
    fn has_news(&mut self) -> bool {
        true
    }

    /// Whether the device stopped by itself, or is gone. Costs a register read.
    fn has_stopped(&self) -> bool;
}

/// A receive queue.
pub trait RxQueue {
    /// Why it failed.
    type Error: NicError;

    /// Appends the frames that have arrived to `burst`, as many as it has room for, and offers the device fresh
    /// buffers of `pool` instead. Returns how many. Never waits, never enters a kernel.
    ///
    /// # Errors
    /// A violation: the device must be started again. Frames already in `burst` are good.
    fn receive<const N: usize>(
        &mut self,
        pool: &mut Pool,
        burst: &mut Burst<N>,
    ) -> Result<usize, Self::Error>;

    /// Sleeps until a frame arrives or the deadline passes (`deadline_ns` on the host's clock, `u64::MAX` for
    /// none). `true` where frames wait. Costs one kernel entry, and none where a frame is already there.
    ///
    /// # Errors
    /// A violation; the device was opened without an interrupt, or is gone.
    fn wait(&mut self, deadline_ns: u64) -> Result<bool, Self::Error>;

    /// Offers the device a buffer under the wrong address `iova`, instead of its own: for showing that the
    /// IOMMU, not the driver, confines the device. What the device writes there does not arrive. `false` where
    /// pool or ring have no room.
    ///
    /// # Errors
    /// A buffer of another pool.
    fn offer_wrong_address(&mut self, pool: &mut Pool, iova: Iova) -> Result<bool, Self::Error>;
}

/// A transmit queue.
pub trait TxQueue {
    /// Why it failed.
    type Error: NicError;

    /// Sends frames from the front of `burst`, as many as the ring takes; the others stay. Returns how many.
    /// Buffers that were sent before go back to `pool`, which is the one that all buffers come from. Never
    /// waits, never enters a kernel.
    ///
    /// # Errors
    /// A violation: the device must be started again. A frame that cannot be sent: those before it are.
    #[inline]
    fn transmit<const N: usize>(
        &mut self,
        pool: &mut Pool,
        burst: &mut Burst<N>,
    ) -> Result<usize, Self::Error> {
        self.transmit_with(pool, burst, |_| TxOffload::NONE)
    }

    /// The same; `offload` says what the device is to do with a frame, whose first buffer it is given. It may be asked more
    /// than once of the same frame. What [`Nic::offloads`] does not have must not be asked for.
    ///
    /// # Errors
    /// As for `transmit`; and what the frame is too short for.
    fn transmit_with<const N: usize>(
        &mut self,
        pool: &mut Pool,
        burst: &mut Burst<N>,
        offload: impl FnMut(&Buf) -> TxOffload,
    ) -> Result<usize, Self::Error>;

    /// Takes back the buffers that have been sent, without sending any.
    ///
    /// # Errors
    /// A violation: the device must be started again.
    fn reclaim(&mut self, pool: &mut Pool) -> Result<(), Self::Error>;

    /// Sends `len` bytes from the wrong address `iova`, instead of a buffer's own: for showing that the IOMMU,
    /// not the driver, confines the device. `false` where pool or ring have no room.
    ///
    /// # Errors
    /// A buffer of another pool.
    fn send_wrong_address(&mut self, pool: &mut Pool, iova: Iova, len: u16) -> Result<bool, Self::Error>;
}
