use proptest::prelude::*;

use super::bay::{Bay, Completes, port};
use super::fake::{Fake, Machine};
use crate::pci::config::ConfigSpace as _;
use crate::pci::registers::{Indicator, SlotStatus};
use crate::pci::{Action, Outline, Request, Slot};
use crate::testing::cases;

const MS: u64 = 1000;
const SECOND: u64 = 1_000_000;

/// A slot under test, its time, and what the caller was told to do and when.
struct Bench {
    bay: Bay,
    slot: Slot,
    now: u64,
    actions: Vec<(u64, Action)>,
    /// The caller can list what comes.
    lists: bool,
}

impl Bench {
    fn new(bay: Bay, is_listed: bool) -> Bench {
        let function = Machine::new([(port(), Fake::root_port(1, 1))]).enumerate().functions()[0];
        let slot = Slot::of(&function, &bay).unwrap();
        let mut bench = Bench { bay, slot, now: SECOND, actions: vec![], lists: true };
        bench.slot.start(&bench.bay, bench.now, is_listed);
        bench.poll();
        bench
    }

    fn empty() -> Bench {
        Bench::new(Bay::new(), false)
    }

    /// With a device in use since boot.
    fn used() -> Bench {
        let bay = Bay::new();
        bay.write_half(port(), 0x58, 0);
        bay.insert();
        Bench::new(bay, true)
    }

    /// Does what an interrupt does.
    fn poll(&mut self) {
        self.bay.now_us.set(self.now);
        while let Some(action) = self.slot.poll(&self.bay, self.now) {
            self.actions.push((self.now, action));
            match action {
                Action::Bring => self.slot.brought(self.lists),
                Action::Take => self.slot.taken(),
            }
        }
    }

    /// Lets time pass, polling when due only.
    fn wait(&mut self, us: u64) {
        let end = self.now + us;
        while self.slot.due_us(self.now) <= end {
            self.now = self.now.max(self.slot.due_us(self.now));
            self.poll();
        }
        self.now = end;
    }

    /// What happened since the last call, without times.
    fn done(&mut self) -> Vec<Action> {
        self.actions.drain(..).map(|(_, action)| action).collect()
    }

    fn insert(&mut self) {
        self.bay.insert();
        self.poll();
    }

    fn press(&mut self) {
        self.bay.press();
        self.poll();
    }

    fn shows(&self) -> Indicator {
        self.bay.control().power_indicator()
    }
}

#[test]
fn what_comes_is_powered_left_alone_and_brought() {
    let mut bench = Bench::empty();
    assert_eq!(bench.slot.outline(), Outline::Empty);
    assert!(!bench.bay.is_powered() && bench.slot.due_us(bench.now) == u64::MAX);
    let start = bench.now;
    bench.insert();
    bench.wait(90 * MS);
    assert!(!bench.bay.is_powered(), "contacts may still bounce");
    bench.wait(20 * MS);
    assert!(bench.bay.is_powered() && bench.shows() == Indicator::Blinks);
    bench.wait(SECOND);
    let [(time, Action::Bring)] = bench.actions[..] else { panic!("{:?}", bench.actions) };
    assert!(time >= start + 200 * MS, "100 ms after the link came up: {}", time - start);
    assert_eq!((bench.slot.outline(), bench.shows()), (Outline::On, Indicator::On));
}

#[test]
fn what_bounces_is_waited_for_and_what_was_never_there_gets_no_power() {
    let mut bench = Bench::empty();
    for _ in 0..10 {
        bench.insert();
        bench.wait(60 * MS);
        bench.bay.pull();
        bench.bay.insert();
        bench.poll();
        bench.wait(60 * MS);
        assert!(!bench.bay.is_powered());
        bench.bay.pull();
        bench.poll();
    }
    bench.wait(3 * SECOND);
    assert!(!bench.bay.is_powered() && bench.slot.outline() == Outline::Empty);
    assert_eq!(bench.done(), []);
}

#[test]
fn the_button_takes_it_after_five_seconds() {
    let mut bench = Bench::used();
    bench.press();
    assert_eq!((bench.slot.outline(), bench.shows()), (Outline::Leaving, Indicator::Blinks));
    bench.wait(4_990 * MS);
    assert_eq!(bench.done(), []);
    assert!(bench.bay.is_powered());
    bench.wait(20 * MS);
    assert_eq!(bench.done(), [Action::Take]);
    assert!(!bench.bay.is_powered() && bench.shows() == Indicator::Off);
    bench.wait(2 * SECOND);
    assert_eq!(bench.slot.outline(), Outline::Off, "it is still in the slot, and stays unused");
    bench.bay.pull();
    bench.poll();
    assert_eq!(bench.slot.outline(), Outline::Empty);
}

