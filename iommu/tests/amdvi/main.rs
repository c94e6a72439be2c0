//! The library against a model of an AMD unit that is stricter than any real one or any emulator: it forgets nothing
//! unasked, sees only what was made visible to it, checks every reserved bit, moves the head before it does the work
//! and the tail before it writes the record.
#![expect(clippy::cast_possible_truncation, reason = "the model takes fields out of registers by cutting")]

#[path = "../attacks/mod.rs"]
mod attacks;
mod domains;
mod faults;
mod interrupts;
#[path = "../strict/memory.rs"]
#[expect(dead_code, reason = "write buffers are of VT-d alone")]
mod memory;
mod model;
mod owners;
#[path = "../strict/plain_map.rs"]
mod plain_map;
mod requesters;
mod scratch;
mod walk;

use memory::Memory;
use model::{Kind, Model};
use weir_iommu::acpi::ivrs::UnitFlags;
use weir_iommu::address::{Iova, PhysAddr, RequesterId, UnitIndex};
use weir_iommu::amdvi::{CapabilityHeader, Setup, Unit};
use weir_iommu::domain::{Domain, DomainIds, Permissions, Unflushed};
use weir_iommu::{Mode, Result};

/// The library's unit on top of a model.
pub(crate) type TestUnit = Unit<Model, Memory, Model>;

const DEVICE: RequesterId = RequesterId(0x0018);
const OTHER: RequesterId = RequesterId(0x0320);
const WINDOW: u64 = 0x1_0000_0000;

/// A machine with one unit.
pub(crate) struct Machine {
    pub(crate) model: Model,
    pub(crate) unit: TestUnit,
    pub(crate) ids: DomainIds,
}

impl Machine {
    pub(crate) fn new(kind: Kind) -> Self {
        Self::on(Model::new(kind))
    }

    pub(crate) fn on(model: Model) -> Self {
        let unit = start(&model, 0).expect("the model has all that is needed");
        Machine { model, unit, ids: DomainIds::new() }
    }

    /// Translation on, and a domain with `DEVICE` in it.
    pub(crate) fn with_device(kind: Kind) -> (Self, Domain<Memory>) {
        let mut machine = Machine::new(kind);
        machine.unit.enable_translation().unwrap();
        let mut domain = machine.domain();
        machine.unit.attach(DEVICE, &mut domain).unwrap();
        (machine, domain)
    }

    pub(crate) fn domain(&mut self) -> Domain<Memory> {
        Domain::new(self.model.memory(), &mut self.ids, self.unit.capabilities(), Mode::AmdVi, 39).unwrap()
    }

    pub(crate) fn map(&mut self, domain: &mut Domain<Memory>, iova: u64, phys: u64, bytes: u64) {
        let mapped = domain.map(Iova(iova), PhysAddr(phys), bytes, Permissions::ReadWrite).unwrap();
        flush(mapped, &mut self.unit).unwrap();
    }

    pub(crate) fn unmap(&mut self, domain: &mut Domain<Memory>, iova: u64, bytes: u64) {
        flush(domain.unmap(Iova(iova), bytes).unwrap(), &mut self.unit).unwrap();
    }
}

pub(crate) fn setup(kind: Kind) -> Setup {
    let capability = CapabilityHeader::new().with_id(0x0f).with_kind(3);
    Setup {
        host_address_bits: 46,
        capability: capability
            .with_caches_not_present(kind.caches_not_present)
            .with_has_extended_features(kind.features != 0),
        extended_features: None,
        flags: UnitFlags::new().with_is_coherent(kind.is_coherent),
    }
}

pub(crate) fn start(model: &Model, index: usize) -> Result<TestUnit> {
    let index = UnitIndex::new(index).unwrap();
    Unit::new(index, model.clone(), model.memory(), model.clone(), setup(model.kind()))
}

pub(crate) fn flush(change: Unflushed<'_, Memory>, unit: &mut TestUnit) -> Result<()> {
    change.flush(|_, what| unit.invalidate(what))
}

/// Every kind of unit that matters, but for units without extended features, which take long to switch on.
pub(crate) fn kinds() -> impl Iterator<Item = Kind> {
    let kinds = [
        model::FULL,
        Kind { is_coherent: false, ..model::FULL },
        Kind { caches_not_present: true, ..model::FULL },
        Kind { caches_not_present: true, is_coherent: false, features: 0x2c4 },
        Kind { features: 0x40, ..model::FULL },
    ];
    kinds.into_iter().take(if cfg!(miri) { 1 } else { 5 })
}
