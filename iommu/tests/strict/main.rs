//! The library against a model of a unit that is stricter than any real one or any emulator: it forgets nothing
//! unasked, sees only what was made visible to it, and checks every reserved bit.
#![expect(clippy::cast_possible_truncation, reason = "the model takes fields out of registers by cutting")]

#[path = "../attacks/mod.rs"]
mod attacks;
mod domains;
mod faults;
mod firmware;
mod interrupts;
mod memory;
mod owners;
mod plain_map;
mod requesters;
mod unit;
mod walk;

use memory::Memory;
use unit::Model;
use weir_iommu::Result;
use weir_iommu::address::{Iova, PhysAddr, RequesterId, UnitIndex};
use weir_iommu::domain::{Domain, DomainIds, Permissions, Unflushed};
use weir_iommu::vtd::Unit;

/// The library's unit on top of a model.
pub(crate) type TestUnit = Unit<Model, Memory, Model>;

/// Host address bits in the DMAR header.
const HOST_BITS: u8 = 46;
const DEVICE: RequesterId = RequesterId(0x0018);
const OTHER: RequesterId = RequesterId(0x0320);

/// A machine with one unit.
pub(crate) struct Machine {
    pub(crate) model: Model,
    pub(crate) unit: TestUnit,
    pub(crate) ids: DomainIds,
}

impl Machine {
    pub(crate) fn new(cap: u64, ecap: u64) -> Self {
        Self::on(Model::new(cap, ecap))
    }

    pub(crate) fn on(model: Model) -> Self {
        let unit = start(&model, 0).expect("the model has all that is needed");
        Machine { model, unit, ids: DomainIds::new() }
    }

    /// Translation on, and a domain with `DEVICE` in it.
    pub(crate) fn with_device(cap: u64, ecap: u64) -> (Self, Domain<Memory>) {
        let mut machine = Machine::new(cap, ecap);
        machine.unit.enable_translation().unwrap();
        let mut domain = machine.domain();
        machine.unit.attach(DEVICE, &mut domain).unwrap();
        (machine, domain)
    }

    pub(crate) fn domain(&mut self) -> Domain<Memory> {
        Domain::new(self.model.memory(), &mut self.ids, self.unit.capabilities(), 39).unwrap()
    }

    pub(crate) fn map(&mut self, domain: &mut Domain<Memory>, iova: u64, phys: u64, bytes: u64) {
        let mapped = domain.map(Iova(iova), PhysAddr(phys), bytes, Permissions::ReadWrite).unwrap();
        flush(mapped, &mut self.unit).unwrap();
    }

    pub(crate) fn unmap(&mut self, domain: &mut Domain<Memory>, iova: u64, bytes: u64) {
        flush(domain.unmap(Iova(iova), bytes).unwrap(), &mut self.unit).unwrap();
    }
}

pub(crate) fn start(model: &Model, index: usize) -> Result<TestUnit> {
    Unit::new(UnitIndex::new(index).unwrap(), model.clone(), model.memory(), model.clone(), HOST_BITS)
}

pub(crate) fn flush(change: Unflushed<'_, Memory>, unit: &mut TestUnit) -> Result<()> {
    change.flush(|_, what| unit.invalidate(what))
}

/// Every kind of unit that matters: capability and extended capability.
pub(crate) fn kinds() -> impl Iterator<Item = (u64, u64)> {
    let caps = [unit::CAP, unit::CAP | unit::CACHING_MODE, unit::CAP | unit::WRITE_BUFFER];
    let three_levels_small_pages = 0x00d2_0080_2226_0206;
    let without_page_selective = unit::CAP & !(1 << 39);
    let ecaps = [unit::ECAP, unit::ECAP & !unit::COHERENT, unit::ECAP | unit::SNOOP_CONTROL];
    let caps = caps.into_iter().chain([three_levels_small_pages, without_page_selective]);
    // Under Miri, which is a thousand times slower, two kinds have to do.
    caps.flat_map(move |cap| ecaps.map(|ecap| (cap, ecap))).step_by(if cfg!(miri) { 7 } else { 1 })
}
