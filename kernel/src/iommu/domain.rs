//! What the devices of one process reach.
//!
//! **Invariant: a requester stays attached as long as one function that sends with it is**, and a domain with a
//! requester attached is never destroyed: its tables stay for ever.
//!
//! Where devices walk the CPU's tables (first-stage mode) those are the single truth, and the domain only makes the
//! units take note; else it has tables of its own, which mirror the DMA window.

use alloc::vec::Vec;

use weir_abi::Error;
use weir_abi::layout::DMA_WINDOW_END;
use weir_iommu::Blame;
use weir_iommu::address::{Iova, PhysAddr as UnitPhysAddr, RequesterId, UnitIndex};
use weir_iommu::domain::{Domain as OwnTables, Invalidation, Leaf, Permissions, SharedDomain};
use weir_iommu::unit::Mode;

use super::hardware::TableFrames;
use super::{Cover, UNITS, caller_error, unit, units};
use crate::mm::address::PhysAddr;
use crate::mm::memory::Memory;
use crate::mm::paging;

/// The domain of a process.
pub(crate) struct Domain {
    tables: Tables,
    attached: Vec<Attached>,
    /// A unit did not confirm a change: what it may still use is not known any more.
    is_unconfirmed: bool,
}

/// What the units walk.
enum Tables {
    Own(OwnTables<TableFrames>),
    Cpu(SharedDomain<TableFrames>),
}

/// A requester that reaches the domain.
struct Attached {
    unit: usize,
    requester: RequesterId,
    /// How many of the process's functions send with it: those behind one bridge share its id.
    functions: u32,
}

impl Domain {
    /// A domain of the process whose CPUs find the DMA window through the table at `window`; where it has tables of its
    /// own, they are empty.
    pub(crate) fn new(window: PhysAddr) -> Result<Domain, Error> {
        let units = units()?;
        let (ids, capabilities) = (&mut *units.ids.lock(), units.capabilities);
        let bits = DMA_WINDOW_END.ilog2() as u8;
        let tables = match units.mode {
            Mode::VtdFirstStage => {
                SharedDomain::new(TableFrames, ids, capabilities, UnitPhysAddr(window.0)).map(Tables::Cpu)
            }
            mode => OwnTables::new(TableFrames, ids, capabilities, mode, bits).map(Tables::Own),
        };
        let tables = tables.map_err(caller_error)?;
        Ok(Domain { tables, attached: Vec::new(), is_unconfirmed: false })
    }

    /// Where the table is that devices begin to walk at, if it shares the CPU's.
    pub(crate) fn shared_root(&self) -> Option<PhysAddr> {
        match &self.tables {
            Tables::Own(_) => None,
            Tables::Cpu(domain) => Some(PhysAddr(domain.root().0)),
        }
    }

    /// Gives the tables back; fails while something is attached, and then keeps them for ever.
    pub(crate) fn destroy(self) -> Result<(), Error> {
        let mut ids = units()?.ids.lock();
        // What is not destroyed keeps its tables: a unit may still walk them.
        match self.tables {
            Tables::Own(domain) => domain.destroy(&mut ids).map_err(|_kept| Error::Hardware),
            Tables::Cpu(domain) => domain.destroy(&mut ids).map_err(|_kept| Error::Hardware),
        }
    }

    /// The CPU's tables map a part of `memory` at `address` now: devices reach it, too. After an error they reach it
    /// only as far as the CPU's tables still lead there: see [`Domain::take_back`].
    pub(crate) fn added(
        &mut self,
        address: u64,
        memory: &Memory,
        offset: u64,
        bytes: u64,
        is_writable: bool,
    ) -> Result<(), Error> {
        let outcome = match &mut self.tables {
            Tables::Own(domain) => mirror(domain, address, memory, offset, bytes, is_writable),
            Tables::Cpu(domain) => {
                domain.added(Iova(address), bytes).and_then(|change| change.flush(invalidate))
            }
        };
        outcome.map_err(|error| self.note(error))
    }

