//! Many owners and devices behind one unit: see [`attacks`](super::attacks).

use super::attacks::{Refusal, Tally, Wall, play};
use super::memory::Memory;
use super::model::OLD;
use super::{Kind, Machine, kinds};
use weir_iommu::address::RequesterId;
use weir_iommu::amdvi::{ApicMode, Fault, FaultReason, InterruptHandle, InterruptRoute};
use weir_iommu::domain::{Domain, Unflushed};
use weir_iommu::{Mode, Result};

impl Wall for Machine {
    type Domain = Domain<Memory>;
    type Handle = InterruptHandle;
    const HAS_OWN_ENTRIES: bool = true;

    fn memory(&self) -> Memory {
        self.model.memory()
    }

    fn new_domain(&mut self) -> Result<Self::Domain> {
        Domain::new(self.model.memory(), &mut self.ids, self.unit.capabilities(), Mode::AmdVi, 39)
    }

    fn destroy(&mut self, domain: Self::Domain) {
        assert!(domain.destroy(&mut self.ids).is_ok(), "nothing is attached");
    }

    fn attach(&mut self, device: RequesterId, domain: &mut Self::Domain) -> Result<()> {
        self.unit.attach(device, domain)
    }

    fn detach(&mut self, device: RequesterId, domain: &mut Self::Domain) -> Result<()> {
        self.unit.detach(device, domain)
    }

    fn flush(&mut self, change: Unflushed<'_, Memory>) -> Result<()> {
        let flushed = change.flush(|_, what| self.unit.invalidate(what));
        self.model.take_events();
        flushed
    }

    fn allocate(&mut self, route: InterruptRoute) -> Result<InterruptHandle> {
        self.unit.allocate_interrupt(route)
    }

    fn free(&mut self, _: InterruptRoute, handle: InterruptHandle) -> Result<()> {
        self.unit.free_interrupt(handle)
    }

    fn index(handle: &InterruptHandle) -> u16 {
        handle.index()
    }

    fn access(&self, device: RequesterId, iova: u64, is_write: bool) -> Option<u64> {
        self.model.dma(device.0, iova, is_write)
    }

    fn translated_access(&self, device: RequesterId, phys: u64) -> Option<u64> {
        self.model.translated(device.0, phys)
    }

    fn message(&self, device: RequesterId, index: u16) -> Option<u8> {
        self.model.message(device.0, index.into()).map(|(vector, _)| vector)
    }

    /// A non-maskable interrupt, which no entry is named for.
    fn forged_message(&self, device: RequesterId, vector: u8) -> Option<u8> {
        self.model.message(device.0, 0x400 | u32::from(vector)).map(|(vector, _)| vector)
    }

    fn faults(&mut self) -> Vec<Fault> {
        let mut faults = Vec::new();
        self.unit.drain_faults(|fault| faults.push(fault));
        faults
    }

    fn reasons(&self, refusal: Refusal) -> &'static [FaultReason] {
        match refusal {
            Refusal::Blocked => &[FaultReason::CONTEXT_NOT_PRESENT],
            Refusal::Read => &[FaultReason::READ],
            Refusal::Write => &[FaultReason::WRITE],
            Refusal::Translated => &[FaultReason::AMD_INVALID_REQUEST],
            Refusal::Forged | Refusal::NoEntry | Refusal::ForeignEntry => {
                &[FaultReason::INTERRUPT_NOT_PRESENT]
            }
        }
    }
}

fn machine(kind: Kind) -> Machine {
    let mut machine = Machine::new(kind);
    let mode = if kind.features == 0 { ApicMode::XApic } else { ApicMode::X2Apic };
    machine.unit.enable_interrupt_remapping(mode).unwrap();
    machine.unit.enable_translation().unwrap();
    machine
}

fn play_all(changes: u64) -> Tally {
    let mut total = Tally::default();
    for (seed, kind) in (1..).zip(kinds().chain([OLD])) {
        let mode = kind.features >> 2 & 1 == 1 && kind.features >> 7 & 1 == 1;
        if mode || kind.features == 0 {
            total += play(&mut machine(kind), seed, changes);
        }
    }
    println!("AMD-Vi: {total:?}");
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
    let total = play_all(210_000);
    assert!(total.changes >= 1_000_000 && total.attempts >= 5_000_000, "{total:?}");
}
