//! How the units of either make are used.

use super::super::amdvi::Machine;
use super::super::board::{Board, Edu, Ram, TestDomain};
use super::books::Refusal;
use super::{Access, Wall};
use std::ops::RangeInclusive;
use weir_iommu::address::{Iova, PhysAddr, RequesterId};
use weir_iommu::domain::{Domain, Permissions};
use weir_iommu::vtd::{Fault, FaultReason};
use weir_iommu::{Mode, Result};

impl Wall for Board {
    type Domain = TestDomain;

    fn new_domain(&mut self) -> TestDomain {
        self.domain()
    }

    fn destroy(&mut self, domain: TestDomain) {
        assert!(domain.destroy(&mut self.ids), "nothing is attached");
    }

    /// The CPU's tables know no memory that cannot be read.
    fn granted(&self, permissions: Permissions) -> Permissions {
        match (self.mode, permissions) {
            (Mode::VtdFirstStage, Permissions::WriteOnly) => Permissions::ReadWrite,
            _ => permissions,
        }
    }

    fn map(
        &mut self,
        domain: &mut TestDomain,
        iova: Iova,
        phys: PhysAddr,
        bytes: u64,
        permissions: Permissions,
    ) -> Result<()> {
        self.flush(domain.map(iova, phys, bytes, permissions)?)
    }

    fn unmap(&mut self, domain: &mut TestDomain, iova: Iova, bytes: u64) -> Result<()> {
        self.flush(domain.unmap(iova, bytes)?)
    }

    fn attach(&mut self, device: RequesterId, domain: &mut TestDomain) -> Result<()> {
        domain.attach(&mut self.unit, device)
    }

    fn detach(&mut self, device: RequesterId, domain: &mut TestDomain) -> Result<()> {
        domain.detach(&mut self.unit, device)
    }

    fn edu(&self, slot: u8) -> Edu {
        self.edu(slot)
    }

    fn read(&self, at: u64) -> u64 {
        self.read(at)
    }

    fn write(&self, at: u64, value: u64) {
        self.write(at, value);
    }

    /// QEMU looks at the rights of a translation it holds without a record: those of a page used the other way before.
    fn records(refusal: Refusal) -> RangeInclusive<usize> {
        match refusal {
            Refusal::Blocked | Refusal::NotMapped => 1..=1,
            Refusal::Forbidden => 0..=1,
        }
    }

    fn is_record(fault: &Fault, access: &Access, refusal: Refusal) -> bool {
        let blocked = [FaultReason::ROOT_NOT_PRESENT, FaultReason::CONTEXT_NOT_PRESENT];
        fault.iova == Iova(access.iova & !0xfff)
            && fault.is_write == access.is_write
            && blocked.contains(&fault.reason) == (refusal == Refusal::Blocked)
    }

    fn faults(&mut self) -> Vec<Fault> {
        self.faults()
    }
}

impl Wall for Machine {
    type Domain = Domain<Ram>;

    fn new_domain(&mut self) -> Domain<Ram> {
        self.domain(39)
    }

    fn destroy(&mut self, domain: Domain<Ram>) {
        assert!(domain.destroy(&mut self.ids).is_ok(), "nothing is attached");
    }

    fn granted(&self, permissions: Permissions) -> Permissions {
        permissions
    }

    fn map(
        &mut self,
        domain: &mut Domain<Ram>,
        iova: Iova,
        phys: PhysAddr,
        bytes: u64,
        permissions: Permissions,
    ) -> Result<()> {
        domain.map(iova, phys, bytes, permissions)?.flush(|_, what| self.unit.invalidate(what))
    }

    fn unmap(&mut self, domain: &mut Domain<Ram>, iova: Iova, bytes: u64) -> Result<()> {
        domain.unmap(iova, bytes)?.flush(|_, what| self.unit.invalidate(what))
    }

    fn attach(&mut self, device: RequesterId, domain: &mut Domain<Ram>) -> Result<()> {
        self.unit.attach(device, domain)
    }

    fn detach(&mut self, device: RequesterId, domain: &mut Domain<Ram>) -> Result<()> {
        self.unit.detach(device, domain)
    }

    fn edu(&self, slot: u8) -> Edu {
        self.edu(slot)
    }

    fn read(&self, at: u64) -> u64 {
        self.read(at)
    }

    fn write(&self, at: u64, value: u64) {
        self.write(at, value);
    }

    /// QEMU writes two records, none for a blocked device, and none from a translation it holds.
    fn records(refusal: Refusal) -> RangeInclusive<usize> {
        match refusal {
            Refusal::Blocked => 0..=0,
            Refusal::NotMapped => 2..=2,
            Refusal::Forbidden => 0..=2,
        }
    }

    /// QEMU leaves out the address and the direction.
    fn is_record(fault: &Fault, _: &Access, _: Refusal) -> bool {
        fault.reason == FaultReason::CONTEXT_NOT_PRESENT
    }

    fn faults(&mut self) -> Vec<Fault> {
        self.faults()
    }
}
