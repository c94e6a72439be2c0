//! What the devices of one process reach.
//!
//! **Invariant: a requester stays attached as long as one function that sends with it is**, and a domain with a
//! requester attached is never destroyed: its tables stay for ever.

use alloc::vec::Vec;

use weir_abi::Error;
use weir_abi::layout::DMA_WINDOW_END;
use weir_iommu::address::{Iova, PhysAddr as UnitPhysAddr, RequesterId, UnitIndex};
use weir_iommu::domain::{Domain as Tables, Invalidation, Leaf, Permissions};

use super::hardware::TableFrames;
use super::{Cover, UNITS, caller_error, unit, units};
use crate::mm::address::PhysRange;

/// The domain of a process.
pub(crate) struct Domain {
    tables: Tables<TableFrames>,
    attached: Vec<Attached>,
}

/// A requester that reaches the domain.
struct Attached {
    unit: usize,
    requester: RequesterId,
    /// How many of the process's functions send with it: those behind one bridge share its id.
    functions: u32,
}

impl Domain {
    /// An empty domain.
    pub(crate) fn new() -> Result<Domain, Error> {
        let units = units()?;
        let bits = DMA_WINDOW_END.ilog2() as u8;
        let tables = Tables::new(TableFrames, &mut units.ids.lock(), units.capabilities, bits);
        Ok(Domain { tables: tables.map_err(caller_error)?, attached: Vec::new() })
    }

    /// Gives the tables back; fails while something is attached, and then keeps them for ever.
    pub(crate) fn destroy(self) -> Result<(), Error> {
        // What is not destroyed keeps its tables: a unit may still walk them.
        self.tables.destroy(&mut units()?.ids.lock()).map_err(|_kept| Error::Hardware)
    }

    /// Lets the devices reach `at`, at `iova`. On failure nothing has changed.
    pub(crate) fn map(&mut self, iova: u64, at: PhysRange, is_writable: bool) -> Result<(), Error> {
        let permissions = if is_writable { Permissions::ReadWrite } else { Permissions::ReadOnly };
        let change = self.tables.map(Iova(iova), UnitPhysAddr(at.start), at.bytes(), permissions);
        change.and_then(|change| change.flush(invalidate)).map_err(caller_error)
    }

    /// Takes a range away. After an error the devices may still reach it: its frames must not be used again.
    pub(crate) fn unmap(&mut self, iova: u64, bytes: u64) -> Result<(), Error> {
        let change = self.tables.unmap(Iova(iova), bytes);
        change.and_then(|change| change.flush(invalidate)).map_err(caller_error)
    }

    /// The leaf that devices find at `iova`, else the first one above: what the tables say, not what they should.
    pub(crate) fn next_leaf(&self, iova: u64) -> Option<Leaf> {
        self.tables.next_leaf(Iova(iova))
    }

    /// Lets a function reach the domain, whatever it sends with. On failure it reaches nothing, or the domain cannot
    /// be destroyed any more.
    pub(crate) fn attach(&mut self, cover: &Cover) -> Result<(), Error> {
        for (done, requester) in cover.requesters.iter().enumerate() {
            if let Err(error) = self.attach_one(cover.unit, *requester) {
                // What cannot be undone stays in the list, and keeps the domain.
                let _ = self.detach_each(cover.unit, &cover.requesters[..done]);
                return Err(error);
            }
        }
        Ok(())
    }

    /// Cuts a function off; when this has returned, no access of it lands.
    ///
    /// A requester that another function of the process uses, too, stays: what carries it reaches no more than before,
    /// and a function whose bus mastering is off sends nothing.
    pub(crate) fn detach(&mut self, cover: &Cover) -> Result<(), Error> {
        self.detach_each(cover.unit, &cover.requesters)
    }

    fn attach_one(&mut self, at: usize, requester: RequesterId) -> Result<(), Error> {
        if let Some(known) = self.find(at, requester) {
            self.attached[known].functions += 1;
            return Ok(());
        }
        self.attached.try_reserve(1).map_err(|_| Error::NoMemory)?;
        unit(at)?.lock().attach(requester, &mut self.tables).map_err(caller_error)?;
        self.attached.push(Attached { unit: at, requester, functions: 1 });
        Ok(())
    }

    fn detach_each(&mut self, at: usize, requesters: &[RequesterId]) -> Result<(), Error> {
        let mut outcome = Ok(());
        for requester in requesters {
            outcome = outcome.and(self.detach_one(at, *requester));
        }
        outcome
    }

    fn detach_one(&mut self, at: usize, requester: RequesterId) -> Result<(), Error> {
        let known = self.find(at, requester).ok_or(Error::NotFound)?;
        self.attached[known].functions -= 1;
        if self.attached[known].functions > 0 {
            return Ok(());
        }
        self.attached.swap_remove(known);
        unit(at)?.lock().detach(requester, &mut self.tables).map_err(caller_error)
    }

    fn find(&self, unit: usize, requester: RequesterId) -> Option<usize> {
        self.attached.iter().position(|a| (a.unit, a.requester) == (unit, requester))
    }
}

fn invalidate(index: UnitIndex, change: &Invalidation) -> weir_iommu::Result<()> {
    let unit = UNITS.get().and_then(|units| units.units.get(index.get()));
    unit.ok_or(weir_iommu::Error::NotThisUnit)?.lock().invalidate(change)
}
