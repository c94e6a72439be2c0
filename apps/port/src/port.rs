//! A device with what its data path works with.

use weir_hal::DmaWindow;
use weir_nic::{Nic, Queues};
use weir_pool::{BUF_BYTES, Pool};
use weir_rt::hal::{TscClock, Window};

/// A device that does not say who it is.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error(
    "nic: it has no MAC address; where it is a channel, the manifest gives one: mac = \"02:00:00:00:00:01\""
)]
pub struct NoMac;

/// A device, its queues, and the buffers that they use.
pub struct Port<N: Nic> {
    /// What is not on the data path.
    pub nic: N,
    /// Its receive queue.
    pub rx: N::Rx,
    /// Its transmit queue.
    pub tx: N::Tx,
    /// Where both take buffers from.
    pub pool: Pool,
}

impl<N: Nic> Port<N> {
    /// Opens a device, with a pool of at least `pool_bytes`; with the device's own, where it brings one. It does not run yet.
    ///
    /// # Errors
    /// The driver's; there is no memory.
    pub fn open<F>(device: N::Device, queues: Queues, pool_bytes: usize) -> Result<Port<N>, F>
    where
        F: From<N::Error> + From<weir_hal::Error>,
    {
        let (mut nic, rx, tx) = N::open(device, &Window, &TscClock, queues)?;
        // Long rings take as many buffers as they have descriptors.
        let for_rings = 2 * usize::from(queues.entries.unwrap_or_default()) * usize::from(BUF_BYTES);
        let pool = match nic.take_pool() {
            Some(pool) => pool,
            None => Pool::new(Window.allocate(pool_bytes.max(for_rings))?)?,
        };
        Ok(Port { nic, rx, tx, pool })
    }

    /// Starts the device, or starts it again.
    ///
    /// # Errors
    /// As [`Nic::start`].
    pub fn start(&mut self) -> Result<(), N::Error> {
        self.nic.start(&mut self.rx, &mut self.tx, &mut self.pool, &TscClock)
    }

    /// The device's address.
    ///
    /// # Errors
    /// The host's; [`NoMac`].
    pub fn read_mac<F: From<N::Error> + From<NoMac>>(&self) -> Result<[u8; 6], F> {
        Ok(self.nic.read_mac()?.ok_or(NoMac)?)
    }
}
