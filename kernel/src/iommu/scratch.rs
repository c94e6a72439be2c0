//! What a device reaches that belongs to nobody and does not bear being refused: one page of its own.
//!
//! **Invariant: nobody but the device ever has the page**, and it is zero whenever the device comes to it. Entering needs
//! no memory: everything was made beforehand.

use heapless::Vec as FixedVec;

use weir_abi::Error;
use weir_iommu::Error as UnitError;
use weir_iommu::address::RequesterId;
use weir_iommu::domain::ScratchDomain;

use super::cover::MOST;
use super::hardware::TableFrames;
use super::{Cover, caller_error, unit, units};

/// The page of one device, and which of its requesters are there.
pub(crate) struct Scratch {
    domain: ScratchDomain<TableFrames>,
    unit: usize,
    attached: FixedVec<RequesterId, MOST>,
}

impl Scratch {
    /// A page for what `cover` confines; nothing is there yet.
    pub(crate) fn new(cover: &Cover) -> Result<Scratch, Error> {
        let units = units()?;
        let domain = ScratchDomain::new(TableFrames, &mut units.ids.lock(), units.capabilities, units.mode);
        let domain = domain.map_err(caller_error)?;
        Ok(Scratch { domain, unit: cover.unit, attached: FixedVec::new() })
    }

    /// Sends those requesters of `cover` to the page that are in no domain: one that another function sends with, too,
    /// stays where it is. After an error the others are blocked.
    pub(crate) fn enter(&mut self, cover: &Cover) -> Result<(), Error> {
        if self.attached.is_empty() {
            self.domain.clear();
        }
        let mut unit = unit(self.unit)?.lock();
        for requester in &cover.requesters {
            match unit.attach(*requester, &mut self.domain) {
                // As many as a cover has.
                Ok(()) => drop(self.attached.push(*requester)),
                Err(UnitError::AlreadyAttached { .. }) => {}
                Err(error) => return Err(caller_error(error)),
            }
        }
        Ok(())
    }

    /// Blocks the requesters of `cover` that are here.
    pub(crate) fn leave(&mut self, cover: &Cover) -> Result<(), Error> {
        let mut unit = unit(self.unit)?.lock();
        let mut outcome = Ok(());
        for requester in &cover.requesters {
            let Some(place) = self.attached.iter().position(|known| known == requester) else { continue };
            self.attached.swap_remove(place);
            outcome = outcome.and(unit.detach(*requester, &mut self.domain).map_err(caller_error));
        }
        outcome
    }

    /// Blocks all and gives the page back; where a unit does not confirm that, it stays out of use for ever.
    pub(crate) fn destroy(mut self, cover: &Cover) -> Result<(), Error> {
        self.leave(cover)?;
        self.domain.destroy(&mut units()?.ids.lock()).map_err(|_kept| Error::Hardware)
    }
}
