//! Attaching, detaching, isolation.

use super::unit::{CACHING_MODE, CAP, ECAP, Event, Model, Sabotage, WRITE_BUFFER};
use super::{DEVICE, Machine, OTHER, kinds, start};
use weir_iommu::address::RequesterId;
use weir_iommu::{Error, Mode, Wait};

const WINDOW: u64 = 0x1_0000_0000;
const TE: u32 = 1 << 31;
const SRTP: u32 = 1 << 30;
const WBF: u32 = 1 << 27;
const QIE: u32 = 1 << 26;

#[test]
fn everybody_is_blocked_from_the_start() {
    for (cap, ecap) in kinds() {
        let mut machine = Machine::new(cap, ecap);
        machine.unit.enable_translation(Mode::VtdLegacy).unwrap();
        for requester in [0, DEVICE.0, 0x8000, 0xffff] {
            assert_eq!(machine.model.dma(requester, 0x1000, true), None);
        }
    }
}

#[test]
fn only_the_requester_attached_reaches_the_domain() {
    for (cap, ecap) in kinds() {
        let (mut machine, mut domain) = Machine::with_device(cap, ecap);
        machine.map(&mut domain, WINDOW, 0x8000_0000, 0x1000);
        let neighbour = RequesterId(DEVICE.0 + 1);
        let lands = |requester: RequesterId| machine.model.dma(requester.0, WINDOW, true).is_some();
        assert!(lands(DEVICE) && !lands(neighbour) && !lands(OTHER));
        machine.unit.attach(OTHER, &mut domain).unwrap();
        let lands = |requester: RequesterId| machine.model.dma(requester.0, WINDOW, true).is_some();
        assert!(lands(DEVICE) && !lands(neighbour) && lands(OTHER), "{cap:#x} {ecap:#x}");
    }
}

#[test]
fn a_detached_requester_is_blocked_although_everything_was_cached() {
    for (cap, ecap) in kinds() {
        let (mut machine, mut domain) = Machine::with_device(cap, ecap);
        machine.map(&mut domain, WINDOW, 0x8000_0000, 0x1000);
        machine.unit.attach(OTHER, &mut domain).unwrap();
        assert!(machine.model.dma(DEVICE.0, WINDOW, true).is_some());
        machine.unit.detach(DEVICE, &mut domain).unwrap();
        assert_eq!(machine.model.dma(DEVICE.0, WINDOW, true), None);
        assert!(machine.model.dma(OTHER.0, WINDOW, true).is_some(), "others of the domain go on");
        let mut second = machine.domain();
        machine.unit.attach(DEVICE, &mut second).unwrap();
        assert_eq!(machine.model.dma(DEVICE.0, WINDOW, true), None, "the new domain is another one");
    }
}

#[test]
fn a_requester_is_in_one_domain_at_a_time() {
    let (mut machine, mut domain) = Machine::with_device(CAP, ECAP);
    let mut second = machine.domain();
    let refused = Err(Error::AlreadyAttached { requester: DEVICE });
    assert_eq!(machine.unit.attach(DEVICE, &mut second), refused);
    assert_eq!(machine.unit.attach(DEVICE, &mut domain), refused);
    assert_eq!(machine.unit.detach(DEVICE, &mut second), Err(Error::NotAttached { requester: DEVICE }));
    assert_eq!(machine.unit.detach(OTHER, &mut domain), Err(Error::NotAttached { requester: OTHER }));
    assert!(domain.is_attached() && !second.is_attached());
    machine.unit.detach(DEVICE, &mut domain).unwrap();
    assert!(!domain.is_attached());
    assert_eq!(machine.unit.detach(DEVICE, &mut domain), Err(Error::NotAttached { requester: DEVICE }));
}

#[test]
fn attaching_without_a_frame_changes_nothing() {
    let mut machine = Machine::new(CAP, ECAP);
    machine.unit.enable_translation(Mode::VtdLegacy).unwrap();
    let mut domain = machine.domain();
    machine.model.memory().set_budget(0);
    assert_eq!(machine.unit.attach(DEVICE, &mut domain), Err(Error::OutOfFrames));
    assert!(!domain.is_attached());
    machine.model.memory().set_budget(1);
    machine.unit.attach(DEVICE, &mut domain).unwrap();
}

/// The order of VT-d 5.10 6.5.2 and 6.6: queue, root table, context cache, IOTLB, translation.
#[test]
fn enable_order_is_the_specifications() {
    let mut machine = Machine::new(CAP, ECAP);
    machine.unit.enable_translation(Mode::VtdLegacy).unwrap();
    let events: Vec<Event> =
        machine.model.take_events().into_iter().filter(|event| !is_wait(event)).collect();
    let expected = [
        Event::Command(QIE),
        Event::Command(QIE | SRTP),
        Event::Descriptor([0x11, 0]),
        Event::Descriptor([0xd2, 0]),
        Event::Command(TE | QIE),
    ];
    assert_eq!(events, expected);
    assert_eq!(machine.unit.enable_translation(Mode::VtdLegacy), Err(Error::AlreadyEnabled));
}

/// Device-selective context, then domain-selective IOTLB with draining, each confirmed (6.5.3.3, 6.5.4).
#[test]
fn detach_order_is_the_specifications() {
    let (mut machine, mut domain) = Machine::with_device(CAP, ECAP);
    machine.model.take_events();
    machine.unit.detach(DEVICE, &mut domain).unwrap();
    let events = machine.model.take_events();
    assert_eq!(events[0], Event::Descriptor([0x0018_0001_0031, 0]));
    assert!(is_wait(&events[1]));
    assert_eq!(events[2], Event::Descriptor([0x0001_00e2, 0]));
    assert!(is_wait(&events[3]));
    assert_eq!(events.len(), 4);
}

