//! An owner's window in any mode: a domain with a table of its own, or the CPU's table and a domain that shares it. The
//! cases are written once against this, and run in each mode.

pub(crate) mod cpu_table;

use cpu_table::CpuTable;
use weir_iommu::address::{DomainId, Iova, PhysAddr, RequesterId};
use weir_iommu::domain::{Domain, DomainIds, Permissions, SharedDomain, Unflushed};
use weir_iommu::environment::{Clock, Registers, TableMemory};
use weir_iommu::vtd::Unit;
use weir_iommu::{Capabilities, Mode, Result};

/// Width of the addresses of a window.
const WINDOW_BITS: u8 = 39;

pub(crate) enum Owner<M: TableMemory + Clone> {
    Own(Domain<M>),
    Shared { table: CpuTable<M>, domain: SharedDomain<M> },
}

impl<M: TableMemory + Clone> Owner<M> {
    pub(crate) fn new(
        memory: &M,
        ids: &mut DomainIds,
        capabilities: Capabilities,
        mode: Mode,
    ) -> Result<Self> {
        if mode != Mode::VtdFirstStage {
            return Domain::new(memory.clone(), ids, capabilities, mode, WINDOW_BITS).map(Owner::Own);
        }
        let table = CpuTable::new(memory.clone(), capabilities.sharing().unwrap())?;
        let domain = SharedDomain::new(memory.clone(), ids, capabilities, table.lower());
        match domain {
            Ok(domain) => Ok(Owner::Shared { table, domain }),
            Err(error) => {
                table.free();
                Err(error)
            }
        }
    }

    pub(crate) fn map(
        &mut self,
        iova: Iova,
        phys: PhysAddr,
        bytes: u64,
        permissions: Permissions,
    ) -> Result<Unflushed<'_, M>> {
        match self {
            Owner::Own(domain) => domain.map(iova, phys, bytes, permissions),
            Owner::Shared { table, domain } => {
                table.reap(domain.unflushed().is_none());
                table.map(iova.0, phys.0, bytes, permissions.allows_write())?;
                domain.added(iova, bytes)
            }
        }
    }

    pub(crate) fn unmap(&mut self, iova: Iova, bytes: u64) -> Result<Unflushed<'_, M>> {
        match self {
            Owner::Own(domain) => domain.unmap(iova, bytes),
            Owner::Shared { table, domain } => {
                table.reap(domain.unflushed().is_none());
                table.unmap(iova.0, bytes)?;
                domain.removed(iova, bytes)
            }
        }
    }

    pub(crate) fn attach<R: Registers, C: Clock>(
        &mut self,
        unit: &mut Unit<R, M, C>,
        requester: RequesterId,
    ) -> Result<()> {
        match self {
            Owner::Own(domain) => unit.attach(requester, domain),
            Owner::Shared { domain, .. } => unit.attach(requester, domain),
        }
    }

    pub(crate) fn detach<R: Registers, C: Clock>(
        &mut self,
        unit: &mut Unit<R, M, C>,
        requester: RequesterId,
    ) -> Result<()> {
        match self {
            Owner::Own(domain) => unit.detach(requester, domain),
            Owner::Shared { domain, .. } => unit.detach(requester, domain),
        }
    }

    pub(crate) fn id(&self) -> DomainId {
        match self {
            Owner::Own(domain) => domain.id(),
            Owner::Shared { domain, .. } => domain.id(),
        }
    }

    pub(crate) fn is_attached(&self) -> bool {
        match self {
            Owner::Own(domain) => domain.is_attached(),
            Owner::Shared { domain, .. } => domain.is_attached(),
        }
    }

    pub(crate) fn unflushed(&mut self) -> Option<Unflushed<'_, M>> {
        match self {
            Owner::Own(domain) => domain.unflushed(),
            Owner::Shared { domain, .. } => domain.unflushed(),
        }
    }

    /// Page-table frames that wait for a confirmation.
    pub(crate) fn quarantined_frames(&mut self) -> usize {
        match self {
            Owner::Own(domain) => domain.quarantined_frames(),
            Owner::Shared { table, domain } => {
                table.reap(domain.unflushed().is_none());
                table.removed_frames()
            }
        }
    }

    /// Gives everything back; `false` where a requester is attached, and then everything is lost.
    pub(crate) fn destroy(self, ids: &mut DomainIds) -> bool {
        match self {
            Owner::Own(domain) => domain.destroy(ids).is_ok(),
            Owner::Shared { table, domain } => {
                let is_destroyed = domain.destroy(ids).is_ok();
                if is_destroyed {
                    table.free();
                }
                is_destroyed
            }
        }
    }
}
