//! Attaching, detaching, isolation.

use super::owner::Owner;
use super::unit::{CACHING_MODE, Event, Model, Sabotage, WRITE_BUFFER};
use super::{DEVICE, FIRST_STAGE, Kind, LEGACY, Machine, OTHER, PLAIN, kinds, start};
use weir_iommu::address::RequesterId;
use weir_iommu::vtd::ApicMode;
use weir_iommu::{Error, Mode, Wait};

const WINDOW: u64 = 0x1_0000_0000;
const TE: u32 = 1 << 31;
const SRTP: u32 = 1 << 30;
const WBF: u32 = 1 << 27;
const QIE: u32 = 1 << 26;
const IRE: u32 = 1 << 25;
const SIRTP: u32 = 1 << 24;
const CFI: u32 = 1 << 23;

#[test]
fn everybody_is_blocked_from_the_start() {
    for kind in kinds() {
        let mut machine = Machine::new(kind);
        machine.unit.enable_translation(kind.mode).unwrap();
        for requester in [0, DEVICE.0, 0x8000, 0xffff] {
            assert_eq!(machine.model.dma(requester, 0x1000, true), None);
        }
    }
}

#[test]
fn only_the_requester_attached_reaches_the_domain() {
    for kind in kinds() {
        let (mut machine, mut domain) = Machine::with_device(kind);
        machine.map(&mut domain, WINDOW, 0x8000_0000, 0x1000);
        let neighbour = RequesterId(DEVICE.0 + 1);
        let lands = |requester: RequesterId| machine.model.dma(requester.0, WINDOW, true).is_some();
        assert!(lands(DEVICE) && !lands(neighbour) && !lands(OTHER));
        machine.attach(OTHER, &mut domain).unwrap();
        let lands = |requester: RequesterId| machine.model.dma(requester.0, WINDOW, true).is_some();
        assert!(lands(DEVICE) && !lands(neighbour) && lands(OTHER), "{kind:x?}");
    }
}

#[test]
fn a_detached_requester_is_blocked_although_everything_was_cached() {
    for kind in kinds() {
        let (mut machine, mut domain) = Machine::with_device(kind);
        machine.map(&mut domain, WINDOW, 0x8000_0000, 0x1000);
        machine.attach(OTHER, &mut domain).unwrap();
        assert!(machine.model.dma(DEVICE.0, WINDOW, true).is_some());
        machine.detach(DEVICE, &mut domain).unwrap();
        assert_eq!(machine.model.dma(DEVICE.0, WINDOW, true), None);
        assert!(machine.model.dma(OTHER.0, WINDOW, true).is_some(), "others of the domain go on");
        let mut second = machine.domain();
        machine.attach(DEVICE, &mut second).unwrap();
        assert_eq!(machine.model.dma(DEVICE.0, WINDOW, true), None, "the new domain is another one");
    }
}

#[test]
fn a_requester_is_in_one_domain_at_a_time() {
    for kind in PLAIN {
        let (mut machine, mut domain) = Machine::with_device(kind);
        let mut second = machine.domain();
        let refused = Err(Error::AlreadyAttached { requester: DEVICE });
        assert_eq!(machine.attach(DEVICE, &mut second), refused);
        assert_eq!(machine.attach(DEVICE, &mut domain), refused);
        assert_eq!(machine.detach(DEVICE, &mut second), Err(Error::NotAttached { requester: DEVICE }));
        assert_eq!(machine.detach(OTHER, &mut domain), Err(Error::NotAttached { requester: OTHER }));
        assert!(domain.is_attached() && !second.is_attached());
        machine.attach(OTHER, &mut second).unwrap();
        assert_eq!(machine.detach(OTHER, &mut domain), Err(Error::NotAttached { requester: OTHER }));
        machine.detach(OTHER, &mut second).unwrap();
        machine.detach(DEVICE, &mut domain).unwrap();
        assert!(!domain.is_attached());
        assert_eq!(machine.detach(DEVICE, &mut domain), Err(Error::NotAttached { requester: DEVICE }));
    }
}

