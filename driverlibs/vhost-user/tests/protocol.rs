//! What the front end says, byte by byte and in order, and what it does with answers that are none.

mod rig;

use rig::backend::{
    ALL_PROTOCOL, Behaviour, HAS_PROTOCOL, Lie, MAC_AND_STATUS, REPLY_ACK, VERSION_1, request::*,
};
use rig::{ENTRIES, Rig, hasty};
use weir_hal::Error as HostError;
use weir_vhost_user::{Error, VhostUser, Window};
use weir_virtio::{Error as VirtioError, Transport, Violation};

const QUEUE: [u32; 5] = [SET_VRING_NUM, SET_VRING_BASE, SET_VRING_ADDR, SET_VRING_CALL, SET_VRING_KICK];

#[test]
fn messages_come_in_the_order_that_back_ends_expect() {
    let rig = Rig::started(Behaviour::default(), false);
    let greeting = [
        GET_FEATURES,
        GET_PROTOCOL_FEATURES,
        SET_PROTOCOL_FEATURES,
        SET_OWNER,
        GET_QUEUE_NUM,
        RESET_DEVICE,
        SET_FEATURES,
        SET_MEM_TABLE,
    ];
    let start = [RESET_DEVICE, SET_FEATURES, SET_MEM_TABLE];
    let enable = [SET_VRING_ENABLE, SET_VRING_ENABLE];
    assert_eq!(rig.backend.requests(), [&greeting[..], &start, &QUEUE, &QUEUE, &enable].concat());
}

#[test]
fn a_back_end_without_extensions_is_asked_for_none() {
    let rig = Rig::started(Behaviour { features: VERSION_1, ..Behaviour::default() }, false);
    let greeting = [GET_FEATURES, SET_OWNER, SET_FEATURES, SET_MEM_TABLE];
    let start = [SET_FEATURES, SET_MEM_TABLE];
    let expected = [&greeting[..], &start, &QUEUE, &QUEUE].concat();
    // Nothing is acknowledged, so the back end may be behind.
    rig::wait_for(|| rig.backend.requests().len() >= expected.len());
    assert_eq!(rig.backend.requests(), expected);
    assert!(rig.backend.shared.messages.lock().expect("whole").iter().all(|m| m.flags == 1));
}

#[test]
fn messages_have_the_bytes_of_the_specification() {
    let rig = Rig::started(Behaviour::default(), false);
    let table = rig.backend.message(SET_MEM_TABLE);
    let long = |at: usize| u64::from_ne_bytes(table.payload[at..at + 8].try_into().expect("eight"));
    // Number of regions, padding; guest address, size, user address, offset.
    assert_eq!(table.payload.len(), 40);
    assert_eq!(table.payload[..8], [1, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!((long(8), long(16), long(32)), (long(24), 8 << 20, 0));
    assert!(table.has_file);
    assert_eq!(table.flags, 1 | 8, "version 1, to be acknowledged");

    let address = rig.backend.message(SET_VRING_ADDR);
    assert_eq!(address.payload.len(), 40);
    assert_eq!(address.payload[..8], [0; 8], "queue 0, no flags");
    assert_eq!(address.payload[32..], [0; 8], "no log");
    let at = |at: usize| u64::from_ne_bytes(address.payload[at..at + 8].try_into().expect("eight"));
    let entries = u64::from(ENTRIES);
    assert_eq!(at(24), at(8) + 16 * entries, "the available ring follows the descriptors");
    assert!(at(16) > at(24) + 6 + 2 * entries, "and the used ring that");

    let number = rig.backend.message(SET_VRING_NUM);
    assert_eq!(number.payload, [[0, 0, 0, 0], u32::from(ENTRIES).to_ne_bytes()].concat());
    let kick = rig.backend.message(SET_VRING_KICK);
    assert_eq!((kick.payload, kick.has_file), (vec![0; 8], true));
    let call = rig.backend.message(SET_VRING_CALL);
    assert_eq!((call.payload, call.has_file), (vec![0, 1, 0, 0, 0, 0, 0, 0], false), "nobody waits");
    let rig = Rig::started(Behaviour::default(), true);
    let call = rig.backend.message(SET_VRING_CALL);
    assert_eq!((call.payload, call.has_file), (vec![0; 8], true), "somebody may wait");
}

/// What `connect` says to a back end that lies in its answer to `request`.
fn greeted_with(request: u32, lie: Lie) -> Option<Error> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("socket");
    let behaviour = Behaviour { lie: Some((request, lie)), ..Behaviour::default() };
    let _backend = rig::backend::Backend::listen(&path, behaviour);
    let window = Window::new(2 << 20).expect("memory");
    VhostUser::connect(&path, &window, hasty()).err()
}

#[test]
fn each_lie_of_a_greeting_has_its_name() {
    for request in [GET_FEATURES, GET_PROTOCOL_FEATURES, SET_OWNER, GET_QUEUE_NUM] {
        let bad = |got, flags, bytes| Some(Error::BadReply { request, got, flags, bytes });
        assert_eq!(greeted_with(request, Lie::Close), Some(Error::Closed));
        assert_eq!(greeted_with(request, Lie::OtherRequest), bad(request + 1, 5, 8));
        assert_eq!(greeted_with(request, Lie::OtherSize), bad(request, 5, 12));
        assert_eq!(greeted_with(request, Lie::NoReplyBit), bad(request, 1, 8));
        assert_eq!(greeted_with(request, Lie::OtherVersion), bad(request, 6, 8));
    }
    let late = |request| Some(Error::NoReply { request, limit_ms: 1000 });
    assert_eq!(greeted_with(GET_FEATURES, Lie::Silence), late(GET_FEATURES));
    assert_eq!(greeted_with(SET_OWNER, Lie::Half), late(SET_OWNER));
    assert_eq!(greeted_with(SET_OWNER, Lie::Refusal), Some(Error::Refused { request: SET_OWNER }));
}

#[test]
fn too_few_queues_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("socket");
    let _backend = rig::backend::Backend::listen(&path, Behaviour { pairs: 0, ..Behaviour::default() });
    let window = Window::new(2 << 20).expect("memory");
    let error = VhostUser::connect(&path, &window, hasty()).err();
    assert_eq!(error, Some(Error::BadQueues { queues: 0 }));
}

