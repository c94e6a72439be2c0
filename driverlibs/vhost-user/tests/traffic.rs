//! Traffic through an honest back end: contents, kicks, interrupts, restarts of either side.

mod rig;

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rig::backend::{
    ACCESS_PLATFORM, Backend, Behaviour, EVENT_IDX, HAS_PROTOCOL, IN_ORDER, MAC_AND_STATUS, REPLY_ACK,
    VERSION_1, request,
};
use rig::{ENTRIES, Rig, frame, hasty, inverted, patient, wait_for};
use weir_hal::{Clock, Error as HostError};
use weir_pool::FRAME_BYTES;
use weir_vhost_user::{MonotonicClock, VhostUser, Window};
use weir_virtio::{Error, Features};

fn behaviours() -> Vec<Behaviour> {
    let base = Behaviour::default();
    let plain = Behaviour { features: VERSION_1 | HAS_PROTOCOL, ..base };
    vec![
        base,
        Behaviour { works_on_kick: true, ..base },
        plain,
        Behaviour { works_on_kick: true, ..plain },
        Behaviour { features: base.features | IN_ORDER, ..base },
        Behaviour { protocol: 0, ..base },
        Behaviour { protocol: REPLY_ACK, ..base },
        Behaviour { features: VERSION_1 | EVENT_IDX, works_on_kick: true, ..base },
    ]
}

#[test]
fn frames_come_back_whole_in_every_size_and_through_every_wrap() {
    for behaviour in behaviours() {
        let mut rig = Rig::started(behaviour, false);
        let lens: Vec<usize> = (1..=usize::from(FRAME_BYTES)).collect();
        for (round, lens) in lens.chunks(20).enumerate() {
            let sent: Vec<Vec<u8>> = lens.iter().map(|&len| frame(round, len)).collect();
            rig.send(&sent);
            let expected: Vec<Vec<u8>> = sent.iter().map(|frame| inverted(frame)).collect();
            assert!(rig.receive(sent.len()) == expected, "{behaviour:?}, round {round}");
        }
        rig.assert_none_lost();
    }
}

#[test]
fn nobody_is_kicked_who_does_not_ask() {
    for features in [VERSION_1 | HAS_PROTOCOL, VERSION_1 | HAS_PROTOCOL | EVENT_IDX] {
        let mut rig = Rig::started(Behaviour { features, ..Behaviour::default() }, false);
        rig.assert_works();
        let before = rig.backend.shared.kicks.load(Ordering::Relaxed);
        assert!((1..=20).contains(&before), "the kicks that start the queues: {before}");
        for number in 0..200 {
            rig.send(&[frame(number, 64)]);
            rig.receive(1);
        }
        let after = rig.backend.shared.kicks.load(Ordering::Relaxed);
        assert_eq!(after, before, "the back end looks by itself");
        assert_eq!(rig.backend.shared.calls.load(Ordering::Relaxed), 0, "and so does the driver");
    }
}

#[test]
fn a_sleeper_wakes_for_every_frame() {
    for behaviour in behaviours() {
        let mut rig = Rig::started(behaviour, true);
        rig.assert_works();
        assert_eq!(rig.rx.wait(MonotonicClock.now_ns() + 1_000_000), Ok(false), "nothing came");
        for number in 0..50 {
            rig.send(&[frame(number, 64)]);
            wait_for(|| rig.rx.wait(u64::MAX).expect("there is an interrupt"));
            assert_eq!(rig.receive(1), [inverted(&frame(number, 64))]);
        }
    }
}

#[test]
fn a_back_end_that_connects_is_as_good() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("socket");
    let backend = Backend::connect(path.clone(), Behaviour::default());
    let window = Window::new(8 << 20).expect("memory");
    let device = VhostUser::listen(&path, &window, patient()).expect("it comes");
    let mut rig = Rig::over(folder, backend, device, &window, false).expect("honest");
    rig.start().expect("honest");
    rig.assert_works();
    rig.backend.end();
    rig.backend = Backend::connect(path, Behaviour::default());
    rig.start().expect("it comes again");
    rig.assert_works();
    rig.assert_none_lost();
}

#[test]
fn a_restart_brings_every_buffer_back() {
    let mut rig = Rig::started(Behaviour::default(), false);
    for _ in 0..3 {
        rig.assert_works();
        rig.send(&[frame(1, 64), frame(2, 64)]);
        rig.start().expect("honest");
        assert_eq!(rig.pool.available(), rig.pool.buffers() - usize::from(ENTRIES));
    }
    rig.assert_works();
    let stops = rig.backend.requests().iter().filter(|&&number| number == request::GET_VRING_BASE).count();
    assert_eq!(stops, 6, "each start stops both queues");
}

#[test]
fn a_back_end_that_goes_is_gone_and_the_next_one_takes_over() {
    let mut rig = Rig::opened(Behaviour::default(), hasty(), false).expect("honest");
    rig.start().expect("honest");
    rig.assert_works();
    assert!(!rig.net.has_stopped());
    rig.backend.end();
    assert!(rig.net.has_stopped(), "the socket is closed");
    assert_eq!(rig.start(), Err(Error::Host(HostError::Gone)), "nobody is there");
    let path = rig.socket();
    rig.backend = Backend::listen(&path, Behaviour::default());
    rig.start().expect("somebody is there");
    assert!(!rig.net.has_stopped());
    rig.assert_works();
    rig.assert_none_lost();
}

#[test]
fn a_sleeper_wakes_when_the_back_end_goes() {
    let mut rig = Rig::started(Behaviour::default(), true);
    rig.assert_works();
    let next = Backend::listen(&rig.socket(), Behaviour::default());
    let mut backend = std::mem::replace(&mut rig.backend, next);
    let end = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(50));
        backend.end();
    });
    assert_eq!(rig.rx.wait(u64::MAX), Err(Error::Host(HostError::Gone)));
    end.join().expect("it ended");
}

#[test]
fn a_wait_ends_at_its_deadline() {
    let mut rig = Rig::started(Behaviour::default(), true);
    let start = Instant::now();
    assert_eq!(rig.rx.wait(MonotonicClock.now_ns() + 30_000_000), Ok(false));
    assert!(start.elapsed() >= Duration::from_millis(30));
}

#[test]
fn the_configuration_is_read_where_there_is_one() {
    let features = Behaviour::default().features | MAC_AND_STATUS;
    let rig = Rig::started(Behaviour { features, ..Behaviour::default() }, false);
    assert_eq!(rig.net.read_mac(), Ok(Some([0x52, 0x54, 0, 1, 2, 3])));
    assert_eq!(rig.net.read_link_up(), Ok(true));
    let rig = Rig::started(Behaviour { features, protocol: REPLY_ACK, ..Behaviour::default() }, false);
    assert_eq!(rig.net.read_mac(), Ok(None), "nothing to read it by");
}

#[test]
fn features_of_the_front_end_are_not_taken_from_the_back_end() {
    let features = Behaviour::default().features | ACCESS_PLATFORM | 1 << 17 | 1 << 22;
    let rig = Rig::started(Behaviour { features, ..Behaviour::default() }, false);
    assert!(!rig.net.features().contains(Features::ACCESS_PLATFORM));
    let told = rig.backend.message(request::SET_FEATURES).payload;
    let expected = VERSION_1 | HAS_PROTOCOL | EVENT_IDX;
    assert_eq!(told, expected.to_ne_bytes());
}
