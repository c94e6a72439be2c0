//! An attack on the program itself: the device is told to read and to overwrite memory that it was never given.
//! The IOMMU, not the driver, has to stop it.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering};

use weir_hal::Iova;
use weir_nic::{Nic, RxQueue, TxQueue};
use weir_rt::hal::Function;
use weir_rt::log;

use crate::{Failure, Port};

const PATTERN: u64 = 0x5745_4952_2d63_616e;
const WORDS: usize = 256;

/// Memory of this program outside its DMA window, with known contents.
pub(crate) struct Canary(Box<[AtomicU64; WORDS]>);

impl Canary {
    fn new() -> Canary {
        Canary(Box::new([const { AtomicU64::new(PATTERN) }; WORDS]))
    }

    pub(crate) fn is_intact(&self) -> bool {
        self.0.iter().all(|word| word.load(Ordering::Relaxed) == PATTERN)
    }

    /// Its address, which no device of this program may reach.
    fn address(&self) -> Iova {
        Iova(self.0.as_ptr() as u64)
    }
}

/// A physical address where the kernel lies (its image is loaded from 1 MiB on): a device whose accesses were not
/// translated would read or overwrite it.
const KERNEL: Iova = Iova(0x10_0000);
/// Bytes the device is told to send.
const SENT_BYTES: u16 = 60;

/// Starts the device with wrong descriptors: it sends what it can read at once, and writes the first frames that
/// arrive over the same places.
pub(crate) fn attack<N: Nic<Device = Function>>(port: &mut Port<N>) -> Result<Canary, Failure>
where
    Failure: From<N::Error>,
{
    let canary = Canary::new();
    // With an empty pool the receive ring starts empty, so the wrong descriptors are the first of it.
    let bufs: Vec<_> = core::iter::from_fn(|| port.pool.take()).collect();
    port.start()?;
    bufs.into_iter().for_each(|buf| port.pool.put(buf));
    for place in [canary.address(), KERNEL] {
        let is_given = port.rx.offer_wrong_address(&mut port.pool, place)?
            && port.tx.send_wrong_address(&mut port.pool, place, SENT_BYTES)?;
        log!("bad-descriptor: device told to read and write {place}, given: {is_given}");
    }
    Ok(canary)
}
