//! What a controller says of itself when it is opened or started: taken, refused by name, or left out.

mod rig;

use rig::{FastClock, Rig, data};
use weir_block::{BlockDevice, BlockQueue, Deque, Options, Request};
use weir_nvme::{Error, Nvme, Violation};
use weir_sim::nvme::{Behaviour, Malice, Namespace};
use weir_sim::{Nvme as Model, Script, SimDevice, SimWindow};

const CAPABILITIES: u64 = 0x00;
const STATUS: u64 = 0x1c;
const IDENTIFY_CONTROLLER: u8 = 1;

/// What opening says to a controller that `lie` has changed.
fn opened_with(lie: impl FnOnce(&mut Model)) -> Option<Error> {
    let window = SimWindow::default();
    let device = SimDevice::new(Model::new(&window, Behaviour::default()));
    lie(&mut device.model());
    Nvme::open(device, &window, &FastClock::default(), &Options::default()).err()
}

#[test]
fn a_controller_of_another_kind_is_unusable() {
    let honest = 1023 | 1 << 16 | 1 << 24 | 1 << 37;
    assert_eq!(opened_with(|model| model.tell_register(CAPABILITIES, honest)), None);
    let without_nvm = honest & !(1 << 37);
    let large_pages = honest | 1 << 48;
    for capabilities in [without_nvm, large_pages] {
        let error = opened_with(|model| model.tell_register(CAPABILITIES, capabilities));
        assert_eq!(error, Some(Error::Unusable { capabilities }), "{capabilities:#x}");
    }
    // Sizes of commands and completions, as powers of two: required below, possible above.
    for (offset, byte) in [(512, 0x77), (512, 0x55), (513, 0x55), (513, 0x33)] {
        let error = opened_with(|model| model.tell_identify(IDENTIFY_CONTROLLER, offset, byte));
        assert_eq!(error, Some(Error::Unusable { capabilities: 0 }), "{offset} {byte:#x}");
    }
}

#[test]
fn a_controller_that_fails_while_it_is_enabled_is_told() {
    assert_eq!(opened_with(|model| model.tell_register(STATUS, 2)), Some(Error::Fatal));
}

#[test]
fn a_namespace_without_blocks_is_no_disk() {
    let namespaces = vec![Namespace::default(), Namespace { id: 2, blocks: 0, ..Namespace::default() }];
    let rig = Rig::open(Behaviour { namespaces, ..Behaviour::default() }, &Options::default());
    let rig = rig.expect("one is usable");
    assert_eq!((rig.nvme.disks().len(), rig.nvme.unusable_namespaces()), (1, 1));
}

#[test]
fn a_namespace_is_listed_once() {
    let namespaces = [2, 2].map(|id| Namespace { id, ..Namespace::default() }).to_vec();
    let error = Rig::open(Behaviour { namespaces, ..Behaviour::default() }, &Options::default()).err();
    assert_eq!(error, Some(Error::Violation(Violation::Namespace { namespace: 2 })));
}

#[test]
fn namespaces_beyond_the_most_are_not_looked_at() {
    let namespaces = (1..=300).map(|id| Namespace { id, blocks: 1, ..Namespace::default() }).collect();
    let rig = Rig::open(Behaviour { namespaces, ..Behaviour::default() }, &Options::default());
    assert_eq!(rig.expect("opens").nvme.disks().len(), 256);
}

#[test]
fn a_queue_holds_one_request_less_than_it_has_entries() {
    let behaviour = Behaviour { entries: 4, works_on_doorbell: false, ..Behaviour::default() };
    let mut rig = Rig::started(behaviour, &Options { depth: 100, ..Options::default() });
    assert_eq!(rig.queues[0].room(), 3);
    for number in 0..3 {
        let buffer = rig.buffer(&data(number, 512));
        assert_eq!(rig.submit(Request::read(0, 0, buffer, number as u64)), Ok(1));
    }
    assert_eq!(rig.queues[0].room(), 0);
}

#[test]
fn nothing_submitted_is_no_doorbell() {
    let mut rig = Rig::started(Behaviour::default(), &Options::default());
    assert_eq!(rig.queues[0].submit(&mut Deque::<Request, 4>::new()), Ok(0));
    assert_eq!(rig.device.model().counts().tail_doorbells, 0);
}

#[test]
fn a_controller_that_grants_fewer_queues_than_before_is_not_started() {
    let options = Options { queues: 3, ..Options::default() };
    let mut rig = Rig::started(Behaviour::default(), &options);
    assert_eq!(rig.queues.len(), 3);
    for (submission, completion) in [(2, 2), (2, 3), (3, 2)] {
        rig.device.model().grant(submission, completion);
        assert_eq!(rig.start(), Err(Error::NoQueue), "{submission} {completion}");
    }
    rig.device.model().grant(3, 3);
    assert_eq!(rig.start(), Ok(()));
}

#[test]
fn only_requests_that_the_controller_gave_up_count_as_aborted() {
    let mut rig = Rig::started(
        Behaviour { works_on_doorbell: false, ..Behaviour::default() },
        &Options { depth: 3, ..Options::default() },
    );
    let buffer = rig.buffer(&[0; 512]);
    assert_eq!(rig.submit(Request::read(0, 0, buffer, 0)), Ok(1));
    assert_eq!((rig.queues[0].tick(), rig.queues[0].tick()), (0, 1));
    let aborted = rig.nvme.abort_late(&mut rig.queues[0], &rig.clock);
    assert_eq!(aborted, Ok(0), "it has not fetched the command, so it cannot");
}

/// Wherever a controller says one less than the truth once, and is honest before and after.
#[test]
fn a_completion_of_the_command_before_is_found_wherever_it_comes() {
    let mut found = [false; 3];
    for values_before in 0..64 {
        let script = Script::new(&[vec![0; values_before], vec![0xf3]].concat());
        let error = opened_with(|model| model.set_malice(Malice::scripted(&script)));
        for (cid, found) in (0..).zip(&mut found) {
            *found |= error == Some(Error::Violation(Violation::CommandId { cid }));
        }
    }
    assert_eq!(found, [true; 3]);
}