#[test]
fn a_second_press_keeps_it() {
    let mut bench = Bench::used();
    bench.press();
    bench.wait(2 * SECOND);
    bench.press();
    assert_eq!((bench.slot.outline(), bench.shows()), (Outline::On, Indicator::On));
    bench.wait(60 * SECOND);
    assert_eq!(bench.done(), []);
}

#[test]
fn power_stays_on_until_it_is_taken() {
    let mut bench = Bench::used();
    assert!(bench.slot.request(Request::Eject));
    assert_eq!(bench.slot.poll(&bench.bay, bench.now), Some(Action::Take));
    assert!(bench.bay.is_powered(), "its owner has not been told yet");
    bench.slot.taken();
    bench.poll();
    assert!(!bench.bay.is_powered());
    assert!(!bench.slot.request(Request::Eject) && !bench.slot.request(Request::On), "it is going");
}

#[test]
fn what_is_pulled_is_taken_at_once() {
    for lose in [Bay::pull, |bay: &Bay| bay.set_link(false)] {
        let mut bench = Bench::used();
        lose(&bench.bay);
        let moment = bench.now;
        bench.poll();
        assert_eq!(bench.actions, [(moment, Action::Take)]);
        assert!(!bench.bay.is_powered());
    }
}

#[test]
fn what_was_swapped_between_two_looks_is_taken_and_the_other_brought() {
    let mut bench = Bench::used();
    bench.bay.pull();
    bench.bay.insert();
    let moment = bench.now;
    bench.poll();
    bench.wait(10 * SECOND);
    let [(taken, Action::Take), (brought, Action::Bring)] = bench.actions[..] else {
        panic!("{:?}", bench.actions)
    };
    assert_eq!(taken, moment);
    assert!(brought >= taken + SECOND, "power must be off for a second");
}

#[test]
fn a_reset_that_takes_the_link_down_loses_nothing() {
    let mut bench = Bench::used();
    bench.slot.hold();
    bench.bay.set_link(false);
    bench.poll();
    bench.bay.set_link(true);
    bench.slot.release(&bench.bay);
    bench.poll();
    bench.wait(SECOND);
    assert_eq!((bench.done(), bench.slot.outline()), (vec![], Outline::On));
    // One that does not come back from its reset is lost.
    bench.slot.hold();
    bench.bay.set_link(false);
    bench.poll();
    assert_eq!(bench.done(), []);
    bench.slot.release(&bench.bay);
    bench.poll();
    assert_eq!(bench.done(), [Action::Take]);
}

#[test]
fn after_a_power_fault_it_stays_off_until_the_button() {
    let mut bench = Bench::used();
    bench.bay.happens(|status| status.with_power_fault(true));
    bench.poll();
    bench.wait(20 * SECOND);
    assert_eq!((bench.done(), bench.slot.outline()), (vec![Action::Take], Outline::Off));
    bench.press();
    bench.wait(4 * SECOND);
    assert!(!bench.bay.is_powered() && bench.shows() == Indicator::Blinks);
    bench.wait(3 * SECOND);
    assert_eq!((bench.done(), bench.slot.outline()), (vec![Action::Bring], Outline::On));
}

#[test]
fn what_does_not_answer_loses_its_power() {
    let mut bench = Bench::empty();
    bench.bay.is_mute.set(true);
    bench.insert();
    bench.wait(5 * SECOND);
    assert_eq!((bench.done(), bench.slot.outline()), (vec![], Outline::Off));
    assert!(!bench.bay.is_powered());
    assert_eq!(bench.bay.control().attention_indicator(), Indicator::On);
    // A late answer within the second that the specification grants is soon enough.
    bench.bay.is_mute.set(true);
    assert!(bench.slot.request(Request::On));
    bench.poll();
    bench.wait(900 * MS);
    bench.bay.is_mute.set(false);
    bench.wait(100 * MS);
    assert_eq!((bench.done(), bench.slot.outline()), (vec![Action::Bring], Outline::On));
    assert_eq!(bench.bay.control().attention_indicator(), Indicator::Off);
}

#[test]
fn a_link_that_does_not_come_up_is_given_up() {
    let mut bench = Bench::empty();
    bench.insert();
    bench.wait(100 * MS);
    bench.bay.set_link(false);
    bench.poll();
    // Up and down for ever: not for longer than a link may take.
    for _ in 0..100 {
        bench.bay.set_link(true);
        bench.poll();
        bench.wait(20 * MS);
        bench.bay.set_link(false);
        bench.poll();
        bench.wait(20 * MS);
    }
    assert_eq!((bench.done(), bench.slot.outline()), (vec![], Outline::Off));
}

