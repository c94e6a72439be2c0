//! Many owners and devices behind two units: see [`attacks`](super::attacks).

use super::attacks::{Refusal, Tally, Wall, play};
use super::memory::Memory;
use super::owner::Owner;
use super::unit::{CACHING_MODE, CAP, COHERENT, COHERENT_WALKS, Model, WRITE_BUFFER};
use super::{Kind, PLAIN, TestUnit, start};
use weir_iommu::address::RequesterId;
use weir_iommu::domain::{DomainIds, Unflushed};
use weir_iommu::vtd::{ApicMode, Fault, FaultReason, InterruptHandle, InterruptRoute};
use weir_iommu::{Error, Mode, Result};

/// Domain ids of 4 bits.
const FEW_IDS: u64 = CAP & !7;

struct Machine {
    models: [Model; 2],
    units: [TestUnit; 2],
    ids: DomainIds,
    mode: Mode,
}

impl Machine {
    fn new(Kind { cap, ecap, mode }: Kind) -> Machine {
        let memory = Memory::new(ecap & COHERENT != 0, cap & WRITE_BUFFER != 0);
        let models = [0, 1].map(|id| Model::with_memory(id, cap, ecap, memory.clone()));
        let mut units = [0, 1].map(|id| start(&models[id], id).unwrap());
        for unit in &mut units {
            unit.enable_translation(mode).unwrap();
            unit.enable_interrupt_remapping(ApicMode::X2Apic).unwrap();
        }
        Machine { models, units, ids: DomainIds::new(), mode }
    }

    fn model(&self, device: RequesterId) -> &Model {
        &self.models[usize::from(device.bus()) % 2]
    }

    fn unit(&mut self, device: RequesterId) -> &mut TestUnit {
        &mut self.units[usize::from(device.bus()) % 2]
    }
}

impl Wall for Machine {
    type Domain = Owner<Memory>;
    type Handle = (u16, InterruptHandle);
    const HAS_OWN_ENTRIES: bool = false;

    fn memory(&self) -> Memory {
        self.models[0].memory()
    }

    fn new_domain(&mut self) -> Result<Self::Domain> {
        let memory = self.models[0].page_table_memory(self.mode);
        let domain = Owner::new(&memory, &mut self.ids, self.units[0].capabilities(), self.mode);
        self.memory().drain_write_buffer();
        domain
    }

    fn destroy(&mut self, domain: Self::Domain) {
        assert!(domain.destroy(&mut self.ids), "nothing is attached");
    }

    fn attach(&mut self, device: RequesterId, domain: &mut Self::Domain) -> Result<()> {
        domain.attach(self.unit(device), device)
    }

    /// A requester that was detached has nothing under way.
    fn detach(&mut self, device: RequesterId, domain: &mut Self::Domain) -> Result<()> {
        domain.detach(self.unit(device), device)?;
        assert!(self.model(device).in_flight().all(|flight| flight.requester != device.0));
        Ok(())
    }

    fn flush(&mut self, change: Unflushed<'_, Memory>) -> Result<()> {
        let mut is_known = false;
        let flushed = change.flush(|unit, what| {
            is_known = true;
            self.units[unit.get()].invalidate(what)
        });
        if !is_known {
            // No unit walks the table yet: what is in the buffer leaves it before the next change.
            self.memory().drain_write_buffer();
        }
        self.models.iter().for_each(|model| _ = model.take_events());
        flushed
    }

    /// Two units have two tables: which one is part of the name.
    fn allocate(&mut self, route: InterruptRoute) -> Result<Self::Handle> {
        let unit = u16::from(route.requester.bus() % 2);
        self.unit(route.requester).allocate_interrupt(route).map(|handle| (unit, handle))
    }

    fn free(&mut self, route: InterruptRoute, (_, handle): Self::Handle) -> Result<()> {
        self.unit(route.requester).free_interrupt(handle)
    }

    fn index((unit, handle): &Self::Handle) -> u16 {
        handle.index() << 1 | unit
    }

    fn access(&self, device: RequesterId, iova: u64, is_write: bool) -> Option<u64> {
        self.model(device).dma(device.0, iova, is_write)
    }

    fn translated_access(&self, device: RequesterId, phys: u64) -> Option<u64> {
        self.model(device).translated(device.0, phys)
    }

    fn message(&self, device: RequesterId, index: u16) -> Option<u8> {
        // An entry of the other unit is beyond reach: the message names the same index at its own.
        let is_other = index & 1 != u16::from(device.bus() % 2);
        let index = if is_other { 0xfff } else { index >> 1 };
        let address = 0xfee0_0010 | u64::from(index) << 5;
        self.model(device).message(device.0, address).map(|(vector, _)| vector)
    }

    fn forged_message(&self, device: RequesterId, _: u8) -> Option<u8> {
        self.model(device).message(device.0, 0xfee0_0000).map(|(vector, _)| vector)
    }

