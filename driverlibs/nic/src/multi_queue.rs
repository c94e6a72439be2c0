//! Several queues, so that each core has its own.

use alloc::vec::Vec;

use weir_hal::{Clock, DmaWindow};
use weir_pool::Pool;

use crate::{Nic, Queues};

/// A receive queue and a transmit queue with what their core has of buffers.
pub struct Lane<'a, R, T> {
    /// The receive queue.
    pub rx: &'a mut R,
    /// The transmit queue.
    pub tx: &'a mut T,
    /// Where both take buffers from.
    pub pool: &'a mut Pool,
}

/// What [`MultiQueue::open_pairs`] makes: the device, and its queues.
pub type OpenedPairs<N> = (N, Vec<(<N as Nic>::Rx, <N as Nic>::Tx)>);

/// A network device with several queues. Each is a value that may move to another thread; for a restart all come
/// together again.
pub trait MultiQueue: Nic<Rx: Send + 'static, Tx: Send + 'static> {
    /// As [`Nic::open`], with as many of `pairs` queues each way as the device has.
    ///
    /// # Errors
    /// As for `open`.
    fn open_pairs(
        device: Self::Device,
        window: &impl DmaWindow,
        clock: &impl Clock,
        pairs: u16,
        queues: Queues,
    ) -> Result<OpenedPairs<Self>, Self::Error>;

    /// As [`Nic::start`]: all queues that it was opened with, in their order.
    ///
    /// # Errors
    /// As for `start`.
    fn start_pairs(
        &mut self,
        lanes: &mut [Lane<'_, Self::Rx, Self::Tx>],
        clock: &impl Clock,
    ) -> Result<(), Self::Error>;

    /// Says which queue gets which frames, until the next start.
    ///
    /// # Errors
    /// The device cannot do that, or refuses.
    fn set_rss(&mut self, rss: &Rss<'_>, clock: &impl Clock) -> Result<(), Self::Error>;
}

/// Bytes of a key for hashing addresses and ports.
pub const RSS_KEY_BYTES: usize = 40;

/// Receive-side scaling: the Toeplitz hash of a frame's addresses, modulo the table's length, picks its queue.
#[derive(Clone, Copy, Debug)]
pub struct Rss<'a> {
    /// The key. A secret one keeps senders from choosing the queue.
    pub key: &'a [u8; RSS_KEY_BYTES],
    /// Queue numbers; a power of two of them.
    pub table: &'a [u16],
    /// What is hashed.
    pub hashed: HashTypes,
}

bitflags::bitflags! {
    /// What is hashed. Frames of other kinds go to queue 0.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct HashTypes: u32 {
        /// IPv4: addresses.
        const IPV4 = 1 << 0;
        /// TCP over IPv4: addresses and ports.
        const TCP4 = 1 << 1;
        /// UDP over IPv4: addresses and ports.
        const UDP4 = 1 << 2;
        /// IPv6: addresses.
        const IPV6 = 1 << 3;
        /// TCP over IPv6: addresses and ports.
        const TCP6 = 1 << 4;
        /// UDP over IPv6: addresses and ports.
        const UDP6 = 1 << 5;
    }
}