#[test]
fn lies_at_every_later_step_end_the_start_and_lose_nothing() {
    let steps = [QUEUE.as_slice(), &[SET_FEATURES, SET_MEM_TABLE, SET_VRING_ENABLE]].concat();
    let lies = [Lie::OtherRequest, Lie::OtherSize, Lie::Close, Lie::Refusal];
    let all = steps.iter().flat_map(|&request| lies.map(|lie| (request, lie)));
    for (request, lie) in all.chain([(SET_VRING_KICK, Lie::Silence), (SET_VRING_ENABLE, Lie::Half)]) {
        let behaviour = Behaviour { lie: Some((request, lie)), ..Behaviour::default() };
        let is_early = matches!(request, SET_FEATURES | SET_MEM_TABLE);
        let opened = Rig::opened(behaviour, hasty(), false);
        assert_eq!(opened.is_err(), is_early, "{request} {lie:?}");
        let Ok(mut rig) = opened else { continue };
        let error = rig.start().expect_err("a lying back end");
        let expected = if lie == Lie::Refusal { HostError::Hardware } else { HostError::Gone };
        assert_eq!(error, VirtioError::Host(expected), "{request} {lie:?}");
        assert_eq!(
            rig.net.has_stopped(),
            lie != Lie::Refusal,
            "a liar's connection is closed: {request} {lie:?}"
        );
        rig.assert_restarts();
    }
}

#[test]
fn a_refused_set_of_features_is_told() {
    let behaviour = Behaviour { lie: Some((SET_FEATURES, Lie::Refusal)), ..Behaviour::default() };
    assert_eq!(Rig::opened(behaviour, hasty(), false).err(), Some(VirtioError::FeaturesRefused));
    let behaviour = Behaviour { features: HAS_PROTOCOL, ..Behaviour::default() };
    let error = Rig::opened(behaviour, hasty(), false).err();
    assert!(matches!(error, Some(VirtioError::NoFeature { .. })), "{error:?}");
}

#[test]
fn a_queue_that_does_not_stop_costs_the_connection_and_nothing_else() {
    for lie in [Lie::Silence, Lie::OtherSize, Lie::Close, Lie::OtherValue] {
        let behaviour = Behaviour { lie: Some((GET_VRING_BASE, lie)), ..Behaviour::default() };
        let mut rig = Rig::opened(behaviour, hasty(), false).expect("honest so far");
        rig.start().expect("honest so far");
        rig.assert_works();
        assert_eq!(rig.start(), Err(VirtioError::Host(HostError::Gone)), "{lie:?}");
        rig.assert_restarts();
    }
}

#[test]
fn a_field_that_is_not_there_is_no_reason_to_part() {
    let features = Behaviour::default().features | MAC_AND_STATUS;
    for lie in [Lie::Refusal, Lie::OtherValue] {
        let behaviour = Behaviour { features, lie: Some((GET_CONFIG, lie)), ..Behaviour::default() };
        let mut rig = Rig::opened(behaviour, hasty(), false).expect("honest");
        rig.start().expect("honest");
        assert_eq!(rig.net.read_mac(), Err(VirtioError::Host(HostError::Hardware)), "{lie:?}");
        rig.assert_works();
    }
}

#[test]
fn only_what_both_know_is_agreed_on() {
    let protocol = ALL_PROTOCOL | 1 << 5 | 1 << 15;
    let rig = Rig::started(Behaviour { protocol, ..Behaviour::default() }, false);
    assert_eq!(rig.backend.message(SET_PROTOCOL_FEATURES).payload, ALL_PROTOCOL.to_ne_bytes());
}

#[test]
fn a_device_has_the_queues_it_was_made_with() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("socket");
    let _backend = rig::backend::Backend::listen(&path, Behaviour::default());
    let window = Window::new(2 << 20).expect("memory");
    let device = VhostUser::connect(&path, &window, hasty()).expect("honest");
    assert_eq!([0, 1, 2, 3].map(|index| device.read_queue_entries(index)), [1 << 15, 1 << 15, 0, 0]);
}

#[test]
fn a_lie_in_a_ring_is_a_violation_and_a_start_mends_it() {
    let lie = Some((0, Lie::UsedIndex));
    let protocol = REPLY_ACK;
    let mut rig =
        Rig::opened(Behaviour { lie, protocol, ..Behaviour::default() }, hasty(), false).expect("honest");
    rig.start().expect("honest");
    rig.send(&[vec![0; 64]]);
    let mut error = None;
    rig::wait_for(|| {
        error = rig.take_into(&mut Vec::new()).err();
        error.is_some()
    });
    let found = Some(VirtioError::Violation(Violation::UsedIndex { jump: ENTRIES + 1, in_flight: ENTRIES }));
    assert_eq!(error, found);
    rig.assert_restarts();
}