#[test]
fn attaching_without_a_frame_changes_nothing() {
    for kind in PLAIN {
        let mut machine = Machine::new(kind);
        machine.unit.enable_translation(kind.mode).unwrap();
        let mut domain = machine.domain();
        let before = machine.model.memory().frames_in_use();
        // A context table; in scalable mode a PASID directory and a PASID table, too.
        let needed = if kind.mode == Mode::VtdLegacy { 1 } else { 3 };
        for budget in 0..needed {
            machine.model.memory().set_budget(budget);
            assert_eq!(machine.attach(DEVICE, &mut domain), Err(Error::OutOfFrames));
            assert!(!domain.is_attached());
            assert_eq!(machine.model.memory().frames_in_use(), before);
        }
        machine.model.memory().set_budget(needed);
        machine.attach(DEVICE, &mut domain).unwrap();
    }
}

/// The order of VT-d 5.10 6.5.2 and 6.6: queue, root table, context cache, PASID cache, IOTLB, translation.
#[test]
fn enable_order_is_the_specifications() {
    for kind in PLAIN {
        let mut machine = Machine::enabled(kind);
        let events: Vec<Event> =
            machine.model.take_events().into_iter().filter(|event| !is_wait(event)).collect();
        let pasids = (kind.mode != Mode::VtdLegacy).then_some(Event::Descriptor([0x37, 0]));
        let before = [Event::Command(QIE), Event::Command(QIE | SRTP), Event::Descriptor([0x11, 0])];
        let after = [Event::Descriptor([0xd2, 0]), Event::Command(TE | QIE)];
        assert_eq!(events, before.into_iter().chain(pasids).chain(after).collect::<Vec<_>>());
        assert_eq!(machine.unit.enable_translation(kind.mode), Err(Error::AlreadyEnabled));
    }
}

/// Device-selective context, domain-selective PASID, domain-selective IOTLB with draining, each confirmed (6.5.3.3,
/// 6.5.4).
#[test]
fn detach_order_is_the_specifications() {
    for kind in PLAIN {
        let (mut machine, mut domain) = Machine::with_device(kind);
        machine.model.take_events();
        machine.detach(DEVICE, &mut domain).unwrap();
        let pasids = (kind.mode != Mode::VtdLegacy).then_some([0x0001_0007, 0]);
        let expected = [[0x0018_0001_0031, 0]].into_iter().chain(pasids).chain([[0x0001_00e2, 0]]);
        let events = machine.model.take_events();
        assert_eq!(events.len() % 2, 0);
        assert!(events.chunks(2).map(|pair| pair[0]).eq(expected.map(Event::Descriptor)));
        assert!(events.chunks(2).all(|pair| is_wait(&pair[1])));
    }
}

#[test]
fn a_mode_the_unit_does_not_offer_is_refused() {
    let mut machine = Machine::new(LEGACY);
    machine.model.take_events();
    for mode in [Mode::VtdSecondStage, Mode::VtdFirstStage, Mode::AmdVi] {
        assert_eq!(machine.unit.enable_translation(mode), Err(Error::Unsupported));
    }
    assert_eq!(machine.model.take_events(), []);
    machine.unit.enable_translation(Mode::VtdLegacy).unwrap();
}

#[test]
fn nothing_is_attached_before_the_mode_is_chosen() {
    for kind in PLAIN {
        let mut machine = Machine::new(kind);
        let mut domain = machine.domain();
        assert_eq!(machine.attach(DEVICE, &mut domain), Err(Error::NotEnabled));
        assert_eq!(machine.unit.mute_faults(DEVICE, true), Err(Error::NotEnabled));
        assert!(!domain.is_attached());
    }
}

#[test]
fn a_domain_of_another_mode_is_refused() {
    let everything = |mode| Kind { cap: FIRST_STAGE.cap, ecap: PLAIN[1].ecap | FIRST_STAGE.ecap, mode };
    for kind in PLAIN.map(|kind| everything(kind.mode)) {
        for other in PLAIN.map(|other| everything(other.mode)).iter().filter(|other| other.mode != kind.mode)
        {
            let mut machine = Machine::enabled(kind);
            let memory = machine.model.page_table_memory(other.mode);
            let capabilities = machine.unit.capabilities();
            let mut domain = Owner::new(&memory, &mut machine.ids, capabilities, other.mode).unwrap();
            assert_eq!(machine.attach(DEVICE, &mut domain), Err(Error::IncompatibleDomain));
            assert!(!domain.is_attached());
        }
    }
}