#[test]
fn additions_cost_nothing_on_ordinary_units() {
    let (mut machine, mut domain) = Machine::with_device(CAP, ECAP);
    machine.model.take_events();
    machine.map(&mut domain, WINDOW, 0x8000_0000, 0x1000);
    assert_eq!(machine.model.take_events(), []);
    let (mut machine, mut domain) = Machine::with_device(CAP | WRITE_BUFFER, ECAP);
    machine.model.take_events();
    machine.map(&mut domain, WINDOW, 0x8000_0000, 0x1000);
    assert_eq!(machine.model.take_events(), [Event::Command(TE | QIE | WBF)]);
    let (mut machine, mut domain) = Machine::with_device(CAP | CACHING_MODE, ECAP);
    machine.model.take_events();
    machine.map(&mut domain, WINDOW, 0x8000_0000, 0x1000);
    assert_eq!(machine.model.take_events()[0], Event::Descriptor([0x0001_00f2, WINDOW]));
}

#[test]
fn page_selective_requests_stay_within_the_units_mask() {
    let (mut machine, mut domain) = Machine::with_device(CAP, ECAP);
    let mut asked = |iova, bytes| {
        machine.map(&mut domain, iova, 0x40_0000_0000, bytes);
        machine.model.take_events();
        machine.unmap(&mut domain, iova, bytes);
        machine.model.take_events()[0]
    };
    assert_eq!(asked(WINDOW, 0x1000), Event::Descriptor([0x0001_00f2, WINDOW]));
    assert_eq!(asked(WINDOW + 0x1000, 0x2000), Event::Descriptor([0x0001_00f2, WINDOW | 2]));
    assert_eq!(asked(WINDOW, 1 << 30), Event::Descriptor([0x0001_00f2, WINDOW | 18]));
    assert_eq!(asked(WINDOW, (1 << 30) + 4096), Event::Descriptor([0x0001_00e2, 0]), "beyond CAP.MAMV");
}

#[test]
fn the_queue_wraps() {
    let (mut machine, mut domain) = Machine::with_device(CAP, ECAP);
    for round in 0..700 {
        machine.map(&mut domain, WINDOW, 0x8000_0000, 0x1000);
        assert!(machine.model.dma(DEVICE.0, WINDOW, true).is_some());
        machine.unmap(&mut domain, WINDOW, 0x1000);
        assert_eq!(machine.model.dma(DEVICE.0, WINDOW, true), None, "round {round}");
    }
}

#[test]
fn queue_errors_isolate_and_are_never_success() {
    for (bit, nth) in [(4, 1), (5, 1), (6, 1), (4, 2), (5, 2), (6, 2), (4, 3), (4, 4)] {
        let (mut machine, mut domain) = Machine::with_device(CAP, ECAP);
        machine.map(&mut domain, WINDOW, 0x8000_0000, 0x1000);
        machine.unit.attach(OTHER, &mut domain).unwrap();
        machine.model.sabotage(Sabotage { queue_error: Some((1 << bit, nth)), ..Sabotage::default() });
        assert_eq!(machine.unit.detach(DEVICE, &mut domain), Err(Error::QueueError { fsts: 1 << bit }));
        assert_isolated(&mut machine);
        assert!(domain.is_attached());
    }
}

#[test]
fn a_silent_queue_times_out() {
    let (mut machine, mut domain) = Machine::with_device(CAP, ECAP);
    machine.map(&mut domain, WINDOW, 0x8000_0000, 0x1000);
    machine.unit.attach(OTHER, &mut domain).unwrap();
    machine.model.sabotage(Sabotage { is_stuck: true, ..Sabotage::default() });
    let timeout = Error::Timeout { what: Wait::Invalidated, limit_us: 100_000 };
    assert_eq!(machine.unit.detach(DEVICE, &mut domain), Err(timeout));
    assert_isolated(&mut machine);
}

#[test]
fn every_command_has_a_limit() {
    let limit_us = 10_000;
    for (deaf_to, what) in [(SRTP, Wait::RootTableSet), (TE, Wait::TranslationSwitched)] {
        let mut machine = Machine::new(CAP, ECAP);
        machine.model.sabotage(Sabotage { deaf_to, ..Sabotage::default() });
        assert_eq!(machine.unit.enable_translation(Mode::VtdLegacy), Err(Error::Timeout { what, limit_us }));
        assert!(machine.unit.is_isolated());
    }
    let model = Model::new(CAP, ECAP);
    model.sabotage(Sabotage { deaf_to: QIE, ..Sabotage::default() });
    assert_eq!(start(&model, 0).err(), Some(Error::Timeout { what: Wait::QueueSwitched, limit_us }));
    let (mut machine, mut domain) = Machine::with_device(CAP | WRITE_BUFFER, ECAP);
    machine.model.sabotage(Sabotage { deaf_to: WBF, ..Sabotage::default() });
    let timeout = Error::Timeout { what: Wait::WriteBufferFlushed, limit_us };
    assert_eq!(machine.unit.detach(DEVICE, &mut domain), Err(timeout));
    assert!(machine.unit.is_isolated());
}

/// All requesters are blocked as soon as the unit walks again, and nothing is accepted any more.
fn assert_isolated(machine: &mut Machine) {
    assert!(machine.unit.is_isolated());
    let mut domain = machine.domain();
    assert_eq!(machine.unit.attach(DEVICE, &mut domain), Err(Error::Isolated));
    machine.model.0.borrow_mut().forget_everything();
    for requester in [DEVICE, OTHER] {
        assert_eq!(machine.model.dma(requester.0, WINDOW, true), None);
    }
}

fn is_wait(event: &Event) -> bool {
    matches!(event, Event::Descriptor([low, _]) if low & 0xffff_ffff == 0x25)
}
