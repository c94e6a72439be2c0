//! The face that drivers of block devices share, so that a program can own any of them.
//!
//! **Invariants: which device it is, is a type** (no trait object, no indirect call); **a buffer goes into a queue with its
//! request and comes out with its completion**, done, failed or cut off by a reset. Queues are values of their own and may
//! move to other cores; what concerns the whole device needs all of them back.
//!
//! What only one device can do is not here. Reading order: [`disk`] · [`request`] · this file.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod disk;
pub mod request;

use alloc::vec::Vec;
use core::fmt::Display;

pub use disk::Disk;
pub use heapless::Deque;
pub use request::{BadRequest, Completion, Failure, Operation, Request};
use weir_hal::{Clock, Device, DeviceInfo, DmaWindow};

/// Why a driver failed.
pub trait BlockError: Display {
    /// Whether the device broke its protocol or fell silent, so that starting it again may help.
    fn is_violation(&self) -> bool;
}

/// What to open a device with.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Most queues; the device may have fewer.
    pub queues: u16,
    /// Most requests under way per queue; the device may take fewer.
    pub depth: u16,
    /// Bind an interrupt per queue, for [`BlockQueue::wait`]. Without, the device raises none.
    pub interrupt: bool,
}

impl Default for Options {
    fn default() -> Options {
        Options { queues: 1, depth: 128, interrupt: false }
    }
}

/// What [`BlockDevice::open`] makes: the device and its queues, one at least.
pub type Opened<B> = (B, Vec<<B as BlockDevice>::Queue>);

/// A block device: what is not on the data path.
pub trait BlockDevice: Sized {
    /// The function that it is.
    type Device: Device;
    /// One of its queues.
    type Queue: BlockQueue<Error = Self::Error>;
    /// Why it failed.
    type Error: BlockError;

    /// Whether this driver drives such a function.
    fn is_for(info: &DeviceInfo) -> bool;

    /// Finds out what the device and its disks are, and makes its queues. They do not run yet.
    ///
    /// # Errors
    /// The function is another device, or has not what it must have; the host's.
    fn open(
        device: Self::Device,
        window: &impl DmaWindow,
        clock: &impl Clock,
        options: &Options,
    ) -> Result<Opened<Self>, Self::Error>;

    /// Starts the device, or starts it again after a violation: resets it; requests that were under way come out of
    /// their queue as [`Failure::Reset`]. `queues` are all that [`BlockDevice::open`] made.
    ///
    /// # Errors
    /// Where it does not reset, the buffers it has stay lost.
    fn start(&mut self, queues: &mut [Self::Queue], clock: &impl Clock) -> Result<(), Self::Error>;

    /// Its disks.
    fn disks(&self) -> &[Disk];

    /// Asks the device to give up the requests of `queue` that [`BlockQueue::tick`] counts as late. Returns how many it
    /// says it will give up; those come out of the queue like any other. 0 where it cannot, and must be started again.
    ///
    /// # Errors
    /// It did not answer: it must be started again.
    fn abort_late(&mut self, queue: &mut Self::Queue, clock: &impl Clock) -> Result<usize, Self::Error>;

    /// Whether the device stopped by itself, or is gone. Costs a register read.
    fn has_stopped(&self) -> bool;
}

/// A queue: requests in, completions out, in any order.
pub trait BlockQueue: Send + 'static {
    /// Why it failed.
    type Error: BlockError + From<BadRequest>;

    /// How many more requests it takes.
    fn room(&self) -> u16;

    /// How many requests the device has.
    fn in_flight(&self) -> u16;

    /// Submits requests from the front of `requests`, as many as there is room for; the others stay. Returns how many.
    /// Never waits, never enters a kernel.
    ///
    /// # Errors
    /// A request that cannot be submitted: it stays at the front, those before it are under way.
    fn submit<const N: usize>(&mut self, requests: &mut Deque<Request, N>) -> Result<usize, Self::Error>;

    /// Appends the requests that ended to `done`, as many as it has room for. Returns how many. Never waits, and enters a
    /// kernel only to silence an interrupt, once, after many calls without [`BlockQueue::wait`].
    ///
    /// # Errors
    /// A violation: the device must be started again. Completions already in `done` are good.
    fn complete<const N: usize>(&mut self, done: &mut Deque<Completion, N>) -> Result<usize, Self::Error>;

    /// Sleeps until a request ends or the deadline passes (`deadline_ns` on the host's clock, `u64::MAX` for none).
    /// `true` where completions wait.
    ///
    /// # Errors
    /// A violation; the device was opened without interrupts, or is gone.
    fn wait(&mut self, deadline_ns: u64) -> Result<bool, Self::Error>;

    /// Marks the passing of time: returns how many requests are late, because the device has had them since before the
    /// last tick. The caller chooses how long a tick is: longer than any honest request takes.
    fn tick(&mut self) -> u16;
}