#[test]
fn additions_cost_nothing_on_ordinary_units() {
    for kind in PLAIN {
        let asked = |cap| {
            let (mut machine, mut domain) = Machine::with_device(Kind { cap: kind.cap | cap, ..kind });
            machine.model.take_events();
            machine.map(&mut domain, WINDOW, 0x8000_0000, 0x1000);
            machine.model.take_events()
        };
        assert_eq!(asked(0), []);
        assert_eq!(asked(WRITE_BUFFER), [Event::Command(TE | QIE | WBF)]);
        assert_eq!(asked(CACHING_MODE)[0], Event::Descriptor([page_selective(kind), WINDOW]));
    }
}

/// A unit with caching mode, or who plays one, is told of a new member: contexts, PASIDs, and the domain it comes into.
#[test]
fn caching_mode_is_told_of_an_attach() {
    for kind in PLAIN {
        let mut machine = Machine::enabled(Kind { cap: kind.cap | CACHING_MODE, ..kind });
        let mut domain = machine.domain();
        machine.model.take_events();
        machine.attach(DEVICE, &mut domain).unwrap();
        let asked: Vec<Event> =
            machine.model.take_events().into_iter().filter(|event| !is_wait(event)).collect();
        let pasids = (kind.mode != Mode::VtdLegacy).then_some([0x37, 0]);
        let expected = [[0x11, 0]].into_iter().chain(pasids).chain([[0x0001_00e2, 0]]);
        assert_eq!(asked, expected.map(Event::Descriptor).collect::<Vec<_>>());
    }
}

#[test]
fn page_selective_requests_stay_within_the_units_mask() {
    for kind in PLAIN {
        let (mut machine, mut domain) = Machine::with_device(kind);
        let mut asked = |iova, bytes| {
            machine.map(&mut domain, iova, 0x40_0000_0000, bytes);
            machine.model.take_events();
            machine.unmap(&mut domain, iova, bytes);
            machine.model.take_events()[0]
        };
        let pages = page_selective(kind);
        assert_eq!(asked(WINDOW, 0x1000), Event::Descriptor([pages, WINDOW]));
        assert_eq!(asked(WINDOW + 0x1000, 0x2000), Event::Descriptor([pages, WINDOW | 2]));
        assert_eq!(asked(WINDOW, 1 << 30), Event::Descriptor([pages, WINDOW | 18]));
        let all = if kind.mode == Mode::VtdFirstStage { 0x0001_0026 } else { 0x0001_00e2 };
        assert_eq!(asked(WINDOW, (1 << 30) + 4096), Event::Descriptor([all, 0]), "beyond CAP.MAMV");
    }
}

/// Low half of the request for some pages of domain 1: with draining, or draining by itself (6.5.2.3, 6.5.2.4).
fn page_selective(kind: Kind) -> u64 {
    if kind.mode == Mode::VtdFirstStage { 0x0001_0036 } else { 0x0001_00f2 }
}

#[test]
fn the_queue_wraps() {
    for kind in PLAIN {
        let (mut machine, mut domain) = Machine::with_device(kind);
        for round in 0..700 {
            machine.map(&mut domain, WINDOW, 0x8000_0000, 0x1000);
            assert!(machine.model.dma(DEVICE.0, WINDOW, true).is_some());
            machine.unmap(&mut domain, WINDOW, 0x1000);
            assert_eq!(machine.model.dma(DEVICE.0, WINDOW, true), None, "round {round}");
        }
    }
}

