//! Devices that hang when they are refused: between two owners their accesses reach a page of their own, by policy.
//!
//! **Invariant: a requester is sent to a scratch page only when its owner's domain was confirmed to be left, and leaves the
//! page before it enters the next.** The page is made when the policy is set: taking a device away needs no memory. Where
//! anything fails, the device is blocked like all others.

use core::sync::atomic::{AtomicUsize, Ordering};

use weir_abi::Error;

use super::{Device, devices};
use crate::iommu::{Cover, Scratch};

/// How many devices have a page: most machines have none, and no grant looks for any there.
static PAGES: AtomicUsize = AtomicUsize::new(0);

impl Device {
    /// Makes the page, or gives it back. A device that no unit confines has none.
    pub(super) fn want_scratch(&self, is_wanted: bool) -> Result<(), Error> {
        let Ok(cover) = &self.cover else { return Ok(()) };
        let mut place = self.scratch.lock();
        match place.take() {
            None if is_wanted => {
                *place = Some(Scratch::new(cover)?);
                PAGES.fetch_add(1, Ordering::Relaxed);
            }
            Some(scratch) if !is_wanted => {
                PAGES.fetch_sub(1, Ordering::Relaxed);
                if let Err(error) = scratch.destroy(cover) {
                    log::error!("{}: its scratch page is never used again: {error}", self.function().address);
                }
            }
            as_wanted => *place = as_wanted,
        }
        Ok(())
    }

    /// Sends the device to its page, if it has one: it is in nobody's domain.
    pub(super) fn enter_scratch(&self) {
        let (Ok(cover), Some(scratch)) = (&self.cover, &mut *self.scratch.lock()) else { return };
        if let Err(error) = scratch.enter(cover) {
            log::error!("{}: it stays blocked: {error}", self.function().address);
        }
    }

    /// Takes whatever sends as this device out of scratch pages: functions behind one bridge send with its id.
    ///
    /// # Errors
    /// `Hardware`: a unit did not confirm it.
    pub(super) fn leave_scratch(&self) -> Result<(), Error> {
        let Ok(cover) = &self.cover else { return Ok(()) };
        if PAGES.load(Ordering::Relaxed) == 0 {
            return Ok(());
        }
        let leave = |device: &Device, cover: &Cover| {
            device.scratch.lock().as_mut().map_or(Ok(()), |scratch| scratch.leave(cover))
        };
        devices().try_for_each(|device| leave(&device, cover))
    }
}