#[test]
fn what_cannot_be_listed_loses_its_power() {
    let mut bench = Bench::empty();
    bench.lists = false;
    bench.insert();
    bench.wait(5 * SECOND);
    assert_eq!((bench.done(), bench.slot.outline()), (vec![Action::Bring], Outline::Off));
    assert!(!bench.bay.is_powered());
}

#[test]
fn a_cut_comes_before_the_owner_is_told() {
    let mut bench = Bench::used();
    assert!(bench.slot.request(Request::Cut));
    // The link that goes down with the power is noticed at the next look.
    assert_eq!(bench.slot.poll(&bench.bay, bench.now), Some(Action::Take));
    assert!(!bench.bay.is_powered());
    bench.slot.taken();
    bench.poll();
    bench.wait(3 * SECOND);
    assert_eq!(bench.slot.outline(), Outline::Off);
}

#[test]
fn commands_wait_for_each_other_but_not_for_ever() {
    let bay = Bay::new();
    bay.completes.set(Completes::WhenTold);
    let mut bench = Bench::new(bay, false);
    let start = bench.now;
    bench.insert();
    // Nothing completes: each command is given a second (the bay complains of one that comes early).
    bench.bay.complete();
    bench.poll();
    bench.wait(150 * MS);
    assert!(bench.bay.is_powered());
    bench.wait(700 * MS);
    assert_eq!(bench.done(), []);
    bench.bay.complete();
    bench.poll();
    bench.wait(300 * MS);
    assert_eq!(bench.actions.len(), 1, "{}", bench.now - start);
}

#[test]
fn a_port_that_does_not_tell_of_completion_is_not_waited_for() {
    let bay = Bay::new();
    bay.capabilities.set(bay.capabilities.get().with_is_silent(true));
    let mut bench = Bench::new(bay, false);
    bench.insert();
    bench.wait(250 * MS);
    assert_eq!(bench.done(), [Action::Bring]);
}

#[test]
fn without_a_power_switch_nothing_is_switched() {
    let bay = Bay::new();
    bay.capabilities.set(bay.capabilities.get().with_has_power_controller(false));
    bay.write_half(port(), 0x58, 0);
    bay.commands.take();
    let mut bench = Bench::new(bay, false);
    bench.insert();
    bench.wait(SECOND);
    assert_eq!(bench.done(), [Action::Bring]);
    assert!(bench.slot.request(Request::Cut));
    bench.poll();
    assert_eq!(bench.done(), [Action::Take]);
    assert!(bench.bay.commands.borrow().iter().all(|command| !command.is_power_off()));
}

#[test]
fn with_its_port_the_device_is_gone() {
    let mut bench = Bench::used();
    bench.bay.is_gone.set(true);
    bench.poll();
    bench.wait(10 * SECOND);
    assert_eq!((bench.done(), bench.slot.outline()), (vec![Action::Take], Outline::Empty));
}

#[test]
fn an_open_latch_is_an_empty_slot() {
    let bay = Bay::new();
    bay.capabilities.set(bay.capabilities.get().with_has_latch(true));
    bay.happens(|status| status.with_is_latch_open(true));
    let mut bench = Bench::new(bay, false);
    bench.insert();
    bench.wait(5 * SECOND);
    assert!(!bench.bay.is_powered());
    bench.bay.happens(|status| status.with_is_latch_open(false).with_latch_changed(true));
    bench.poll();
    bench.wait(SECOND);
    assert_eq!(bench.done(), [Action::Bring]);
    bench.bay.happens(|status| status.with_is_latch_open(true).with_latch_changed(true));
    bench.poll();
    assert_eq!(bench.done(), [Action::Take]);
}

#[test]
fn what_happened_before_the_start_does_not_count() {
    let bay = Bay::new();
    bay.write_half(port(), 0x58, 0);
    bay.insert();
    bay.press();
    let mut bench = Bench::new(bay, true);
    bench.wait(10 * SECOND);
    assert_eq!((bench.done(), bench.slot.outline()), (vec![], Outline::On));
}