    /// The CPU's tables no longer map a range that was [`added`](Domain::added), and CPUs have forgotten it. When this
    /// has returned, devices have, too; after an error they may still reach it and walk the tables that led there:
    /// neither must be used again.
    pub(crate) fn removed(&mut self, address: u64, bytes: u64) -> Result<(), Error> {
        let outcome = match &mut self.tables {
            Tables::Own(domain) => unmap(domain, address, bytes),
            Tables::Cpu(domain) => {
                domain.removed(Iova(address), bytes).and_then(|change| change.flush(invalidate))
            }
        };
        outcome.map_err(|error| self.note(error))
    }

    /// As [`removed`](Domain::removed), for a range that was not added, or not wholly.
    pub(crate) fn take_back(&mut self, address: u64, bytes: u64) -> Result<(), Error> {
        match self.tables {
            Tables::Own(_) if self.is_unconfirmed => Err(Error::Hardware),
            Tables::Own(_) => Ok(()),
            Tables::Cpu(_) => self.removed(address, bytes),
        }
    }

    fn note(&mut self, error: weir_iommu::Error) -> Error {
        self.is_unconfirmed |= error.blame() == Blame::Unit;
        caller_error(error)
    }

    /// The leaf that devices find at `iova`, else the first one above: what the tables say, not what they should.
    pub(crate) fn next_leaf(&self, iova: u64) -> Option<Leaf> {
        match &self.tables {
            Tables::Own(domain) => domain.next_leaf(Iova(iova)),
            Tables::Cpu(domain) => paging::next_leaf(PhysAddr(domain.root().0), iova).map(device_leaf),
        }
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
        let mut unit = unit(at)?.lock();
        let attached = match &mut self.tables {
            Tables::Own(domain) => unit.attach(requester, domain),
            Tables::Cpu(domain) => unit.attach(requester, domain),
        };
        attached.map_err(caller_error)?;
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
        let mut unit = unit(at)?.lock();
        let detached = match &mut self.tables {
            Tables::Own(domain) => unit.detach(requester, domain),
            Tables::Cpu(domain) => unit.detach(requester, domain),
        };
        detached.map_err(caller_error)
    }

    fn find(&self, unit: usize, requester: RequesterId) -> Option<usize> {
        self.attached.iter().position(|a| (a.unit, a.requester) == (unit, requester))
    }
}

/// Maps a part of `memory` for devices, at `address`; on failure nothing of it stays.
fn mirror(
    domain: &mut OwnTables<TableFrames>,
    address: u64,
    memory: &Memory,
    offset: u64,
    bytes: u64,
    is_writable: bool,
) -> weir_iommu::Result<()> {
    let permissions = if is_writable { Permissions::ReadWrite } else { Permissions::ReadOnly };
    let mut done = 0;
    for run in memory.runs(offset, bytes) {
        let change = domain.map(Iova(address + done), UnitPhysAddr(run.start), run.bytes(), permissions);
        if let Err(error) = change.and_then(|change| change.flush(invalidate)) {
            if done > 0 {
                unmap(domain, address, done)?;
            }
            return Err(error);
        }
        done += run.bytes();
    }
    Ok(())
}

/// A leaf of the CPU's tables, as devices see it.
fn device_leaf(leaf: paging::Leaf) -> Leaf {
    let permissions = if leaf.write { Permissions::ReadWrite } else { Permissions::ReadOnly };
    Leaf { iova: Iova(leaf.address), phys: UnitPhysAddr(leaf.to.0), bytes: leaf.bytes, permissions }
}

fn unmap(domain: &mut OwnTables<TableFrames>, address: u64, bytes: u64) -> weir_iommu::Result<()> {
    domain.unmap(Iova(address), bytes).and_then(|change| change.flush(invalidate))
}

fn invalidate(index: UnitIndex, change: &Invalidation) -> weir_iommu::Result<()> {
    let unit = UNITS.get().and_then(|units| units.units.get(index.get()));
    unit.ok_or(weir_iommu::Error::NotThisUnit)?.lock().invalidate(change)
}
