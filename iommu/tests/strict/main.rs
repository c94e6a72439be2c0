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
#[path = "../owner/mod.rs"]
mod owner;
mod owners;
mod plain_map;
mod requesters;
mod scalable;
mod scratch;
mod unit;
mod walk;

use memory::Memory;
use owner::Owner;
use unit::Model;
use weir_iommu::address::{Iova, PhysAddr, RequesterId, UnitIndex};
use weir_iommu::domain::{DomainIds, Permissions, Unflushed};
use weir_iommu::vtd::Unit;
use weir_iommu::{Mode, Result};

/// The library's unit on top of a model.
pub(crate) type TestUnit = Unit<Model, Memory, Model>;
pub(crate) type TestDomain = Owner<Memory>;

/// Host address bits in the DMAR header.
const HOST_BITS: u8 = 46;
const DEVICE: RequesterId = RequesterId(0x0018);
const OTHER: RequesterId = RequesterId(0x0320);

/// A kind of unit, and the mode it is used in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kind {
    pub(crate) cap: u64,
    pub(crate) ecap: u64,
    pub(crate) mode: Mode,
}

/// A machine with one unit.
pub(crate) struct Machine {
    pub(crate) model: Model,
    pub(crate) unit: TestUnit,
    pub(crate) ids: DomainIds,
    mode: Mode,
}

impl Machine {
    pub(crate) fn new(kind: Kind) -> Self {
        Self::on(Model::new(kind.cap, kind.ecap), kind.mode)
    }

    pub(crate) fn on(model: Model, mode: Mode) -> Self {
        let unit = start(&model, 0).expect("the model has all that is needed");
        Machine { model, unit, ids: DomainIds::new(), mode }
    }

    /// The same, with translation on.
    pub(crate) fn enabled(kind: Kind) -> Self {
        let mut machine = Machine::new(kind);
        machine.unit.enable_translation(kind.mode).unwrap();
        machine
    }

    /// The same, and a domain with `DEVICE` in it.
    pub(crate) fn with_device(kind: Kind) -> (Self, TestDomain) {
        let mut machine = Machine::enabled(kind);
        let mut domain = machine.domain();
        machine.attach(DEVICE, &mut domain).unwrap();
        (machine, domain)
    }

    pub(crate) fn domain(&mut self) -> TestDomain {
        let memory = self.model.page_table_memory(self.mode);
        Owner::new(&memory, &mut self.ids, self.unit.capabilities(), self.mode).unwrap()
    }

    pub(crate) fn attach(&mut self, requester: RequesterId, domain: &mut TestDomain) -> Result<()> {
        domain.attach(&mut self.unit, requester)
    }

    /// A requester that was detached has nothing under way.
    pub(crate) fn detach(&mut self, requester: RequesterId, domain: &mut TestDomain) -> Result<()> {
        domain.detach(&mut self.unit, requester)?;
        let late = self.model.in_flight().find(|flight| flight.requester == requester.0);
        assert!(late.is_none(), "{late:?} after the detach");
        Ok(())
    }

    pub(crate) fn map(&mut self, domain: &mut TestDomain, iova: u64, phys: u64, bytes: u64) {
        let mapped = domain.map(Iova(iova), PhysAddr(phys), bytes, Permissions::ReadWrite).unwrap();
        flush(mapped, &mut self.unit).unwrap();
    }

    pub(crate) fn unmap(&mut self, domain: &mut TestDomain, iova: u64, bytes: u64) {
        flush(domain.unmap(Iova(iova), bytes).unwrap(), &mut self.unit).unwrap();
        self.assert_drained(iova, bytes);
    }

    /// Nothing is under way to a range that was unmapped.
    pub(crate) fn assert_drained(&self, iova: u64, bytes: u64) {
        let pages = iova >> 12..(iova + bytes) >> 12;
        let late = self.model.in_flight().find(|flight| pages.contains(&flight.page));
        assert!(late.is_none(), "{late:?} after the flush");
    }
}

pub(crate) fn start(model: &Model, index: usize) -> Result<TestUnit> {
    Unit::new(UnitIndex::new(index).unwrap(), model.clone(), model.memory(), model.clone(), HOST_BITS)
}

pub(crate) fn flush(change: Unflushed<'_, Memory>, unit: &mut TestUnit) -> Result<()> {
    change.flush(|_, what| unit.invalidate(what))
}

/// One kind of unit for each mode: all it needs, coherent, and no more.
pub(crate) const PLAIN: [Kind; 3] = [
    Kind { cap: unit::CAP, ecap: unit::ECAP, mode: Mode::VtdLegacy },
    Kind { cap: unit::CAP, ecap: unit::ECAP | SECOND, mode: Mode::VtdSecondStage },
    Kind { cap: unit::CAP | unit::HUGE_FIRST_STAGE, ecap: unit::ECAP | FIRST, mode: Mode::VtdFirstStage },
];
pub(crate) const LEGACY: Kind = PLAIN[0];
pub(crate) const FIRST_STAGE: Kind = PLAIN[2];
const SECOND: u64 = unit::SCALABLE | unit::SECOND_STAGE | unit::COHERENT_WALKS;
const FIRST: u64 = unit::SCALABLE | unit::FIRST_STAGE | unit::COHERENT_WALKS;

/// The plain kinds whose domains have tables of their own.
pub(crate) fn with_own_tables() -> impl Iterator<Item = Kind> {
    PLAIN.into_iter().filter(|kind| kind.mode != Mode::VtdFirstStage)
}

/// Every kind of unit that matters, in every mode.
pub(crate) fn kinds() -> impl Iterator<Item = Kind> {
    let variants = [
        |kind| kind,
        |kind: Kind| Kind { cap: kind.cap | unit::CACHING_MODE, ..kind },
        |kind: Kind| Kind { cap: kind.cap | unit::WRITE_BUFFER, ..kind },
        |kind: Kind| Kind { cap: kind.cap & !unit::PAGE_SELECTIVE, ..kind },
        |kind: Kind| Kind { cap: kind.cap | unit::ENHANCED_SET_ROOT, ..kind },
        // Three levels of 39 bits, small pages only; 256 domains.
        |kind: Kind| Kind { cap: 0x00d2_0080_2226_0206, ..kind },
        // Five levels of 57 bits and nothing less.
        |kind: Kind| Kind { cap: kind.cap & !0x003f_1f00 | 0x0038_0800, ..kind },
        // All modes offered, whichever is used.
        |kind: Kind| Kind { ecap: kind.ecap | SECOND | FIRST, ..kind },
    ];
    let coherencies = [
        |kind| kind,
        |kind: Kind| Kind { ecap: kind.ecap & !(unit::COHERENT | unit::COHERENT_WALKS), ..kind },
        |kind: Kind| Kind { ecap: kind.ecap & !unit::COHERENT_WALKS | unit::SNOOP_CONTROL, ..kind },
        |kind: Kind| Kind { ecap: kind.ecap & !unit::COHERENT, ..kind },
    ];
    let all = PLAIN.into_iter().flat_map(move |kind| variants.map(|change| change(kind)));
    let all = all.flat_map(move |kind| coherencies.map(|change| change(kind)));
    // Under Miri, which is a thousand times slower, three kinds have to do.
    all.step_by(if cfg!(miri) { 37 } else { 1 })
}