    fn faults(&mut self) -> Vec<Fault> {
        let mut faults = Vec::new();
        self.units.iter_mut().for_each(|unit| _ = unit.drain_faults(|fault| faults.push(fault)));
        faults
    }

    fn reasons(&self, refusal: Refusal) -> &'static [FaultReason] {
        const TRANSLATED: FaultReason = FaultReason(0xd);
        const DEVICE_TLB_OFF: FaultReason = FaultReason(0x44);
        const ROOT: FaultReason = FaultReason::SCALABLE_ROOT_NOT_PRESENT;
        const CONTEXT: FaultReason = FaultReason::SCALABLE_CONTEXT_NOT_PRESENT;
        match (refusal, self.mode) {
            (Refusal::Blocked, Mode::VtdLegacy) => {
                &[FaultReason::ROOT_NOT_PRESENT, FaultReason::CONTEXT_NOT_PRESENT]
            }
            (Refusal::Read, Mode::VtdLegacy) => &[FaultReason::READ],
            (Refusal::Write, Mode::VtdLegacy) => &[FaultReason::WRITE],
            (Refusal::Translated, Mode::VtdLegacy) => {
                &[TRANSLATED, FaultReason::ROOT_NOT_PRESENT, FaultReason::CONTEXT_NOT_PRESENT]
            }
            (Refusal::Blocked, _) => &[ROOT, CONTEXT],
            (Refusal::Translated, _) => &[DEVICE_TLB_OFF, ROOT, CONTEXT],
            (Refusal::Read | Refusal::Write, Mode::VtdSecondStage) => &[FaultReason::SECOND_STAGE_PERMISSION],
            (Refusal::Read, _) => &[FaultReason::FIRST_STAGE_NOT_PRESENT, FaultReason::NOT_CANONICAL],
            (Refusal::Write, _) => &[
                FaultReason::FIRST_STAGE_NOT_PRESENT,
                FaultReason::SCALABLE_WRITE,
                FaultReason::NOT_CANONICAL,
            ],
            (Refusal::Forged, _) => &[FaultReason::INTERRUPT_COMPATIBILITY],
            (Refusal::NoEntry, _) => &[FaultReason::INTERRUPT_NOT_PRESENT],
            (Refusal::ForeignEntry, _) => {
                &[FaultReason::INTERRUPT_SOURCE, FaultReason::INTERRUPT_NOT_PRESENT]
            }
        }
    }
}

/// Units that forget, see and know as little as there is, in every mode.
fn hard_kinds() -> impl Iterator<Item = Kind> {
    let variants = [
        |kind| kind,
        |kind: Kind| Kind { cap: kind.cap & !7 | CACHING_MODE, ecap: kind.ecap & !BLIND, ..kind },
        |kind: Kind| Kind { cap: kind.cap | WRITE_BUFFER, ..kind },
        |kind: Kind| Kind { cap: kind.cap & !(1 << 39), ecap: kind.ecap & !BLIND, ..kind },
        |kind: Kind| Kind { cap: 0x00d2_0080_2226_0206 | CACHING_MODE, ..kind },
    ];
    variants.into_iter().flat_map(|change| PLAIN.map(change))
}

/// What lets units see tables without a flush.
const BLIND: u64 = COHERENT | COHERENT_WALKS;

fn play_all(changes: u64) -> Tally {
    let mut total = Tally::default();
    for (seed, kind) in (1..).zip(hard_kinds()) {
        total += play(&mut Machine::new(kind), seed, changes);
    }
    println!("VT-d, in each mode: {total:?}");
    assert!(total.refused > total.attempts / 4 && total.refused < total.attempts, "{total:?}");
    total
}

#[test]
fn every_attempt_has_the_answer_of_the_books() {
    play_all(if cfg!(miri) { 20 } else { 3_000 });
}

#[test]
#[ignore = "a minute: 10^6 changes, 5 * 10^6 attempts; cargo test -- --ignored a_million"]
fn a_million_attempts_have_the_answer_of_the_books() {
    let total = play_all(70_000);
    assert!(total.changes >= 1_000_000 && total.attempts >= 5_000_000, "{total:?}");
}

#[test]
fn ids_run_out_and_come_back_clean() {
    let mut machine = Machine::new(Kind { cap: FEW_IDS, ..PLAIN[0] });
    let mut domains: Vec<_> = (1..16).map(|_| machine.new_domain().unwrap()).collect();
    assert_eq!(machine.new_domain().err(), Some(Error::OutOfDomainIds));
    let tally = {
        let freed = domains.split_off(11);
        freed.into_iter().for_each(|domain| machine.destroy(domain));
        play(&mut machine, 77, if cfg!(miri) { 20 } else { 3_000 })
    };
    assert!(tally.changes > 0);
    assert_eq!((0..4).filter(|_| machine.new_domain().is_ok()).count(), 4, "the four came back");
    assert_eq!(machine.new_domain().err(), Some(Error::OutOfDomainIds));
}