#[test]
fn queue_errors_isolate_and_are_never_success() {
    for kind in PLAIN {
        for (bit, nth) in [(4, 1), (5, 1), (6, 1), (4, 2), (5, 2), (6, 2), (4, 3), (4, 4)] {
            let (mut machine, mut domain) = Machine::with_device(kind);
            machine.map(&mut domain, WINDOW, 0x8000_0000, 0x1000);
            machine.attach(OTHER, &mut domain).unwrap();
            machine.model.sabotage(Sabotage { queue_error: Some((1 << bit, nth)), ..Sabotage::default() });
            assert_eq!(machine.detach(DEVICE, &mut domain), Err(Error::QueueError { fsts: 1 << bit }));
            assert_isolated(&mut machine);
            assert!(domain.is_attached());
        }
    }
}

#[test]
fn a_silent_queue_times_out() {
    for kind in PLAIN {
        let (mut machine, mut domain) = Machine::with_device(kind);
        machine.map(&mut domain, WINDOW, 0x8000_0000, 0x1000);
        machine.attach(OTHER, &mut domain).unwrap();
        machine.model.sabotage(Sabotage { is_stuck: true, ..Sabotage::default() });
        let timeout = Error::Timeout { what: Wait::Invalidated, limit_us: 100_000 };
        assert_eq!(machine.detach(DEVICE, &mut domain), Err(timeout));
        assert_isolated(&mut machine);
    }
}

#[test]
fn every_command_has_a_limit() {
    for kind in PLAIN {
        let limit_us = 10_000;
        for (deaf_to, what) in [(SRTP, Wait::RootTableSet), (TE, Wait::TranslationSwitched)] {
            let mut machine = Machine::new(kind);
            machine.model.sabotage(Sabotage { deaf_to, ..Sabotage::default() });
            assert_eq!(machine.unit.enable_translation(kind.mode), Err(Error::Timeout { what, limit_us }));
            assert!(machine.unit.is_isolated());
        }
        for (deaf_to, what) in [
            (SIRTP, Wait::InterruptTableSet),
            (CFI, Wait::CompatibilityBlocked),
            (IRE, Wait::InterruptRemappingSwitched),
        ] {
            let model = Model::new(kind.cap, kind.ecap);
            model.0.borrow_mut().status = CFI;
            let mut unit = start(&model, 0).unwrap();
            model.sabotage(Sabotage { deaf_to, ..Sabotage::default() });
            let timeout = Error::Timeout { what, limit_us };
            assert_eq!(unit.enable_interrupt_remapping(ApicMode::X2Apic), Err(timeout));
        }
        let model = Model::new(kind.cap, kind.ecap);
        model.sabotage(Sabotage { deaf_to: QIE, ..Sabotage::default() });
        assert_eq!(start(&model, 0).err(), Some(Error::Timeout { what: Wait::QueueSwitched, limit_us }));
        let (mut machine, mut domain) = Machine::with_device(Kind { cap: kind.cap | WRITE_BUFFER, ..kind });
        machine.model.sabotage(Sabotage { deaf_to: WBF, ..Sabotage::default() });
        let timeout = Error::Timeout { what: Wait::WriteBufferFlushed, limit_us };
        assert_eq!(machine.detach(DEVICE, &mut domain), Err(timeout));
        assert!(machine.unit.is_isolated());
    }
}

/// Units with ESRTPS drop their caches with that.
#[test]
fn isolation_sets_the_root_table_again() {
    for kind in PLAIN {
        let (mut machine, mut domain) = Machine::with_device(kind);
        machine.model.sabotage(Sabotage { is_stuck: true, ..Sabotage::default() });
        machine.model.take_events();
        machine.detach(DEVICE, &mut domain).unwrap_err();
        assert_eq!(machine.model.take_events(), [Event::Command(TE | QIE | SRTP), Event::Command(TE)]);
    }
}

/// All requesters are blocked as soon as the unit walks again, and nothing is accepted any more.
fn assert_isolated(machine: &mut Machine) {
    assert!(machine.unit.is_isolated());
    let mut domain = machine.domain();
    assert_eq!(machine.attach(DEVICE, &mut domain), Err(Error::Isolated));
    machine.model.0.borrow_mut().forget_everything();
    for requester in [DEVICE, OTHER] {
        assert_eq!(machine.model.dma(requester.0, WINDOW, true), None);
    }
}

fn is_wait(event: &Event) -> bool {
    matches!(event, Event::Descriptor([low, _]) if low & 0xffff_ffff == 0x25)
}