#[test]
fn ports_without_a_usable_slot_are_left_alone() {
    let slot_of = |fake: Fake| {
        let machine = Machine::new([(port(), fake)]);
        Slot::of(&machine.enumerate().functions()[0], &machine)
    };
    let words = |slot: u32| [(1 << 24 | 4 << 20, 0), (0, 0), (0, 0), (0, 0), (0, 0), (slot, 0), (0, 0)];
    const HOT_PLUG: u32 = 1 << 6;
    assert!(slot_of(Fake::bridge(1, 1).capability(0x10, &words(HOT_PLUG))).is_some());
    assert!(slot_of(Fake::bridge(1, 1).capability(0x10, &words(0))).is_none(), "not hot-plug capable");
    assert!(slot_of(Fake::bridge(0, 0).capability(0x10, &words(HOT_PLUG))).is_none(), "no bus behind it");
    assert!(slot_of(Fake::root_port(1, 1)).is_none(), "no slot");
    assert!(slot_of(Fake::upstream_port(1, 1)).is_none(), "not a port towards a device");
    assert!(slot_of(Fake::bridge(1, 1)).is_none(), "not PCI Express");
    // A capability whose slot registers would lie in the next space.
    let late = (0..42).fold(Fake::bridge(1, 1), |fake, _| fake.capability(0x09, &[(0, 0)]));
    assert!(slot_of(late.capability(0x10, &words(HOT_PLUG))).is_none());
}

/// What can happen at a slot.
#[derive(Clone, Debug)]
enum Happening {
    Insert,
    Pull,
    Press,
    Fault,
    Link(bool),
    Complete,
    Mute(bool),
    Ask(u8),
    Hold,
    Release,
    Wait(u64),
    Goes,
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        3 => Just(Happening::Insert),
        2 => Just(Happening::Pull),
        3 => Just(Happening::Press),
        1 => Just(Happening::Fault),
        3 => any::<bool>().prop_map(Happening::Link),
        3 => Just(Happening::Complete),
        1 => any::<bool>().prop_map(Happening::Mute),
        2 => (0u8..3).prop_map(Happening::Ask),
        1 => Just(Happening::Hold),
        1 => Just(Happening::Release),
        12 => (0u64..3 * SECOND).prop_map(Happening::Wait),
        1 => Just(Happening::Goes),
    ]
}

impl Bench {
    fn happen(&mut self, happening: &Happening) {
        match *happening {
            Happening::Insert => self.bay.insert(),
            Happening::Pull => self.bay.pull(),
            Happening::Press => self.bay.press(),
            Happening::Fault => self.bay.happens(|status| status.with_power_fault(true)),
            Happening::Link(is_up) => self.bay.set_link(is_up && self.bay.is_powered()),
            Happening::Complete => self.bay.complete(),
            Happening::Mute(is_mute) => self.bay.is_mute.set(is_mute),
            Happening::Ask(which) => {
                self.slot.request([Request::Eject, Request::Cut, Request::On][usize::from(which)]);
            }
            Happening::Hold => self.slot.hold(),
            Happening::Release => self.slot.release(&self.bay),
            Happening::Wait(us) => self.wait(us),
            Happening::Goes => self.bay.is_gone.set(true),
        }
        self.poll();
    }
}

proptest! {
    #![proptest_config(cases())]

    /// Whatever happens: brought and taken in turn, and at the end nothing waits for what cannot come. The bay checks
    /// that no command or clearing breaks the rules, and that power is off for a second before it is on again.
    #[test]
    fn brought_and_taken_in_turn(
        happenings in prop::collection::vec(happening(), 0..80),
        is_slow in any::<bool>(),
        is_used in any::<bool>(),
    ) {
        let mut bench = if is_used { Bench::used() } else { Bench::empty() };
        bench.bay.completes.set(if is_slow { Completes::WhenTold } else { Completes::AtOnce });
        happenings.iter().for_each(|happening| bench.happen(happening));
        let mut is_listed = is_used;
        for action in bench.done() {
            prop_assert_eq!(action == Action::Take, is_listed);
            is_listed = action == Action::Bring;
        }
        match bench.slot.outline() {
            Outline::On | Outline::Leaving => prop_assert!(is_listed),
            Outline::Empty | Outline::Coming | Outline::Off => prop_assert!(!is_listed),
            Outline::Going => {}
        }
        bench.bay.complete();
        bench.wait(100 * SECOND);
        prop_assert_eq!(bench.slot.due_us(bench.now), u64::MAX, "{:?}", bench.slot);
    }

    /// Bits that nobody knows, set by a port of a later revision, are neither cleared nor believed.
    #[test]
    fn unknown_status_is_left_alone(bits in any::<u16>()) {
        let mut bench = Bench::empty();
        let unknown = SlotStatus::from_bits(bits & 0xfe00);
        bench.bay.happens(|status| SlotStatus::from_bits(status.into_bits() | unknown.into_bits()));
        bench.poll();
        prop_assert_eq!(bench.slot.outline(), Outline::Empty);
    }
}
