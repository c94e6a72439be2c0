//! An attack on the program itself: the device is told to read and to overwrite memory that it was never given.
//! The IOMMU, not the driver, has to stop it.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering};

use weir_hal::Iova;
use weir_rt::log;

use crate::{Failure, Nic};

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

/// Starts the device with two wrong descriptors: it sends the canary's bytes at once, and writes the first frame
/// that arrives over them.
pub(crate) fn attack(nic: &mut Nic) -> Result<Canary, Failure> {
    let canary = Canary::new();
    // With an empty pool the receive ring starts empty, so the wrong descriptor is the first of it.
    let mut bufs: Vec<_> = core::iter::from_fn(|| nic.pool.take()).collect();
    nic.start()?;
    bufs.drain(..).for_each(|buf| nic.pool.put(buf));
    let bytes = 60;
    let is_given = nic.rx.offer_wrong_address(&mut nic.pool, canary.address())?
        && nic.tx.send_wrong_address(&mut nic.pool, canary.address(), bytes)?;
    log!("bad-descriptor: device told to read and write {}, given: {is_given}", canary.address());
    Ok(canary)
}
