//! What a block device says of itself when it is opened or started, and when it stops: taken, or refused by name.

mod blk_rig;

use blk_rig::{Rig, data};
use weir_block::{BlockDevice, BlockQueue, Failure, Options, Request};
use weir_hal::Error as HostError;
use weir_sim::virtio_blk::Behaviour;
use weir_virtio::blk::Error;

fn opened(behaviour: Behaviour, options: &Options) -> Option<Error> {
    Rig::open(behaviour, options).err()
}

#[test]
fn a_block_is_a_power_of_two_within_bounds() {
    for (bytes, is_taken) in
        [(512, true), (65536, true), (0, false), (256, false), (131_072, false), (513, false)]
    {
        let error = opened(Behaviour { block_bytes: bytes, ..Behaviour::default() }, &Options::default());
        let expected = if is_taken { None } else { Some(Error::BlockSize { bytes }) };
        assert_eq!(error, expected, "{bytes}");
    }
}

#[test]
fn a_device_without_queues_or_with_too_short_ones_is_refused() {
    let none = opened(Behaviour { queues: 0, ..Behaviour::default() }, &Options::default());
    assert!(matches!(none, Some(Error::Virtio(weir_virtio::Error::BadQueue { .. }))), "{none:?}");
    let none = opened(Behaviour::default(), &Options { queues: 0, ..Options::default() });
    assert!(matches!(none, Some(Error::Virtio(weir_virtio::Error::BadQueue { .. }))), "{none:?}");
    let short = opened(Behaviour { entries: 2, ..Behaviour::default() }, &Options::default());
    assert_eq!(short, Some(Error::Virtio(weir_virtio::Error::BadQueue { index: 0, entries: 2 })));
}

#[test]
fn a_queue_of_a_device_that_shrank_takes_nothing() {
    let mut rig = Rig::started(Behaviour { entries: 16, ..Behaviour::default() }, &Options::default());
    assert_eq!(rig.queues[0].room(), 4);
    rig.device.model().set_entries(8);
    let shrank = Err(Error::Virtio(weir_virtio::Error::BadQueue { index: 0, entries: 8 }));
    assert_eq!(rig.start(), shrank);
    assert_eq!(rig.queues[0].room(), 0, "the device does not have it");
    rig.device.model().set_entries(16);
    assert_eq!(rig.start(), Ok(()));
}

/// Its registers may be memory by then that keeps what is written: a status of 0 would pass for a reset.
#[test]
fn a_device_that_was_taken_away_is_gone_and_keeps_what_it_has() {
    let behaviour = Behaviour { works_on_kick: false, ..Behaviour::default() };
    let mut rig = Rig::open(behaviour, &Options::default()).expect("opens");
    rig.start().expect("starts");
    let buffer = rig.buffer(&[0; 512]);
    assert_eq!(rig.submit(Request::read(0, 0, buffer, 1)), Ok(1));
    rig.device.model().take_away();
    assert_eq!(rig.start(), Err(Error::Virtio(weir_virtio::Error::Host(HostError::Gone))));
    assert_eq!(rig.queues[0].in_flight(), 1);
    assert!(rig.complete().expect("nothing came").is_empty());
    rig.device.model().bring_back();
}

#[test]
fn a_device_that_broke_down_has_stopped() {
    let mut rig = Rig::started(Behaviour::default(), &Options::default());
    assert!(!rig.blk.has_stopped());
    rig.device.model().break_down();
    assert!(rig.blk.has_stopped());
    rig.start().expect("starts again");
    assert!(!rig.blk.has_stopped());
}

#[test]
fn a_device_that_wants_no_kicks_gets_none() {
    let behaviour = Behaviour { works_on_kick: false, ..Behaviour::default() };
    let mut rig = Rig::started(behaviour, &Options::default());
    let kicks_of = |rig: &mut Rig| {
        let before = rig.device.model().kicks();
        let buffer = rig.buffer(&data(1, 512));
        assert_eq!(rig.submit(Request::write(0, 0, buffer, 0)), Ok(1));
        rig.device.model().kicks() - before
    };
    assert_eq!(kicks_of(&mut rig), 1);
    rig.device.model().refuse_kicks();
    assert_eq!(kicks_of(&mut rig), 0);
}

#[test]
fn after_a_start_nothing_of_before_counts() {
    let mut rig = Rig::started(Behaviour::default(), &Options::default());
    for number in 0..3 {
        let buffer = rig.buffer(&data(number, 512));
        let completion = rig.perform(Request::write(0, 0, buffer, number as u64));
        rig.put_back(completion);
    }
    rig.start().expect("starts again");
    assert!(rig.complete().expect("no violation").is_empty());
}

#[test]
fn a_status_that_was_not_written_is_no_success() {
    let behaviour = Behaviour { works_on_kick: false, ..Behaviour::default() };
    let mut rig = Rig::started(behaviour, &Options { depth: 4, ..Options::default() });
    for (number, result) in [Ok(()), Err(Failure::Medium { status: 255 })].into_iter().enumerate() {
        let buffer = rig.buffer(&data(number, 512));
        assert_eq!(rig.submit(Request::write(0, 0, buffer, number as u64)), Ok(1));
        if number == 0 {
            rig.device.model().work();
        } else {
            // The slot of the first one, as given back last.
            rig.device.model().forge_used(1, 3, 1, 2);
        }
        let mut done = rig.complete().expect("no violation");
        let completion = done.pop().expect("it came back");
        assert_eq!(completion.result, result);
        rig.put_back(completion);
    }
}
