//! Many owners and devices behind two units: see [`attacks`](super::attacks).

use super::attacks::{Refusal, Tally, Wall, play};
use super::memory::Memory;
use super::unit::{CACHING_MODE, CAP, ECAP, Model, WRITE_BUFFER};
use super::{TestUnit, start};
use weir_iommu::address::RequesterId;
use weir_iommu::domain::{Domain, DomainIds, Unflushed};
use weir_iommu::vtd::{ApicMode, Fault, FaultReason, InterruptHandle, InterruptRoute};
use weir_iommu::{Error, Result};

/// Domain ids of 4 bits.
const FEW_IDS: u64 = CAP & !7;

struct Machine {
    models: [Model; 2],
    units: [TestUnit; 2],
    ids: DomainIds,
}

impl Machine {
    fn new(cap: u64, ecap: u64) -> Machine {
        let memory = Memory::new(ecap & 1 != 0, cap & WRITE_BUFFER != 0);
        let models = [0, 1].map(|id| Model::with_memory(id, cap, ecap, memory.clone()));
        let mut units = [0, 1].map(|id| start(&models[id], id).unwrap());
        for unit in &mut units {
            unit.enable_translation().unwrap();
            unit.enable_interrupt_remapping(ApicMode::X2Apic).unwrap();
        }
        Machine { models, units, ids: DomainIds::new() }
    }

    fn model(&self, device: RequesterId) -> &Model {
        &self.models[usize::from(device.bus()) % 2]
    }

    fn unit(&mut self, device: RequesterId) -> &mut TestUnit {
        &mut self.units[usize::from(device.bus()) % 2]
    }
}

impl Wall for Machine {
    type Handle = (u16, InterruptHandle);
    const HAS_OWN_ENTRIES: bool = false;

    fn memory(&self) -> Memory {
        self.models[0].memory()
    }

    fn new_domain(&mut self) -> Result<Domain<Memory>> {
        let domain = Domain::new(self.memory(), &mut self.ids, self.units[0].capabilities(), 39);
        self.memory().drain_write_buffer();
        domain
    }

    fn destroy(&mut self, domain: Domain<Memory>) {
        assert!(domain.destroy(&mut self.ids).is_ok(), "nothing is attached");
    }

    fn attach(&mut self, device: RequesterId, domain: &mut Domain<Memory>) -> Result<()> {
        self.unit(device).attach(device, domain)
    }

    fn detach(&mut self, device: RequesterId, domain: &mut Domain<Memory>) -> Result<()> {
        self.unit(device).detach(device, domain)
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

    fn reasons(refusal: Refusal) -> &'static [FaultReason] {
        const TRANSLATED: FaultReason = FaultReason(0xd);
        match refusal {
            Refusal::Blocked => &[FaultReason::ROOT_NOT_PRESENT, FaultReason::CONTEXT_NOT_PRESENT],
            Refusal::Read => &[FaultReason::READ],
            Refusal::Write => &[FaultReason::WRITE],
            Refusal::Translated => {
                &[TRANSLATED, FaultReason::ROOT_NOT_PRESENT, FaultReason::CONTEXT_NOT_PRESENT]
            }
            Refusal::Forged => &[FaultReason::INTERRUPT_COMPATIBILITY],
            Refusal::NoEntry => &[FaultReason::INTERRUPT_NOT_PRESENT],
            Refusal::ForeignEntry => &[FaultReason::INTERRUPT_SOURCE, FaultReason::INTERRUPT_NOT_PRESENT],
        }
    }
}

/// Units that forget, see and know as little as there is.
const KINDS: [(u64, u64); 5] = [
    (CAP, ECAP),
    (FEW_IDS | CACHING_MODE, ECAP & !1),
    (CAP | WRITE_BUFFER, ECAP),
    (CAP & !(1 << 39), ECAP & !1),
    (0x00d2_0080_2226_0206 | CACHING_MODE, ECAP),
];

fn play_all(changes: u64) -> Tally {
    let mut total = Tally::default();
    for (seed, (cap, ecap)) in (1..).zip(KINDS) {
        total += play(&mut Machine::new(cap, ecap), seed, changes);
    }
    println!("VT-d, legacy mode: {total:?}");
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

#[test]
fn ids_run_out_and_come_back_clean() {
    let mut machine = Machine::new(FEW_IDS, ECAP);
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
